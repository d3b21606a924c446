// SPDX-License-Identifier: MIT
//
// The wakeup of a channel: an eventfd in its epoll instance, and what wakes the owner of its ring.
//
// The wakeup is in the instance edge triggered, and it is always ready. So the instance is readable
// from the moment when the wakeup is signalled until somebody takes the edge from the instance:
// nothing is ever written to the wakeup's number in the program's table, nor read from it. It is
// signalled there by asking the instance once more for the same (EPOLL_CTL_MOD), which fails if the
// number is not the wakeup any more; then there is a new wakeup. The kernel signals it for a ring,
// and threads of the helper's by a write to a copy in their own table, as ever: before a request
// whose end they may have to tell is handed to them, they get one.
#pragma once

#include "channel/channel.hpp"

struct epoll_event;

namespace sigevec::wakeup {

// An eventfd of another module's with a mark. -1: errno.
int make();
bool mark(int fd);
bool is_ours(int fd);
// Closes it, if it is one.
void close(int fd);

// A wakeup for c's instance, silent; also instead of one that the program has closed, which is
// signalled then. 0 or -errno.
int attach(Channel *c);
// The same for what wakes the owner of c's ring, where the ring does not know futexes.
bool attach_wake(Channel *c);
// Closes it, unless the number is another file's by now.
void detach_wake(Channel *c);
// The wakeup's number in the program's table, known to be the wakeup's now, for a call that takes
// one; or -1.
int number_of(Channel *c);

// Makes the channel readable; wakes the owner of its ring. Async-signal-safe, any thread; errno is
// kept. False: the program has closed the channel.
bool signal(Channel *c);
void signal_owner(Channel *c);
// Takes the edge; the program's threads only. signalled: the wakeup is known to have been
// signalled; known: c's descriptor has just been looked at. False: it was not.
bool drain(Channel *c, bool signalled, bool known);
// Whether this is what epoll_wait of c's instance tells of the wakeup.
bool is_edge(const struct epoll_event &e);

// The helper will be able to signal. False: no memory or descriptor for that. Not
// async-signal-safe.
bool install(Channel *c);

// For those who sleep on the descriptor of a channel that has ended: also if the program has closed
// that. False: it has closed the wakeup, too. Not async-signal-safe.
bool signal_at_the_end(Channel *c);

// The channel ends.
void remove(Channel *c);

// In a child of fork, that may never call the library: what it has of c's in its table.
// Async-signal-safe.
void close_in_child(Channel *c);
void after_fork();

} // namespace sigevec::wakeup
