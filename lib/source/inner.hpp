// SPDX-License-Identifier: MIT
//
// Descriptors that are read by the readers of a channel themselves: a message queue's netlink socket, a signalfd.
//
// They are in an epoll instance of their own, and that one is in the channel's, which is therefore readable when one of
// them is. No thread stands between: a reader takes from them what there is before it looks into the queue. Blocked readers
// of such a channel sleep on its descriptor instead of the futex (channel/queue.cpp), and in the ring beside a poll of the instance
// (channel/single.cpp). A signalfd must be read this way: what is directed at one thread only that thread can take.
#pragma once

#include "source/source.hpp"

namespace sigevec::inner {

// A channel without one has -1 in Channel::inner.
constexpr int none = -1;

// A new descriptor that is to be one of these: marked as the library's. -1 (errno) if it is none, or could not be marked and is closed.
int own(int fd);

// Has w->fd read by the channel's readers, from now on until it is closed. 0 or the errno of the call.
int add(source::Wait *w);

// No longer.
void forget(const source::Wait *w);

// Takes what there is. By a reader, with or without `reading'.
void collect(Channel *c);

// Sleeps until the channel's descriptor may be readable. 0, EINTR, ETIMEDOUT, or EBADF: it is the channel's no more. rest: at most, of CLOCK_MONOTONIC.
int sleep(Channel *c, const struct timespec &rest);

// The channel ends: all who sleep so are woken, and have left when this returns.
void wake(Channel *c);
void remove(Channel *c);

// In a child of fork, that may never call the library.
void close_in_child(Channel *c);
void after_fork();

} // namespace sigevec::inner
