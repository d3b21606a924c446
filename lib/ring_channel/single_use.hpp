// SPDX-License-Identifier: MIT
//
// Using the ring of a channel, for single.cpp (what has ended) and single_submit.cpp (what begins):
// who may, and how its descriptor tells the truth afterwards.
#pragma once

#include "ring_channel/single.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"

namespace sigevec::single {

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
bool is_usable(Channel *c, const Single *s);

// After a read: the descriptor says the truth.
// known: the descriptor has been looked at in this call.
void settle(Channel *c, Single *s, bool known = false);

} // namespace sigevec::single

#endif
