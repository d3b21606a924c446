// SPDX-License-Identifier: MIT
//
// How a waiter sleeps on any number of words: an io_uring of its own (IORING_OP_FUTEX_WAIT, Linux
// 6.7). It belongs to the thread that opened it, and has no number in the program's table of
// descriptors. futex_words.hpp does the same without a ring.
//
// The kernel keeps the requests of a ring in one list, and a request that is to be cancelled is
// looked for there. So a wait that is ended at once (leave) leaves its request behind instead;
// whoever wakes such a remainder has meant another waiter, so the wake-up is passed on. When half
// of all are remainders all requests are cancelled at once, and those of the others made again.
//
// Only the thread that opened it calls wait() and what submits; all but wait() are called with the
// waiter's turn.
#pragma once

#include "base/own_ring.hpp"
#include "config.h"
#include "source/source.hpp"

namespace sigevec::futex_waiter {

class FutexRing {
public:
	// Whether a thread that sleeps in a ring counts as waiting for a device.
	static bool counts();
	// False: there is no io_uring, or it does not know futexes.
	bool open();
	void close();

	// Tells when w->sync.word has not w->sync.value, or was woken, or w's deadline has passed.
	void sleep(source::Wait *w);
	// True: it may be looked at now. False: it will be told of, soon.
	bool interrupt(source::Wait *w);
	// It has ended, and was told of.
	void forget(source::Wait *) {}
	// It has ended without that; all that sleep on its word do, in this process alone. By any
	// thread. True: ours is to call listen() soon.
	bool leave(source::Wait *w);
	// Tells of a word of the waiter's own, once. The next sleep is for so many seconds at most
	// (-1: for ever).
	void listen(const std::atomic<uint32_t> &word, uint32_t value, int seconds);

	// Nothing is left behind; otherwise it will be, after another wait().
	bool may_close();

	// Submits, and sleeps until there is something to tell. Without the turn.
	void wait();
	void awake();
	// False: nothing more. *w nullptr: the waiter's own word.
	bool next(source::Wait **w);

private:
#ifdef HAVE_LIBURING
	struct io_uring_sqe *get_sqe(unsigned room);
	bool many_remainders() const;
	void clear_remainders();
	bool took_remainder(source::Wait *w, int result);
	void link(source::Wait *w);
	void unlink(source::Wait *w);
	bool next_without(source::Wait **w);

	OwnRing ring_;
	bool listens_ = false, clearing_ = false;
	int seconds_ = -1;
	source::Wait *asleep_ = nullptr; // all whose requests are in the kernel
	// A filter that came later refuses to enter the ring: all are looked at now and then.
	// told_: of them, in this round.
	source::Wait *told_ = nullptr;
	const std::atomic<uint32_t> *own_ = nullptr;
	uint32_t own_value_ = 0;
	unsigned sleeping_ = 0,
		 remainders_ = 0; // requests in the kernel; those left behind are among them
#endif
};

} // namespace sigevec::futex_waiter
