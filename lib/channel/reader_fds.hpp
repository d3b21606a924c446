// SPDX-License-Identifier: MIT
//
// Descriptors that are read by the readers of a channel themselves: a message queue's netlink
// socket, a signalfd, sockets with an armed receive into a region (dma/by_readers.hpp).
//
// They are in an epoll instance of their own, and that one is in the channel's, which is therefore
// readable when one of them is. No thread stands between: a reader takes what there is before it
// looks into the queue. Blocked readers of such a channel sleep on its descriptor instead of the
// futex (channel/queue.cpp), and in the ring beside a poll of the instance
// (ring_channel/ring_setup.cpp). Signals must be taken this way: what is directed at one thread
// only that thread can take.
//
// The descriptors themselves are in the table of the helper: the program cannot close them, and a
// child can neither read them nor change what they are for. Of the instance the helper has one
// number and the program's table another, which the readers use; if the program has closed that,
// the same instance gets a new one.
#pragma once

#include "channel/channel.hpp"

namespace sigevec::reader_fds {

// Whether c has any, or had: an instance.
bool used(const Channel *c);
// The number of the instance in the program's table, known to be that now, or -1.
int number_of(Channel *c);

// Has fd, a new number in the program's table, read by the channel's readers from now on
// (channel::outside.ready, with the handle). The number is closed, *copy is the one in the helper's
// table, which is the caller's to close. 0 or the errno of the call.
int add(Channel *c, int fd, uint64_t handle, int *copy);

// The same of a socket that the helper holds: its readers receive from it
// (channel::outside.arrived).
int add_socket(Channel *c, int copy, uint32_t index, uint32_t life);
// Whether it still is in the instance, out of which a child that no handler has heard of can take
// it: that has the instance, and the socket. What is asked of it is what it was then.
bool watches_socket(Channel *c, int copy, uint32_t index, uint32_t life);

// No longer: when this returns the channel is not readable for it.
void forget(Channel *c, int copy);
void forget_socket(Channel *c, int copy);

// Takes what there is, but for what is in sockets. By a reader, with or without `reading'.
void collect(Channel *c);
// The same with what is in sockets, without `reading'. Whoever pushes an event meanwhile need not
// wake the caller, who looks into the queue after this.
void collect_all(Channel *c);
// Whether readers receive from sockets.
inline bool has_sockets(const Channel *c)
{
	return c->inner_sockets.load(mo::relaxed) != 0;
}

// Sleeps until the channel's descriptor may be readable, or it is time to look. 0, EINTR,
// ETIMEDOUT, or EBADF: it is the channel's no more. rest: at most, of CLOCK_MONOTONIC.
int sleep(Channel *c, const struct timespec &rest);

// The channel ends: all who sleep so are woken, and have left when this returns.
void wake(Channel *c);
void remove(Channel *c);

// In a child of fork, that may never call the library.
void close_in_child(Channel *c);
void after_fork();

} // namespace sigevec::reader_fds
