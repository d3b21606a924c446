// SPDX-License-Identifier: MIT
//
// The bell of a channel: an eventfd in its epoll instance, and what wakes the owner of its ring.
//
// The bell is in the instance edge triggered, and it is always ready. So the instance is readable
// from the moment when the bell is rung until somebody takes the edge from the instance: nothing is
// ever written to the bell's number in the program's table, nor read from it. It is rung there by
// asking the instance once more for the same (EPOLL_CTL_MOD), which fails if the number is not the
// bell any more; then there is a new bell. The kernel rings it for a ring, and threads of the
// helper's by a write to a copy in their own table, as ever: before a request whose end they may
// have to tell is handed to them, they get one.
#pragma once

#include "channel/channel.hpp"

struct epoll_event;

namespace sigevec::bell {

enum class Which : uint8_t { bell, wake };

// An eventfd of another module's with a mark. -1: errno.
int make();
bool mark(int fd);
bool is_ours(int fd);
// Closes it, if it is one.
void close(int fd);

// A bell for c's instance, silent; also instead of one that the program has closed, which is rung
// then. 0 or -errno.
int attach(Channel *c);
// The same for what wakes the owner of c's ring, where the ring does not know futexes.
bool attach_wake(Channel *c);
// Closes it, unless the number is another file's by now.
void detach_wake(Channel *c);
// The bell's number in the program's table, known to be the bell's now, for a call that takes one;
// or -1.
int number_of(Channel *c);

// Rings it, or wakes the owner of the ring. Async-signal-safe, any thread. False: the program has
// closed the channel.
bool ring(Channel *c, Which which);
// Takes the edge; the program's threads only. rung: the bell is known to have been rung; known: c's
// descriptor has just been looked at. False: it was not.
bool silence(Channel *c, bool rung, bool known);
// Whether this is what epoll_wait of c's instance tells of the bell.
bool is_edge(const struct epoll_event &e);

// The helper will be able to ring. False: no memory or descriptor for that. Not async-signal-safe.
bool install(Channel *c);

// For those who sleep on the descriptor of a channel that has ended: also if the program has closed
// that. False: it has closed the bell, too. Not async-signal-safe.
bool ring_at_the_end(Channel *c);

// The channel ends.
void remove(Channel *c);

// In a child of fork, that may never call the library: what it has of c's in its table.
// Async-signal-safe.
void close_in_child(Channel *c);
void after_fork();

} // namespace sigevec::bell
