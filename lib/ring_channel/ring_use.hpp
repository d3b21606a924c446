// SPDX-License-Identifier: MIT
//
// Using the ring of a channel, for ring_events.cpp (what has ended), ring_submit.cpp (what begins)
// and ring_wait.cpp: who may, and how its descriptor tells the truth afterwards.
#pragma once

#include "ring_channel/ring_channel.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"

namespace sigevec::ring_channel {

// Who ends the channel leaves the ring to its owner while that is in a call: either the owner sees
// the end, or the end sees the owner.
class Inside {
public:
	explicit Inside(Channel *c) : c_(c) { c->inside.store(true, mo::seq_cst); }
	~Inside() { c_->inside.store(false, mo::release); }
	Inside(const Inside &) = delete;
	Inside &operator=(const Inside &) = delete;

private:
	Channel *c_;
};

// Whether this thread can use the ring; it is left if not.
bool is_usable(Channel *c, const RingState *s);

// What a call has seen: nothing; the descriptor, which is the channel's; that there is nothing.
enum class Seen : uint8_t { nothing, descriptor, emptiness };
// After a read: the descriptor says the truth.
void settle(Channel *c, RingState *s, Seen seen = Seen::nothing);

// Whether the ring has an end, after the kernel was asked if it seems to have one.
//
// The kernel's mark may stay when there is nothing: it is made after the work was put where the
// owner may by then have found and done it. So whoever is about to find nothing does not believe
// it. What is put there after the asking the kernel signals for, if it is to.
bool ring_gives_something(RingState *s);

} // namespace sigevec::ring_channel

#endif
