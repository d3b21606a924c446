// SPDX-License-Identifier: MIT
//
// The engines: four ways to carry out a request, behind one table.
#pragma once

#include "request/request.hpp"

namespace sigevec {

struct Engine {
	const char *name;

	// Whether it can be used in this process, found out by trying. *reason is why not, or what
	// it is used for. Any thread; not async-signal-safe.
	bool (*works)(const char **reason);

	// Carry the call out now, if that takes neither a wait nor long. True: *result is what the
	// call returns, or -errno; false: nothing has been done, or, for a write on a stream,
	// *result bytes (>= 0) are out and the rest must follow before anything else; a connect
	// that has begun has 0 bytes out; -EAGAIN: it has been tried, and there is no room.
	// nullptr: the engine cannot.
	bool (*attempt)(const Call &c, const Descriptor &d, ssize_t *result);

	// Take over r, whose descriptor is r->fd, valid for the length of the call. 0: the engine
	// is the executor and will finish it, perhaps has already. -errno: declined, nothing has
	// been done; -ENOTSUP: it is not for this engine. Called once the aiocb is in progress.
	// nullptr: the engine cannot.
	int (*submit)(Request *r);
};

// Of a stream, but in no order with what waits there, for it never waits itself: the receives that
// are not for the data that others wait for, and the read or write of no bytes of a pipe, and the
// read of a socket.
bool is_beside_the_stream(const Call &c, const Descriptor &d);

namespace engines {
extern const Engine inline_, kaio, uring, threads;
}

} // namespace sigevec
