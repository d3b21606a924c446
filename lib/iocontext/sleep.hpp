// SPDX-License-Identifier: MIT
//
// io_getevents and io_pgetevents asleep.
//
// Why no wake-up is lost: a sleeper counts itself, reads `arrivals', looks at the ring, and sleeps
// while `arrivals' is unchanged; who has put an event into the ring changes `arrivals', then looks
// whether anybody sleeps. All are seq_cst.
//
// A mask of signals that is to hold during the sleep alone (io_pgetevents) must be taken and the
// sleep begun in one step, which a futex cannot: such a caller sleeps in ppoll, and is woken by the
// signal that libc keeps for cancellation (compat/interrupt.h), which it has blocked except there.
// Lock: `lock', with all signals blocked.
#pragma once

#include "base/sync.hpp"

namespace sigevec::io {

struct Sleepers {
	std::atomic<uint32_t> arrivals{0};
	std::atomic<uint32_t> asleep{0};

	// Callers with a mask.
	struct Masked {
		Masked *next;
		pid_t thread;
		bool woken;
	};
	std::atomic<Masked *> masked{nullptr};
	Mutex lock;

	// There are more events, or the context is dead. Async-signal-safe.
	void wake();

	// What is to be undone when the sleep does not return: the thread is cancelled, which it
	// can be only if its type is asynchronous, or a signal handler leaves by siglongjmp.
	struct Undo {
		void (*undo)(void *);
		void *arg;
		int cancel_type; // the program's
	};

	// By a caller that counts in `asleep', has read `seen' and then found too little. 0, EINTR
	// or ETIMEDOUT.
	int sleep(uint32_t seen, const Deadline &deadline, const sigset_t *mask, const Undo &undo);

	// The same in a kernel-AIO context, as its leader, who takes its events; EBUSY: another
	// thread leads, or it cannot be. awake(undo.arg): after the sleep, its signals still
	// blocked.
	int sleep_in(int context, uint32_t seen, const Deadline &deadline, const sigset_t *mask,
		     const Undo &undo, void (*awake)(void *));

private:
	struct Inside;
	static void left(void *);
	void enter(Masked *me);
	void leave(Masked *me);
	int sleep_masked(uint32_t seen, const Deadline &deadline, const sigset_t *mask);
};

// The signals that are pending, and that the mask does not block, are delivered: whether there were
// any.
bool let_in(const sigset_t *mask);

} // namespace sigevec::io
