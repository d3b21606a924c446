// SPDX-License-Identifier: MIT
//
// timer_create with SIGEV_EC.
//
// The timer is the kernel's own, of any clock that it has; timer_settime and timer_gettime are
// libc's. Its signal is one that no program uses, and goes to one thread of the library's alone,
// which waits for it and makes events of expirations: one thread for all timers. A timer has one
// event at a time in the queue; what expires before that has been read is counted.
#pragma once

#include "source/source.hpp"

namespace sigevec::timer {

// 0 or the errno of the call.
int create(clockid_t clock, const struct sigevent &e, timer_t *id);
// -1: not one of ours.
int remove(timer_t id);
// The same; else the overrun count of the event read last. Async-signal-safe.
int overrun(timer_t id);

void after_fork();

} // namespace sigevec::timer
