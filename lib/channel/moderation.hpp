// SPDX-License-Identifier: MIT
//
// ec_moderate: events wait in their channel, unannounced, until there are enough of them or the
// first has waited long enough.
//
// Who puts an event into the queue decides: enough are there, then it signals the wakeup or wakes a
// reader as ever (channel/push.cpp); else the clock is started, unless it runs. A blocked reader
// is woken by the first event and is the clock itself: it sleeps on, until enough are there or the
// time is up. For programs that wait for the descriptor the clock is a thread.
//
// The ring of an EC_SINGLE channel says that something has ended, never how much. So its wakeup is
// signalled by a second thread that hears the kernel instead, when the time is up; that is near
// enough while the time is short. Otherwise the channel goes on without a ring.
//
// Lifetimes: while the clock runs for a channel it has a reference. Locks: none of its own but to
// start the threads.
#pragma once

#include "base/memory_order.hpp"
#include "channel/channel.hpp"

namespace sigevec::moderation {

inline bool on(const Channel *c)
{
	return c->moderated.load(mo::relaxed);
}

// What is in the queue may be told. Async-signal-safe.
bool due(const Channel *c);

// An event comes into an empty inbox.
void note_first(Channel *c);

// When the time of what is in the queue is up, or `deadline' if that is earlier.
Deadline limit(const Channel *c, const Deadline &deadline);

// Something is in the queue that is not due: starts the clock. Async-signal-safe, any thread.
void start_clock(Channel *c);

// 0 or an errno. For EC_SINGLE by its owner.
int set(Channel *c, uint32_t events, uint32_t microseconds);

// The channel has ended: its clock stops now, not when the time is up.
void stop(const Channel *c);

// Whether the ring of an EC_SINGLE channel tells often enough.
bool fits_ring(uint32_t events, uint32_t microseconds);
// The eventfd that the kernel is to signal instead of c's wakeup, heard by the second thread; to be
// closed by its owner. Or -1 with errno.
int listen(Channel *c);

// In a child of fork, that may never call the library.
void close_in_child();
// Closes that, unless the number is another file's by now. -1: nothing.
void stop_listening(int coalesce_fd);

void after_fork();

} // namespace sigevec::moderation
