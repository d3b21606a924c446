// SPDX-License-Identifier: MIT
//
// What readers (queue.cpp) and pushers (push.cpp) of a channel's queue share: whether it is empty,
// and its bell. Why the order is what it is: queue.cpp.
#pragma once

#include "channel/bell.hpp"
#include "channel/moderation.hpp"
#include "channel/queue.hpp"

namespace sigevec::channel {

inline void ring_now(Channel *c)
{
	uint32_t silent = 0;
	if (c->rung.load(mo::seq_cst) == 0 &&
	    c->rung.compare_exchange_strong(silent, 1, mo::seq_cst))
		bell::ring(c,
			   bell::Which::bell); // a reader will see that the program has closed it
}

// The same, when it is time.
inline void ring(Channel *c)
{
	if (moderation::due(c))
		ring_now(c);
	else if (c->rung.load(mo::seq_cst) == 0)
		moderation::start_clock(c);
}

inline bool empty(const Channel *c)
{
	return c->oldest.load(mo::seq_cst) == nullptr && c->inbox.load(mo::seq_cst) == nullptr &&
	       c->overflow.load(mo::seq_cst) == 0;
}

} // namespace sigevec::channel
