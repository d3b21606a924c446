// SPDX-License-Identifier: MIT
//
// Groups of kernel-AIO requests, and who listens to them: the background thread, or those who wait
// for them.
#pragma once

#include "base/memory_order.hpp"

#include <atomic>
#include <cstdint>

namespace sigevec::kaio {

// Requests whose events one caller waits for, whichever it is: those of an io_context_t of
// libaio's. While its callers are used to waiting in the context themselves (`led'), its requests
// need no background thread: whoever waits sleeps on the context, and so is woken by the kernel.
// The background thread only looks from time to time whether one has ended that nobody has come
// for, takes it, and tells the group so: from then on it listens to the group's requests again.
//
// Never freed.
class Group {
public:
	// The context in which those are that only their waiters listen to, how many they are, and
	// whether these are all of `outstanding'. -1: there are none.
	int context(uint32_t outstanding, bool *all) const;
	// A caller has slept while another thread listened, or in the context itself. It pays to do
	// that if it is the rule.
	void slept();
	void led();
	void reset();

	// By the engine: whether a request in this context is left to its waiters; each that was
	// leaves again. One has been found that nobody came for.
	bool join(int context);
	void leave();
	void deserted();

private:
	// The context, and below it the number of requests: it changes only while that is 0.
	static constexpr unsigned shift = 32;
	std::atomic<uint64_t> word_{0};
	// How often a caller must sleep yet before the requests are left to those who do; 0: they
	// are. How often it will be next time: more with each that was deserted.
	std::atomic<uint32_t> sleeps_{0}, next_{0};
};

} // namespace sigevec::kaio
