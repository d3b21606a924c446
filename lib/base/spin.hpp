// SPDX-License-Identifier: MIT
//
// Looking at memory for a moment before going to sleep.
//
// A sleep and a wake-up cost more than a small write takes, so whoever expects something at once
// looks for it first. How long is bounded, and it is learned: after a look in vain the next ones
// are left out, twice as many each time, so that a thread whose requests take longer, or whose
// processor is wanted by others, loses next to nothing. Nobody may spin while holding a lock.
#pragma once

#include "base/memory_order.hpp"
#include "base/sync.hpp"

namespace sigevec {

class Spin {
public:
	constexpr Spin() = default;
	// For looks that gain less than one in vain costs: they take no longer than most_ns, and it
	// takes two that have paid to make up for one that has not.
	constexpr explicit Spin(long most_ns) : most_ns_(most_ns), dear_(true) {}

	// Whether the process may use more than one processor: otherwise nothing can change while
	// one looks. Set once, before anything else.
	static std::atomic<bool> allowed;
	static void set_up();
	// Callers that are looking for the end of a request, and how many have seen it: a worker's
	// hint that more will come.
	static std::atomic<uint32_t> looking, met;

	// Whether the next look is to be left out. To be asked once for each.
	bool skip()
	{
		if (skipped_ >= (1u << failures_) - 1)
			return !allowed.load(mo::relaxed);
		skipped_++;
		return true;
	}

	// True: done() has become true in time.
	template <class F> bool until(F done)
	{
		timespec start = monotonic_now();
		for (;;) {
			for (int i = 0; i < 8; i++) {
				if (done()) {
					note_success();
					return true;
				}
				relax();
			}
			timespec now = monotonic_now();
			if ((now.tv_sec - start.tv_sec) * 1000000000 +
				    (now.tv_nsec - start.tv_nsec) >
			    most_ns_)
				break;
		}
		failures_ += dear_ ? 2 : 1;
		if (failures_ > most_failures)
			failures_ = most_failures;
		skipped_ = 0;
		return false;
	}

private:
	void note_success()
	{
		failures_ = dear_ && failures_ != 0 ? failures_ - 1 : 0;
		skipped_ = 0;
	}

	static constexpr unsigned most_failures = 6;

	long most_ns_ = 50000;
	bool dear_ = false;
	unsigned failures_ = 0, skipped_ = 0;
};

} // namespace sigevec
