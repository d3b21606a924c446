// SPDX-License-Identifier: MIT
//
// A carrier's own state, for carrier.cpp (its thread, and who gives it its turn) and
// carrier_attempt.cpp (what it does in that).
#pragma once

#include "base/queue.hpp"
#include "engine/carrier.hpp"
#include "engine/rights.hpp"

#include <atomic>

namespace sigevec {

namespace helper {
struct CancelReply;
}

// The files that a request needs, the highest first: its own, and those that travel with it.
struct FilesKept {
	unsigned count = 0;
	int v[254];
};

struct OwnThread : Carrier {
	OwnThread() : Carrier{carrier::let_go} {}
	enum State : uint32_t { starting, standing_by, at_work, alone, done, abandoned };
	std::atomic<uint32_t> state{starting};
	std::atomic<bool> stop{false};
	std::atomic<pid_t> thread{0};
	Request *request;
	int file; // in the caller's table, and in its own
	int error = 0;
	bool for_driver = false;
	bool apart, cannot_leave = false; // its table: made with it; may not be left
	bool settled = true;
	Rights rights{}; // the caller's
	// Before the next attempt, in nanoseconds, where nothing tells when that may succeed.
	static constexpr long first_pause = 1000000;
	long pause = first_pause;
	FilesKept keep;
	// Of one that is alone (engine/alone.hpp): who has his turn after it, and who asks for its
	// end.
	Links<OwnThread> turn{};
	helper::CancelReply *asked = nullptr;
};

namespace carrier {

// The whole request, in its turn. Result or -errno; -EINPROGRESS: a connect has begun, and its end
// needs no carrier.
ssize_t carry_out(OwnThread *c, Request *r);

// The end of a connect that has begun.
ssize_t end_connect(OwnThread *c, Request *r);

// All that it keeps, before the end is told: who then looks finds the files released.
void close_files(const OwnThread *c);

// It has its turn when it finds that it has (engine/alone.hpp).
void begin_alone(OwnThread *c);
void interrupt(OwnThread *c);

} // namespace carrier
} // namespace sigevec
