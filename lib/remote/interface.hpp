// SPDX-License-Identifier: MIT
//
// What libsigevec and libsigevec_fabric of the same version have of each other: two tables of
// functions, so that the core knows nothing of interconnects, and that library nothing of requests.
//
// The core never calls the other table before fabric_open has been called. Functions that fail
// return an errno or -errno, as each says.
#pragma once

#include "sigevec/types.h"

#include <cstddef>
#include <cstdint>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

namespace sigevec {
struct Request;
}

namespace sigevec::remote {

// Of both tables together.
constexpr unsigned version = 5;

// libsigevec_fabric's; its memory is never given back, so that a pointer may be late.
struct Endpoint;

// A message that lies with the endpoint.
struct Message {
	const void *data;
	size_t size;
	const struct sockaddr *from;
	socklen_t from_length;
	uint32_t seen; // there is none: what to wait with for one
};

struct Backend {
	// The region is the endpoint's from now on; largest: of the messages that it is to take, or
	// 0. 0 or an errno.
	int (*attach)(Endpoint *e, uint16_t region, size_t largest);
	// It is so no longer when this returns: nothing of it is exported. Waits for the endpoint's
	// thread, which takes no lock of the core's.
	void (*detach)(Endpoint *e);
	// The oldest message: its size or -EAGAIN; it stays there until consumed(). `fd' is the
	// program's number, by which the endpoint is told to be readable.
	ssize_t (*first)(Endpoint *e, int fd, Message *m);
	void (*consumed)(Endpoint *e, int fd);
	// Until there may be one for this caller, without the descriptor's being told, or the
	// region is the endpoint's no longer. 0 or an errno of futex(2); EINTR after each handler.
	int (*wait_for_message)(Endpoint *e, uint32_t seen, const struct timespec *limit);
	// All of v lies in pieces of regions. r nullptr: its size, or -EAGAIN: *seen is what to
	// wait with. Otherwise 0, and r is finished when it has been sent. -errno: nothing has been
	// done.
	ssize_t (*send)(Endpoint *e, const struct iovec *v, size_t n, const struct sockaddr *to,
			socklen_t tolen, Request *r, uint32_t *seen);
	// Until something has changed since. 0 or an errno of futex(2).
	int (*wait)(Endpoint *e, uint32_t seen, const struct timespec *limit);
	// In a child of fork, which has none of the parent's.
	void (*after_fork)();
};

// A piece that is not used again, in a region that is not freed, until it is let go.
struct Held {
	uint16_t region;
	uint32_t unit;
};

struct Host {
	unsigned version;
	bool (*ensure)();
	// A thread in the helper's table of descriptors, which calls enter() first. An errno or 0.
	int (*start_thread)(void *(*main)(void *), const char *name);
	void (*enter)();
	// The number of a copy in that table, or -errno.
	int (*hold_file)(int fd);
	// fd is the program's end of a pair of sockets, and e's descriptor from now on. 0 or an
	// errno.
	int (*adopt)(int fd, Endpoint *e, const Backend *b);
	// Whose descriptor it is; nullptr: *error is an errno.
	Endpoint *(*find)(int fd, int *error);
	// All of it lies in one piece of the program's. 0 or an errno.
	int (*hold)(const void *p, size_t size, Held *h);
	void (*let_go)(const Held &h);
	// What lies in regions, one part after the other. False: some of it, in imported memory, is
	// not there any more.
	bool (*join)(char *to, const struct iovec *v, size_t n);
	// Whether it stays there whatever the program does; whether anybody may take it away, who
	// can cut the file that it is a mapping of.
	bool (*stays)(const void *p, size_t size);
	bool (*may_be_cut)(const void *p, size_t size);
	// Into a piece that is held. False: its memory is not there any more.
	bool (*store)(void *to, const void *from, size_t n);
	// The place of a region; negative: there is none.
	int (*region)(dma_mem_t mem);
	// A request that is told by an event. 0 or an errno: there is none.
	int (*begin)(int fd, ec_t ec, void *data, Request **r);
	// It has not been begun after all.
	void (*abandon)(Request *r);
	// It has been cancelled, and told: only finish() is left to be called.
	bool (*cancelled)(const Request *r);
	// Its end; who has cancelled it meanwhile has told it already. Any thread.
	void (*finish)(Request *r, ssize_t result);
};

} // namespace sigevec::remote

// For libsigevec_fabric.so.1 of the same version alone; nullptr: the versions differ.
extern "C" const sigevec::remote::Host *sigevec_fabric_host(unsigned version);
