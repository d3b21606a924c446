// SPDX-License-Identifier: MIT
//
// The System V calls that wait, for sysv.cpp (threads, each in one call) and sysv_attend.cpp (the
// attendant). All but the atomics is guarded by the lock.
#pragma once

#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "source/sysv.hpp"
#include "source/sysv_call.hpp"

#include <atomic>
#include <cstdint>

namespace sigevec::sysv {

using source::Wait;
using Place = source::SysvWait::Place;

struct List {
	Wait *first = nullptr, *last = nullptr;
	unsigned length = 0;

	void add(Wait *w)
	{
		w->sysv.next = nullptr;
		w->sysv.previous = last;
		(last != nullptr ? last->sysv.next : first) = w;
		last = w;
		length++;
	}
	void remove(Wait *w)
	{
		(w->sysv.previous != nullptr ? w->sysv.previous->sysv.next : first) = w->sysv.next;
		(w->sysv.next != nullptr ? w->sysv.next->sysv.previous : last) = w->sysv.previous;
		length--;
	}
};

extern Mutex lock;
extern List waiting, running;
extern bool attended; // the attendant is there
// Changes when a call has ended; waited on by the attendant when it makes long pauses.
extern std::atomic<uint32_t> ends;
extern std::atomic<bool> long_pause;

inline bool unwanted(const Wait *w)
{
	return (w->flags.load(mo::acquire) & source::cancelled) != 0;
}

// With the lock held: it is in neither list any more, and ends outside of the lock.
void take_off(List &l, Wait *w);
// Not with the lock.
void end_call(Wait *w, ssize_t result);

// The thread of the attendant.
void *attend(void *);

} // namespace sigevec::sysv
