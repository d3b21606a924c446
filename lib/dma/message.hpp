// SPDX-License-Identifier: MIT
//
// What comes with a message beside its data: the sender's address, control data with descriptors, flags.
//
// The program finds it in front of the data, in the piece (MessageHead). That is memory which other processes may write, so until the moment
// of handing over it is kept in an Ancillary, in memory of this process: no number of a descriptor and no length is read from a piece.
//
// Descriptors that have come are closed on exec until they are handed over.
#pragma once

#include "dma/units.hpp"
#include "request/request.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

namespace sigevec::dma {

struct Region;

struct MessageHead {
	struct msghdr header;
	struct iovec vector;
	struct sockaddr_storage address;
	alignas(struct cmsghdr) char control[312];
};
// The data behind it begins a piece of its own when the head is not wanted.
static_assert(sizeof(MessageHead) % unit == 0);

struct Ancillary : Block {
	struct msghdr told; // address and control data are in the members below, or nowhere
	struct sockaddr_storage address;
	alignas(struct cmsghdr) char control[sizeof(MessageHead::control)];
};

namespace ancillary {

// Empty; nullptr: no memory.
Ancillary *make();
// Where the kernel is to store it, and what it has stored.
void ask(const Ancillary *a, struct msghdr *m);
void note(Ancillary *a, const struct msghdr &m);
// Nobody wants it: descriptors are closed. nullptr is nothing.
void drop(Ancillary *a);
// The same where free() must not be called, when the descriptors have been handed over.
void drop_later(Ancillary *a);

// The sender's address, cut to what there is room for.
void copy_address(const Ancillary *a, struct sockaddr *to, socklen_t room);
// Hands it over with n bytes of data behind it: descriptors stay closed on exec only if that is asked for by `flags'. False: the memory is not there.
bool hand_over(const Ancillary *a, Region *r, char *piece, size_t n, int flags, int more_told);

} // namespace ancillary
} // namespace sigevec::dma
