/* SPDX-License-Identifier: MIT */
/*
 * Interrupting a system call of one of the library's own threads, or of a thread that is in a call
 * of the library's, by the signal that glibc keeps for cancellation.
 *
 * No program can use that signal, so none is taken away. Once pthread_cancel has been called glibc
 * has a handler for it, which does nothing about a signal that is not pthread_cancel's; until then
 * there is one of the library's, and glibc replaces it.
 *
 * glibc's lets the kernel begin calls anew (SA_RESTART), so a connect or a read of a terminal would
 * never end: that is taken from it. Its users do not notice: it sends the signal to threads only
 * that are to be cancelled; up to 2.40 to those alone that may be cancelled in the moment, and are.
 */
#ifndef SIGEVEC_COMPAT_INTERRUPT_H
#define SIGEVEC_COMPAT_INTERRUPT_H 1

#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Its number, for a timer that interrupts. */
#define sigevec_interruption 32

/* Whether there is a handler now. To be asked before each call that may be interrupted. */
int sigevec_can_interrupt(void) __attribute__((visibility("hidden")));

/* The thread's system call fails with EINTR, if it is one that is never restarted; if the thread is
 * in none, nothing happens. */
void sigevec_interrupt(pid_t thread) __attribute__((visibility("hidden")));

#ifdef __cplusplus
}
#endif

#endif
