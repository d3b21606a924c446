// SPDX-License-Identifier: MIT
//
// The steps of receiving, for its own files: receive.cpp (into one piece), prefetch.cpp (into
// several), call.cpp (sio_recv). With the association's lock held, but for what only takes a
// descriptor.
#pragma once

#include "dma/message.hpp"
#include "dma/receive.hpp"

#include <cerrno>
#include <sys/socket.h>

namespace sigevec::dma::receive {

constexpr uint8_t most_ahead = 32; // pieces for one call of the kernel's
constexpr uint8_t long_streak =
	32; // calls that have found data, from which on it is received in advance

inline char *data_of(const Arrival &x)
{
	return x.piece + (x.head != nullptr ? sizeof(MessageHead) : 0);
}

// A call that does not wait was not interrupted in anything, but says so where the kernel sleeps on
// a lock for a moment: it is made again.
template <class Call> ssize_t repeated(int flags, Call call)
{
	constexpr int most = 100;
	ssize_t n = -EINTR;
	for (int i = 0; i < most && n == -EINTR; i++) {
		n = call();
		n = n < 0 ? -errno : n;
		if ((flags & MSG_DONTWAIT) == 0)
			return n;
	}
	return n == -EINTR ? -EAGAIN : n;
}

// receive.cpp

// A piece with room for size bytes, in the first region that has one. piece is nullptr: there is
// none.
Arrival room(const Association *a, const Want &w, size_t size, bool head);
// The same; of a stream what there is room for will do, unless all is asked for.
Arrival some_room(const Association *a, const Want &w);
// How long the next datagram is, by a look at it. -EAGAIN: there is none.
ssize_t length_of_next(int fd, int flags);
// The same by a message that begins as zeros but for msg_iovlen, which is 1.
ssize_t length_of_next(int fd, struct msghdr *m, int flags);
// One call into x, which has room. Bytes or -errno.
ssize_t into(int fd, Arrival *x, const Want &w, int flags);
// The same by such a message.
ssize_t into(int fd, struct msghdr *m, Arrival *x, const Want &w, int flags);

// prefetch.cpp

// Whether the program has asked for more than its calls do.
bool wants_ahead(const Association *a);
// How many pieces may be received with one call.
unsigned pieces(Association *a, const Want &w);
// After a call that could have filled `of' pieces.
void adapt(Association *a, unsigned filled, unsigned of);
// As one(), and puts further pieces into the queue; without x all of them.
ssize_t several(Association *a, const Want &w, unsigned wanted, Arrival *x);

} // namespace sigevec::dma::receive
