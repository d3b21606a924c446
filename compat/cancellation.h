/* SPDX-License-Identifier: MIT */
/*
 * A system call that is a cancellation point, and a call-back that may end its thread.
 *
 * Written in C because libc's syscall() is declared as never throwing: in C++ the compiler would
 * leave out the clean-up of the frame that is unwound when the thread is cancelled inside it, and
 * the library is built without exceptions.
 */
#ifndef SIGEVEC_COMPAT_CANCELLATION_H
#define SIGEVEC_COMPAT_CANCELLATION_H 1

#include <signal.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Call number with six arguments; on cancellation cleanup(arg) runs once, before the thread's own
 * clean-up handlers, and so it does when a signal handler leaves the call by siglongjmp. Returns
 * the result or -errno. The frames between here and the application must own nothing but what
 * cleanup undoes.
 */
long sigevec_cancellable_syscall(void (*cleanup)(void *), void *arg, long number, const long v[6])
	__attribute__((visibility("hidden")));

/* The same with a type of cancellation for the length of the call: a call that is no cancellation
 * point keeps the program's type. */
long sigevec_undone_syscall(void (*cleanup)(void *), void *arg, int type_inside, long number,
			    const long v[6]) __attribute__((visibility("hidden")));

/*
 * Calls f(value). If f ends the thread (pthread_exit, cancellation), cleanup(arg) runs; if it
 * returns, this returns.
 */
void sigevec_call_with_cleanup(void (*f)(union sigval), union sigval value, void (*cleanup)(void *),
			       void *arg) __attribute__((visibility("hidden")));

#ifdef __cplusplus
}
#endif

#endif
