/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "interrupt.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* libc's sigaction does not let us near this signal: the kernel's structure and call. */
#define SIGNAL_OF_CANCELLATION sigevec_interruption

/*
 * Whether the restorer is there depends on the machine (x86-64, arm64 and others have it, RISC-V
 * has not). The mask comes last: 0 in either place is an empty one, and there is room for both.
 */
struct kernel_sigaction {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	unsigned long mask;
};
#define BYTES_OF_MASK 8

#ifdef __x86_64__
/* How a handler returns; elsewhere the kernel brings that along. */
void sigevec_restore(void) __attribute__((visibility("hidden")));
__asm__(".text\n"
	".hidden sigevec_restore\n"
	".type sigevec_restore, @function\n"
	"sigevec_restore:\n"
	"	movq $15, %rax\n" /* rt_sigreturn */
	"	syscall\n"
	".size sigevec_restore, . - sigevec_restore\n");
#define SA_RESTORER_FLAG 0x04000000
#endif

static void nothing(int signal)
{
	(void)signal;
}

static long change(const struct kernel_sigaction *now, struct kernel_sigaction *before)
{
	return syscall(SYS_rt_sigaction, SIGNAL_OF_CANCELLATION, now, before, BYTES_OF_MASK);
}

int sigevec_can_interrupt(void)
{
	struct kernel_sigaction own, old;

	memset(&old, 0, sizeof old);
	if (change(NULL, &old) != 0)
		return 0;
	if (old.handler != SIG_DFL && old.handler != SIG_IGN) {
		/* Libc's, with which the kernel would begin most calls anew, for ever. */
		own = old;
		own.flags &= ~(unsigned long)SA_RESTART;
		return own.flags == old.flags || change(&own, NULL) == 0;
	}
	memset(&own, 0, sizeof own);
	own.handler = nothing;
#ifdef __x86_64__
	own.flags = SA_RESTORER_FLAG;
	own.restorer = sigevec_restore;
#endif
	if (change(&own, &old) != 0)
		return 0;
	/* Libc has been quicker by a hair: its handler is to stay. */
	if (old.handler != SIG_DFL && old.handler != SIG_IGN && old.handler != nothing)
		change(&old, NULL);
	return 1;
}

void sigevec_interrupt(pid_t thread)
{
	siginfo_t info;

	memset(&info, 0, sizeof info);
	info.si_signo = SIGNAL_OF_CANCELLATION;
	info.si_code = SI_QUEUE; /* not SI_TKILL, by which glibc knows pthread_cancel's */
	info.si_pid = getpid();
	syscall(SYS_rt_tgsigqueueinfo, info.si_pid, thread, SIGNAL_OF_CANCELLATION, &info);
}
