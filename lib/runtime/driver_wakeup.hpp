// SPDX-License-Identifier: MIT
//
// Wakes the driver, which sleeps in its ring or in epoll_wait, without a descriptor: a number in
// the program's table could be closed and used again, and a child of fork would have it.
//
// Where the ring can wait for a futex (Linux 6.7) it waits for the word here. Elsewhere a signal is
// sent to the driver's thread, which has it blocked and watches a signalfd
// (base/thread_signal.hpp).
//
// Why no wake-up is lost: whoever has something for the driver puts it where the driver looks, then
// sets the word. The driver clears the word, then looks, then sleeps. All four are seq_cst: either
// the driver sees what was put, or the caller sees the word cleared, and wakes.
#pragma once

#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "base/thread_signal.hpp"

namespace sigevec {

class DriverWakeup {
public:
	// By the thread that sleeps.
	void set_up()
	{
		process_ = getpid();
		thread_ = ask_thread_id();
		signal_.reset(); // nobody calls while it is awake
	}

	// The same, where there is no ring that waits for the word, from the next will_sleep on:
	// the descriptor to be waited for, in its own table. -1: errno.
	int by_signal()
	{
		if (descriptor_.load(mo::relaxed) < 0)
			descriptor_.store(ThreadSignal::descriptor(), mo::seq_cst);
		return descriptor_.load(mo::relaxed);
	}

	// Any thread. Async-signal-safe; errno is kept.
	void call()
	{
		if (word_.exchange(awake, mo::seq_cst) == awake)
			return;
		int saved = errno;
		if (descriptor_.load(mo::seq_cst) < 0)
			futex_wake(word_, 1);
		else
			signal_.send(process_, thread_);
		errno = saved;
	}

	// By the thread that is to sleep, before it looks whether there is anything for it.
	void will_sleep()
	{
		signal_.take();
		word_.store(asleep, mo::seq_cst);
	}

	// The same, when it does not sleep after all, or has slept.
	void does_not_sleep() { word_.store(awake, mo::seq_cst); }

	pid_t thread() const { return thread_; }
	// A futex that is `asleep' while somebody has to be woken.
	const std::atomic<uint32_t> &word() const { return word_; }
	static constexpr uint32_t asleep = 0;

private:
	static constexpr uint32_t awake = 1;

	std::atomic<uint32_t> word_{awake};
	pid_t process_ = 0, thread_ = 0;
	ThreadSignal signal_;
	std::atomic<int> descriptor_{-1};
};

} // namespace sigevec
