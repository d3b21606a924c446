// SPDX-License-Identifier: MIT
//
// Sleeping until something may have changed, without a lock and without a system call while nobody
// sleeps.
//
// Who waits:  key = e.key(); looks; nothing there: e.sleep(key, most); looks again.
// Who wakes:  changes what is looked at; e.advance(); e.wake(n).
//
// Why no wake-up is lost. The waker counts, then looks for sleepers; the sleeper says that it
// sleeps, then the kernel compares the count, under the lock that a wake-up takes, too. All of it
// is seq_cst. So if the waker sees no sleeper, the kernel sees the new count and does not let it
// sleep; and if it sees one, that is asleep and woken, or has yet to be compared. A key that is
// read after the count has changed comes with the change itself (release by advance, acquire by
// key).
//
// The waker counts once more between calling a sleeper and the kernel. For one that read its key
// after the first time may have been called just before it sleeps: it would sleep on as one that
// has been called, and nobody would call it again (base/sleepers.hpp).
//
// Async-signal-safe. A sleeper that a handler leaves by longjmp stays counted, which costs system
// calls and nothing else. In a child of fork nobody sleeps: reset.
#pragma once

#include "base/memory_order.hpp"
#include "base/sleepers.hpp"
#include "base/sync.hpp"

#include <atomic>
#include <climits>
#include <cstdint>

namespace sigevec {

class EventCount {
public:
	using Key = uint32_t;

	Key key() const { return count_.load(mo::seq_cst); }

	// Until the count is not key's any more, at most for `most' (nullptr: for ever). 0, EAGAIN,
	// EINTR or ETIMEDOUT.
	int sleep(Key key, const timespec *most)
	{
		sleepers_.enter();
		int e = futex_wait(count_, key, most);
		sleepers_.leave();
		return e;
	}

	void advance() { count_.fetch_add(1, mo::seq_cst); }
	// After advance: n of those who sleep.
	void wake(int n)
	{
		int called = 0;
		if (n == INT_MAX)
			called = sleepers() != 0 ? n : 0;
		else
			while (called < n && sleepers_.call())
				called++;
		if (called == 0)
			return;
		count_.fetch_add(1, mo::seq_cst);
		futex_wake(count_, called);
	}
	// Both.
	void notify(int n)
	{
		advance();
		wake(n);
	}

	// How many sleep, or are about to.
	uint32_t sleepers() const { return sleepers_.count(); }

	void reset() { sleepers_.reset(); }

private:
	std::atomic<uint32_t> count_{0};
	Sleepers sleepers_;
};

} // namespace sigevec
