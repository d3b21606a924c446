// SPDX-License-Identifier: MIT
//
// A waiter, for futex_waiter.cpp (places, and calls of its thread) and futex_waiter_thread.cpp
// (what that does). Its locks are explained in futex_waiter.hpp.
#pragma once

#include "base/queue.hpp"
#include "base/sync.hpp"
#include "source/futex_ring.hpp"
#include "source/futex_waiter.hpp"
#include "source/futex_words.hpp"

#include <atomic>
#include <cstdint>

namespace sigevec::futex_waiter {

using source::Wait;

constexpr unsigned most_waiters = 8;

enum Means : uint32_t { none, by_words, by_ring };

inline Wait *&next_of(Wait *w)
{
	return w->sync.at.next;
}
inline Wait *&next_called_of(Wait *w)
{
	return w->sync.at.next_called;
}
using Entered = Queue<Wait, next_of>;
using Called = Queue<Wait, next_called_of>;

// A slot of FutexWords, as whoever reserves sees it.
struct Seat {
	const void *object; // that may be shared
	unsigned taken;
};

struct FutexWaiter {
	std::atomic<uint32_t>
		control;             // changes when there is something to look at beside the words
	std::atomic<uint32_t> means; // none: its thread has not chosen yet
	// Guarded by the lock.
	bool running;
	unsigned taken;
	Seat seats[slots]; // without a ring
	// Its thread is woken for the first of either.
	Entered entered;
	Called called; // to be ended before their time, each with a reference

	// Held by the thread while it is awake, and by whoever ends a wait at once. What follows is
	// guarded by it, and so are the waits that have been entered, until they are over.
	Mutex turn;
	FutexRing *ring; // one of the two, while the thread runs
	FutexWords *words;
	unsigned begun; // waits that the thread looks after
};

extern FutexWaiter waiters[most_waiters];
extern Mutex lock;

// True: it has ended, with w->result; or the waiter is done with it, and its canceller has to
// leave.
bool go_on(Wait *w);
// With the lock held.
void free_place(FutexWaiter &one, unsigned slot);
// The place first: who has read the event may take it.
void settle(FutexWaiter &me, Wait *w);
// With the lock, which the thread does not take before it has chosen.
bool start(FutexWaiter &one);

} // namespace sigevec::futex_waiter
