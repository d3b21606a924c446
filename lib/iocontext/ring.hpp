// SPDX-License-Identifier: MIT
//
// The memory of a context's ring, mapped twice: for the program and for the library.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <linux/aio_abi.h>

namespace sigevec::io {

// The kernel's struct aio_ring.
struct Ring {
	uint32_t id, size;
	std::atomic<uint32_t> head, tail;
	uint32_t magic, compat, incompat, header_length;
	struct io_event events[];
};

constexpr uint32_t ring_magic = 0xa10a10a1;

// The program may move its view by mremap, as the kernel allows, or unmap it.
struct Views {
	Ring *own; // nullptr: no memory
	void *of_program;
	size_t bytes;
};

// How many events a ring has for io_setup(nr): 0, or -errno.
int events_for(unsigned nr, uint32_t *events);
Views map_ring(uint32_t events);
void unmap(const Views &v);
// Whether the program sees this ring at the address: what is written into one view appears in the
// other, and in no copy. By one thread at a time.
bool is_view(Ring *own, size_t bytes, void *address);

} // namespace sigevec::io
