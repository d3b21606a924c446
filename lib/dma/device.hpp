// SPDX-License-Identifier: MIT
//
// What an association needs of a network device's queue (ether/device.hpp, where each of these is
// told of) or of an endpoint on an interconnect (remote/device.hpp), which are above it: by a table
// of process/wiring.cpp.
#pragma once

#include "base/memory_order.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <sys/types.h>

struct dma_stat;

namespace sigevec::dma {

struct Arrival;
struct Association;
struct Region;
namespace receive {
struct Want;
}

// The part of a device that associations see.
struct Device {
	enum class Kind : uint8_t { ether, remote } kind;
	std::atomic<int> fd;            // the program's, or the association's duplicate
	int error;                      // the device is no more, or 0
	uint32_t seen;                  // an endpoint's, when there was nothing to take
	uint64_t reported_drops;        // drops that an event has told of
	uint32_t with_kernel, wanted;   // slots in the fill ring, and how many there are to be
	std::atomic<uint64_t> bytes_in; // written with the lock held, read at any time

	void received(uint64_t n) { bytes_in.store(bytes_in.load(mo::relaxed) + n, mo::relaxed); }
};

struct DeviceOps {
	Device *(*find)(uint64_t cookie);
	int (*attach)(Device *d, Region *r, size_t slot);
	void (*detach)(Device *d);
	bool (*sweep)();
	bool (*any)();         // that is to be looked at now and then
	bool (*ever_remote)(); // whether there has been an endpoint
	uint64_t (*dropped)(const Device *d);
	void (*stat)(const Region *r, struct dma_stat *s);
	ssize_t (*take)(Association *a, const receive::Want &w, Arrival *x);
	bool (*refill)(Device *d);
	bool (*failed)(Device *d);
	// Of an endpoint, without the lock: until there may be something again. 0 or -errno.
	ssize_t (*sleep)(Device *d, uint32_t seen, const struct timespec *limit);
};
extern const DeviceOps device_ops;

} // namespace sigevec::dma
