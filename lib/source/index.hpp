// SPDX-License-Identifier: MIT
//
// The waits that are outstanding, by channel and by channel and data, so that cancelling some costs
// nothing for all others.
//
// Whoever takes a wait out to cancel it is the only one who will: no wait is asked for its end
// twice. Others that cancel on the same channel wait for that one (done), so what a caller does not
// find is over when its call returns.
//
// Locks: one for each of 16 groups of channels, held for moments; nothing is taken under it.
#pragma once

#include "source/source.hpp"

namespace sigevec::source::index {

// One thread that cancels; on its stack.
struct Canceller {
	const Channel *channel;
	Canceller *next;
};

// False: the channel ends; the wait is not entered, and the caller has to cancel it. True as well
// if it has ended meanwhile.
bool add(Wait *w);
// It has ended. Nothing if it has been taken out.
void remove(Wait *w);

// Takes out every wait of the channel, or the one-call ones with this data: the newest first,
// linked by next_taken, each with a reference.
Wait *take(Canceller *me, bool all, const void *data);
// When they have ended.
void done(Canceller *me);

void after_fork();

} // namespace sigevec::source::index
