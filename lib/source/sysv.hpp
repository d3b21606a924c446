// SPDX-License-Identifier: MIT
//
// System V message queues and semaphores: calls that only a thread can wait in.
//
// As many threads as the process's limit for blocking calls allows (sigevec_set_limits), apart from those. When more calls
// wait, none starves: as long as there is a queue, every slice of time the threads are interrupted and go on with the calls that have not
// been tried for longest. A call is tried when it gets its turn, and waits in the kernel for the rest of its slice. Nothing polls.
//
// The interruption is a signal that libc keeps for itself (32), whose handler does nothing here: these calls fail with EINTR after
// any handler. The thread repeats the call, or ends it if it was cancelled; a call that has succeeded in time has succeeded.
//
// Lock: `lock' guards the queue, the list of running calls and the number of threads. Channels are pushed to without it.
#pragma once

#include "source/source.hpp"

namespace sigevec::sysv {

// The operations of a semop are copied. 0 or the errno of the call.
int start(const source::SysvCall &call, ec_t ec, void *data);

void after_fork();

} // namespace sigevec::sysv
