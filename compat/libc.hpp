// SPDX-License-Identifier: MIT
//
// libc's functions behind those of POSIX that this library takes over only for SIGEV_EC.
//
// They are looked up when the library is loaded: timer_getoverrun may be called in a signal
// handler, where nothing can be. A program that preloads the library pays seven look-ups for it.
#pragma once

#include <mqueue.h>
#include <netdb.h>
#include <signal.h>
#include <time.h>

namespace sigevec::libc {

struct Functions {
	int (*mq_notify)(mqd_t, const struct sigevent *);
	int (*timer_create)(clockid_t, struct sigevent *, timer_t *);
	int (*timer_delete)(timer_t);
	int (*timer_getoverrun)(timer_t);
	int (*getaddrinfo_a)(int, struct gaicb *[], int, struct sigevent *);
	int (*gai_cancel)(struct gaicb *);
	int (*gai_suspend)(const struct gaicb *const[], int, const struct timespec *);
};

// Never null: what this libc lacks fails with ENOSYS. Async-signal-safe.
const Functions &functions();

} // namespace sigevec::libc
