// SPDX-License-Identifier: MIT
//
// An intrusive queue that any thread puts into and one thread empties.
//
// Putting is one compare-exchange, allocates nothing and is async-signal-safe. T has a member `T
// *next', which belongs to the inbox from push() until take_all() has returned it. An element is in
// one inbox at a time.
//
// Order: what was pushed first is taken first. A push is a release of what the element leads to,
// taking an acquire; both are seq_cst, so that they can be ordered against a flag that says whether
// the taker sleeps (runtime/driver_wakeup.hpp).
#pragma once

#include "base/memory_order.hpp"

#include <atomic>

namespace sigevec {

// What has been linked newest first by `std::atomic<T *> next': the oldest first. For queues that
// are closed by a mark, or emptied by whoever comes first.
template <class T> T *reversed(T *newest)
{
	T *first = nullptr;
	while (newest != nullptr) {
		T *older = newest->next.load(mo::relaxed);
		newest->next.store(first, mo::relaxed);
		first = newest;
		newest = older;
	}
	return first;
}

template <class T> class Inbox {
public:
	// True: there was none.
	bool push(T *t)
	{
		T *head = newest_.load(mo::relaxed);
		do
			t->next = head;
		while (!newest_.compare_exchange_weak(head, t, mo::seq_cst, mo::relaxed));
		return head == nullptr;
	}

	bool empty() const { return newest_.load(mo::seq_cst) == nullptr; }

	// The oldest first; nullptr: there is none.
	T *take_all()
	{
		T *t = empty() ? nullptr : newest_.exchange(nullptr, mo::seq_cst);
		T *first = nullptr;
		while (t != nullptr) {
			T *older = t->next;
			t->next = first;
			first = t;
			t = older;
		}
		return first;
	}

	// In a child of fork.
	void forget() { newest_.store(nullptr, mo::relaxed); }

private:
	std::atomic<T *> newest_{nullptr};
};

} // namespace sigevec
