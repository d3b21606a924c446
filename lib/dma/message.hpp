// SPDX-License-Identifier: MIT
//
// What comes with a message beside its data: the sender's address, control data with descriptors,
// flags.
//
// The program finds it in front of the data, in the piece (MessageHead). That is memory which other
// processes may write, so until the moment of handing over it is kept in an Ancillary, in memory of
// this process: no number of a descriptor and no length is read from a piece.
//
// Descriptors that have come are closed on exec until they are handed over, and closed in a child
// of fork. The program may close them before that, and use their numbers: what they were is
// compared before they are closed or changed.
#pragma once

#include "dma/unit_bitmap.hpp"
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
	struct msghdr header; // address and control data are in the members below, or nowhere
	struct sockaddr_storage address;
	alignas(struct cmsghdr) char control[sizeof(MessageHead::control)];
	static constexpr unsigned most_files = sizeof(MessageHead::control) / sizeof(int);
	unsigned files; // descriptors in `control' that are not handed over
	uint32_t place; // in the table of those that have any
	struct {
		int fd;
		uint64_t dev, ino;
	} file[most_files];
};

namespace ancillary {

// Empty; nullptr: no memory.
Ancillary *make();
// Where the kernel is to store it, and what it has stored.
void ask(const Ancillary *a, struct msghdr *m);
void note(Ancillary *a, const struct msghdr &m);
// What has come by a call in the program's table: descriptors are the library's until they are
// handed over.
void keep_files(Ancillary *a);
// Nobody wants it: descriptors are closed. nullptr is nothing.
void drop(Ancillary *a);
// The same where free() must not be called, when the descriptors have been handed over.
void drop_later(Ancillary *a);

// The sender's address, cut to what there is room for.
void copy_address(const Ancillary *a, struct sockaddr *to, socklen_t room);
// Writes it into a piece, with n bytes of data behind it. False: the memory is not there.
bool store(const Ancillary *a, Region *r, char *piece, size_t n, int flags, int more_flags);
// The program has it: descriptors stay closed on exec only if that is asked for by `flags'. It is
// freed, as by drop_later.
void hand_over(Ancillary *a, int flags);

// In every child of fork. Async-signal-safe.
void close_in_child();

} // namespace ancillary
} // namespace sigevec::dma
