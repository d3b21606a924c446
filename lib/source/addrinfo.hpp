// SPDX-License-Identifier: MIT
//
// getaddrinfo_a with SIGEV_EC.
//
// Names are looked up by threads of the library's, as many as the process's limit for blocking
// calls allows, with libc's getaddrinfo. Not by libc's getaddrinfo_a: it can only tell of the end
// by a thread with no signal blocked, which would take signals that are to be events, and it
// forgets the notification of a list when one of its requests is cancelled. The state of a request
// is where libc has it, so that gai_error is libc's.
//
// Lock: `lock' guards the lists and the number of threads. Channels are pushed to without it.
#pragma once

#include "source/source.hpp"

namespace sigevec::addrinfo {

// 0 or EAI_*, as getaddrinfo_a(GAI_NOWAIT); *error: errno as it is to be, or 0.
int start(struct gaicb *list[], int n, const struct sigevent &e, int *error);

// As gai_cancel; libc is asked for what is not here.
int cancel(struct gaicb *request);

// As gai_suspend, for lists that may have requests of both.
int suspend(const struct gaicb *const list[], int n, const struct timespec *timeout);

void after_fork();

} // namespace sigevec::addrinfo
