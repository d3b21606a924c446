/* SPDX-License-Identifier: MIT */
/*
 * libc's syscall(), for those who call kernel AIO by it (MariaDB): the calls of kernel AIO go to
 * the contexts of the library's, all others to the kernel as they are. Machines for which the few
 * instructions are not here keep libc's.
 */
#define _GNU_SOURCE
#include "iocontext/interface.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined __x86_64__ || defined __aarch64__

/* From below. */
long sigevec_aio_syscall(long number, long a, long b, long c, long d, long e, long f)
	__attribute__((visibility("hidden"), used));
long sigevec_foreign_call(long number, long a, long b, long c, long d, long e, long f)
	__attribute__((visibility("hidden")));
long sigevec_syscall_failed(long result) __attribute__((visibility("hidden"), used));

/* The calls of kernel AIO, in the arguments that syscall() was called with; the others too, if they
 * come here. */
long sigevec_aio_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	long result = SIGEVEC_IO_FOREIGN;

	switch (number) {
	case SYS_io_setup:
		result = sigevec_io_setup((unsigned)a, (void **)b);
		break;
	case SYS_io_destroy:
		result = sigevec_io_destroy((void *)a);
		break;
	case SYS_io_submit:
		result = sigevec_io_submit((void *)a, b, (struct iocb *const *)c);
		break;
	case SYS_io_cancel:
		result = sigevec_io_cancel((void *)a, (struct iocb *)b, (struct io_event *)c);
		break;
	case SYS_io_getevents:
		result = sigevec_io_getevents((void *)a, b, c, (struct io_event *)d,
					      (const struct timespec *)e, NULL);
		break;
	case SYS_io_pgetevents:
		result = sigevec_io_getevents((void *)a, b, c, (struct io_event *)d,
					      (const struct timespec *)e,
					      (const struct sigevec_io_mask *)f);
		break;
	default:
		break;
	}
	if (result == SIGEVEC_IO_FOREIGN)
		result = sigevec_foreign_call(number, a, b, c, d, e, f);
	if ((unsigned long)result > -4096UL) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

/* By hand, so that a call that returns twice, or on another stack, does what it does with libc's.
 */
#ifdef __x86_64__
_Static_assert(SYS_io_setup == 206 && SYS_io_cancel == 210 && SYS_io_pgetevents == 333,
	       "the numbers below");
__asm__(".text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	"syscall:\n"
	"	.cfi_startproc\n"
#ifdef __CET__
	"	endbr64\n"
#endif
	"	leaq -206(%rdi), %rax\n"
	"	cmpq $4, %rax\n"
	"	jbe sigevec_aio_syscall\n"
	"	cmpq $333, %rdi\n"
	"	je sigevec_aio_syscall\n"
	"	movq %rdi, %rax\n"
	"	movq %rsi, %rdi\n"
	"	movq %rdx, %rsi\n"
	"	movq %rcx, %rdx\n"
	"	movq %r8, %r10\n"
	"	movq %r9, %r8\n"
	"	movq 8(%rsp), %r9\n"
	"	syscall\n"
	"	cmpq $-4095, %rax\n"
	"	jae 1f\n"
	"	ret\n"
	"1:	movq %rax, %rdi\n"
	"	jmp sigevec_syscall_failed\n"
	"	.cfi_endproc\n"
	".size syscall, . - syscall\n");
#else
_Static_assert(SYS_io_setup == 0 && SYS_io_getevents == 4 && SYS_io_pgetevents == 292,
	       "the numbers below");
__asm__(".text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	"syscall:\n"
	"	.cfi_startproc\n"
	"	hint 34\n" /* bti c */
	"	cmp x0, 4\n"
	"	b.ls sigevec_aio_syscall\n"
	"	cmp x0, 292\n"
	"	b.eq sigevec_aio_syscall\n"
	"	mov x8, x0\n"
	"	mov x0, x1\n"
	"	mov x1, x2\n"
	"	mov x2, x3\n"
	"	mov x3, x4\n"
	"	mov x4, x5\n"
	"	mov x5, x6\n"
	"	svc 0\n"
	"	cmn x0, 4095\n"
	"	b.cs 1f\n"
	"	ret\n"
	"1:	b sigevec_syscall_failed\n"
	"	.cfi_endproc\n"
	".size syscall, . - syscall\n");
#endif

long sigevec_syscall_failed(long result)
{
	errno = (int)-result;
	return -1;
}

#endif
