// SPDX-License-Identifier: MIT
//
// How many threads sleep on a futex, and how many of them have been called: so that of several who
// have something for a sleeper only the first one enters the kernel, however long the sleeper takes
// to run.
//
// Who sleeps:  enter(); looks; nothing there: the futex; leave(); looks again.
// Who wakes:   changes what is looked at; if (call()) changes the futex, and wakes one.
//
// A call that is refused would have woken nobody: all who are counted have been called, or come
// back for another reason. For each call is counted before its wake-up, which takes one out of the
// kernel as long as there is one; and each thread that comes back takes one call with it, whether
// it was its own or not. So there are never more calls than threads on their way, and who is on its
// way looks after the call was counted. A thread whose sleep is left by longjmp stays counted,
// which costs system calls and nothing else.
//
// Async-signal-safe; all of it is seq_cst.
#pragma once

#include "base/memory_order.hpp"

#include <atomic>
#include <cstdint>

namespace sigevec {

class Sleepers {
public:
	void enter() { word_.fetch_add(1, mo::seq_cst); }

	void leave()
	{
		uint64_t w = word_.load(mo::relaxed);
		while (!word_.compare_exchange_weak(w, w - 1 - (called(w) != 0 ? one_call : 0),
						    mo::seq_cst))
			;
	}

	// True: one that sleeps, or is about to, is to be woken.
	bool call()
	{
		uint64_t w = word_.load(mo::seq_cst);
		while (called(w) < counted(w))
			if (word_.compare_exchange_weak(w, w + one_call, mo::seq_cst))
				return true;
		return false;
	}

	// Where only one thread ever sleeps, instead of enter and leave: whatever was left behind.
	void alone(bool asleep) { word_.store(asleep ? 1 : 0, mo::seq_cst); }

	uint32_t count() const { return counted(word_.load(mo::seq_cst)); }

	void reset() { word_.store(0, mo::relaxed); }

private:
	static constexpr uint64_t one_call = uint64_t{1} << 32;
	static uint32_t counted(uint64_t w) { return static_cast<uint32_t>(w); }
	static uint32_t called(uint64_t w) { return static_cast<uint32_t>(w >> 32); }

	std::atomic<uint64_t> word_{0}; // low half: counted; high half: called
};

} // namespace sigevec
