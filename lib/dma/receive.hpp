// SPDX-License-Identifier: MIT
//
// Receiving into the regions of a socket: what sio_recv and the receiver share.
#pragma once

#include "dma/association.hpp"

#include <cerrno>
#include <sys/socket.h>

namespace sigevec::dma::receive {

// What a call asks for.
struct Want {
	size_t size; // at most; no_limit: of a message as much as fits
	int flags;
	bool message; // with address and control data
	struct sockaddr *from;
	socklen_t from_length;
	Region *region;   // where it is to be; nullptr: in any of the socket's
	Ancillary **keep; // nullptr, or what is to get what came beside the data, of which the
			  // program has only the copy in the piece yet
};
constexpr size_t no_limit = ~size_t{0};

// There is no room in a region. An ENOBUFS of the kernel's, of a netlink socket that was overrun,
// is another thing.
constexpr ssize_t no_room = -4096;
// As the program is to learn of it.
inline ssize_t public_result(ssize_t n)
{
	return n == no_room ? -ENOBUFS : n;
}

// A whole sio_recv: bytes or -errno, and the address of the program's piece.
ssize_t call(int fd, Want w, void **address);

// The rest with the association's lock held.

// One piece by one call of the kernel's that does not wait. Bytes or -errno; no_room. The piece is
// busy.
ssize_t one(Association *a, const Want &w, Arrival *x);
// After a receive that has brought no bytes: whether nothing will come any more. Of packets it may
// have been an empty one.
bool at_end(const Association *a);
// By the receiver: receives for a program that always finds data when it asks, as much as is there
// and may be taken. True: the socket is empty now.
bool in_advance(Association *a);
// Whether that is so.
bool wants_in_advance(const Association *a);
// Gives an arrival to the program, cut to what is wanted. Bytes or -errno; no_room: it is still the
// caller's.
ssize_t hand_out(const Association *a, const Arrival &x, const Want &w, void **address);
// Gives the first of the queue, or, of a stream, as much of it as is wanted. no_room: all of it is
// still there.
ssize_t take(Association *a, const Want &w, void **address);
// hand_out() for one whose association has ended meanwhile. Without a lock.
ssize_t hand_out_alone(const Arrival &x, const Want &w, void **address);
// An arrival whose region is no longer the socket's. False: the others have no room, and it stays.
bool move_to_another(const Association *a, Arrival *x);
// There is no room: tells whoever gives a piece back to look() for it. Then another attempt has to
// be made.
void wait_for_room(const Association *a, const Want &w);
// Nobody wants it.
void discard(const Arrival &x);
// Somebody who sleeps for an arrival looks again.
void wake(Association *a);

void after_fork();

} // namespace sigevec::dma::receive
