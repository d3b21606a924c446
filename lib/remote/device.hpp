// SPDX-License-Identifier: MIT
//
// Endpoints on interconnects as associations see them: a device whose messages lie with
// libsigevec_fabric until they are received.
//
// The descriptor is one end of a pair of sockets, so that the kernel tells of its identity (by its
// cookie) and of its end; the other end is the endpoint's, which writes to it what makes this one
// readable.
//
// Lifetimes: a Device lives from fabric_open until its number is found to be another file's, by the
// next fabric_open; its memory for ever. Locks: the list has its own, after an association's.
#pragma once

#include "dma/association.hpp"
#include "dma/receive.hpp"
#include "remote/interface.hpp"

namespace sigevec::remote {

struct Device : dma::Device {
	Device *next;
	std::atomic<bool> used;
	std::atomic<uint64_t> cookie;
	std::atomic<dma::Region *> region;
	Endpoint *endpoint;
	const Backend *backend;
};

namespace device {

// 0 or an errno.
int adopt(int fd, Endpoint *e, const Backend *b);
// That of a socket; nullptr: it is none of these.
Device *find(uint64_t cookie);
bool any();

// With the association's lock held: as DeviceOps say.
int attach(Device *d, dma::Region *r, size_t largest);
void detach(Device *d);
ssize_t take(dma::Association *a, const dma::receive::Want &w, dma::Arrival *x);

// Without the lock.
ssize_t sleep(Device *d, uint32_t seen, const struct timespec *limit);

// With it: a message from pieces. Bytes or -errno; -EAGAIN: wait() with *seen, without the lock.
ssize_t send(Device *d, const struct msghdr &m, int flags, uint32_t *seen);

// A request that has been created, by its call. 0: it has begun. Otherwise its result.
ssize_t start(Request *r);

void after_fork();
// In every child of fork: the descriptors are the parent's. Async-signal-safe.
void close_in_child();

} // namespace device
} // namespace sigevec::remote
