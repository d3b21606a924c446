// SPDX-License-Identifier: MIT
//
// How a waiter sleeps on up to 127 words without a ring: futex_waitv (Linux 5.16).
//
// A slot is one word to sleep on. Waits for the same semaphore or mutex share a slot, in the order
// in which they came: what wakes the first of them is for whichever is first, and where that one
// sleeps on, so do all. Waits of other kinds, which sleep on more than one word of their object,
// have a slot each.
//
// When futex_waitv returns all slots are looked at, for the kernel says of one word only that it
// was woken: a wake-up of another must not be lost. A word that has its old value needs nothing,
// whether it was woken or not: the blocking functions would go to sleep again.
//
// A wait that is ended at once leaves its slot while the thread sleeps on the word. If nobody else
// is there then, and the thread is woken, that may have been meant for another waiter of the word,
// and is passed on.
//
// The functions are FutexRing's, and so are who calls them.
#pragma once

#include "nptl.hpp"
#include "source/source.hpp"

namespace sigevec::futex_waiter {

constexpr unsigned slots = 127;

class FutexWords {
public:
	void sleep(source::Wait *w);
	bool interrupt(source::Wait *) { return true; }
	void forget(source::Wait *w);
	bool leave(source::Wait *w);
	void listen(const std::atomic<uint32_t> &word, uint32_t value, int seconds);
	bool may_close() { return true; }
	void wait();
	void awake();
	bool next(source::Wait **w);

private:
	static Links<source::Wait> &links_of(source::Wait *w) { return w->sync.at.links; }

	struct Slot {
		List<source::Wait, links_of> waits;
		unsigned timed; // of them have a deadline
	};

	void add_words();
	void limit_sleep(int seconds);
	void pass_on();
	source::Wait *due(const Slot &s) const;

	Slot slot_[slots] = {};
	struct futex_waitv words_[slots + 1];
	uint8_t slot_of_[slots + 1];
	unsigned count_ = 0; // of words
	bool limited_ = false, woken_ = false;
	int clock_;
	struct __kernel_timespec limit_;
	const std::atomic<uint32_t> *own_;
	uint32_t own_value_;
	bool own_told_ = true;
	unsigned looked_at_ = slots;   // slots since the last sleep
	source::Wait *told_ = nullptr; // of a slot, and not yet looked at again
	struct __kernel_timespec now_ = {};
};

uint32_t value_of(const source::Wait *w);
bool before(const struct __kernel_timespec &a, const struct __kernel_timespec &b);

} // namespace sigevec::futex_waiter
