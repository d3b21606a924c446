// SPDX-License-Identifier: MIT
//
// The queue of a channel: for channel.cpp, queue.cpp and push.cpp.
#pragma once

#include "base/syscalls.hpp"
#include "channel/channel.hpp"

namespace sigevec::channel {

// Signals wait while a reader looks for an event without a system call, and are let through now and
// then: a handler ends the read.
class HeldSignals {
public:
	// True: a handler has run.
	bool one_has_come() const
	{
		timespec none{};
		int saved = errno;
		bool come = sys::sleep_with_mask(none, &blocked_.saved()) < 0 && errno == EINTR;
		errno = saved;
		return come;
	}

private:
	BlockSignals blocked_;
};

// Part of a channel's life ends.
void drop(Channel *c, uint64_t what);

// Drops every event in the queue of a channel that has ended.
void drop_all(Channel *c);

// Signals what ec_moderate has held back, if it is time: async-signal-safe.
void signal_if_due(Channel *c);

// A blocked reader looks again: one of several, or a ring's owner.
//
// A ring that is closed, of this channel or of one that had the memory before, may go on waiting
// for `wakes' for as long as the kernel takes to end it, and would use up a wake-up that is for
// one. So rings wait by a mask of their own, which channels without one do not mean; and with one
// all are woken.
void wake_one(Channel *c);
constexpr uint32_t ring_waits = 1u << 31;
// Blocked readers look again.
void wake_all(Channel *c);

} // namespace sigevec::channel
