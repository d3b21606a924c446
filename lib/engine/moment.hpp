// SPDX-License-Identifier: MIT
//
// Calls that are not to wait for longer than a moment, where the kernel has no other way to make
// them.
#pragma once

#include "base/thread_id.hpp"
#include "interrupt.h"

#include <cerrno>
#include <csignal>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace sigevec::transfer {

// While one exists, its thread is interrupted again and again (compat/interrupt.h): a call that it
// makes does not wait for longer than a moment. What the thread was about to call when the first
// signal came, the next one ends.
class Moment {
public:
	// The first signal comes after so many nanoseconds.
	explicit Moment(long first = 2000000)
	{
		struct sigevent e = {};
		e.sigev_notify = SIGEV_THREAD_ID;
		e.sigev_signo = sigevec_interruption;
		e._sigev_un._tid = thread_id();
		const struct itimerspec often = {{0, 1000000}, {0, first}};
		made_ = sigevec_can_interrupt() != 0 &&
			syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &timer_) == 0;
		if (made_)
			syscall(SYS_timer_settime, timer_, 0, &often, nullptr);
	}
	// Its own signal may end this as well, where a tracer or a filter's supervisor looks at the
	// call first; a timer that stayed would interrupt the thread for ever.
	~Moment()
	{
		while (made_ && syscall(SYS_timer_delete, timer_) != 0 && errno == EINTR)
			;
	}
	// Otherwise the call waits for as long as it likes.
	explicit operator bool() const { return made_; }
	Moment(const Moment &) = delete;
	Moment &operator=(const Moment &) = delete;

private:
	int timer_ = 0; // as the kernel numbers it
	bool made_;
};

} // namespace sigevec::transfer
