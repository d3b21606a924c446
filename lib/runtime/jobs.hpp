// SPDX-License-Identifier: MIT
//
// The queue of jobs for the workers, and where idle workers wait.
//
// Lock: one, for a few instructions; submitters hold it with all signals blocked. What is queued is
// taken in order. A worker that finds nothing looks at memory for a moment, one at a time, before
// it sleeps (base/spin.hpp).
//
// No wake-up is lost: whoever queues a job advances `changes_' under the lock; a worker takes its
// key under the lock that it found nothing under.
#pragma once

#include "base/event_count.hpp"
#include "base/spin.hpp"
#include "runtime/post.hpp"

namespace sigevec::helper {

class Jobs {
public:
	// Async-signal-safe, with signals blocked.
	void push(Post *p);
	// The same, if a worker is there that has nothing else to do; false: there is none.
	bool push_to_idle(Post *p);

	// The next one; nullptr: none has come within `most'. expected: it pays to look for it.
	Post *take(Spin &spin, bool expected, const timespec &most);
	// The same without waiting.
	Post *take_now();

	// Jobs that nobody is there to take. Exact at some moment of the call.
	bool short_of_workers();

private:
	void append(Post *p);
	Post *pop();
	void wake();

	Mutex lock_;
	Post *first_ = nullptr, *last_ = nullptr;
	std::atomic<uint32_t> queued_{0}, idle_{0}; // changed under the lock
	EventCount changes_;
	std::atomic<uint32_t> lookers_{0};
};

} // namespace sigevec::helper
