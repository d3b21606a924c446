// SPDX-License-Identifier: MIT
//
// The kernel's struct aio_ring, which a context of kernel AIO points to; stable since 2.6. Event:
// the struct io_event of <libaio.h> or of <linux/aio_abi.h>, which no file may include both of.
#pragma once

#include <atomic>
#include <cstdint>

namespace sigevec {

template <class Event> struct AioRing {
	uint32_t id, size;
	std::atomic<uint32_t> head, tail;
	uint32_t magic, compat, incompat, header_length;
	Event events[];
};

constexpr uint32_t aio_ring_magic = 0xa10a10a1;

} // namespace sigevec
