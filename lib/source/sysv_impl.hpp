// SPDX-License-Identifier: MIT
//
// The System V calls that wait, for sysv.cpp (threads, each in one call) and sysv_attend.cpp (the
// attendant). All but the atomics is guarded by the lock.
#pragma once

#include "base/memory_order.hpp"
#include "base/queue.hpp"
#include "base/sync.hpp"
#include "source/sysv.hpp"
#include "source/sysv_call.hpp"

#include <atomic>
#include <cstdint>

namespace sigevec::sysv {

using source::Wait;
using Place = source::SysvWait::Place;

inline Links<Wait> &links_of(Wait *w)
{
	return w->sysv.links;
}
using Calls = List<Wait, links_of>;

extern Mutex lock;
extern Calls waiting, running;
extern bool attended; // the attendant is there
// Changes when a call has ended; waited on by the attendant when it makes long pauses.
extern std::atomic<uint32_t> ends;
extern std::atomic<bool> long_pause;

inline bool unwanted(const Wait *w)
{
	return (w->flags.load(mo::acquire) & source::cancelled) != 0;
}

// With the lock held: it is in neither list any more, and ends outside of the lock.
void take_off(Calls &l, Wait *w);
// Not with the lock.
void end_call(Wait *w, ssize_t result);

// The thread of the attendant.
void *attend(void *);

} // namespace sigevec::sysv
