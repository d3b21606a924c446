// SPDX-License-Identifier: MIT
//
// System V message queues and semaphores: calls that only a thread can wait in.
//
// Each call sleeps in the kernel in a thread of its own, as long as there are no more than the
// process's limit for blocking calls allows (sigevec_set_limits). What waits beyond these is
// queued: a thread whose call has ended takes the oldest, and one more thread, the attendant, tries
// each of them without waiting, often while something comes and ten times a second otherwise; in at
// most a hundredth of a processor. Calls that are equal but for their buffers are served in their
// order: of these only the first is tried.
//
// Rights are the caller's: what can be done or refused at once is so in the call. A caller with
// other rights than the threads have (rights.hpp) starts one for its call alone.
//
// A call is cancelled by a signal that libc keeps for itself (32), whose handler does nothing here:
// these calls fail with EINTR after any handler. One that has succeeded in time has succeeded.
//
// Lock: `lock' guards the lists, where each wait is, and the number of threads. Channels are pushed
// to without it.
#pragma once

#include "source/source.hpp"

namespace sigevec::sysv {

// The operations of a semop are copied. 0 or the errno of the call.
int start(const source::SysvCall &call, ec_t ec, void *data);

void after_fork();

} // namespace sigevec::sysv
