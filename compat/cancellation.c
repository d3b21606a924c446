/* SPDX-License-Identifier: MIT */
#include "cancellation.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

/*
 * libc's first interface for clean-up, which pthread_cleanup_push no longer uses. It is run when
 * the thread is cancelled, too; but, unlike the other, also when a signal handler leaves the frame
 * by longjmp or siglongjmp.
 */
extern void _pthread_cleanup_push(struct _pthread_cleanup_buffer *, void (*)(void *), void *);
extern void _pthread_cleanup_pop(struct _pthread_cleanup_buffer *, int);

long sigevec_undone_syscall(void (*cleanup)(void *), void *arg, int type_inside, long number,
			    const long v[6])
{
	struct _pthread_cleanup_buffer buffer;
	long r;
	int type;

	_pthread_cleanup_push(&buffer, cleanup, arg);
	/* As libc's own cancellation points do: asynchronous for the length of the call, which owns
	 * nothing. */
	pthread_setcanceltype(type_inside, &type);
	r = syscall(number, v[0], v[1], v[2], v[3], v[4], v[5]);
	if (r < 0)
		r = -errno;
	pthread_setcanceltype(type, &type);
	_pthread_cleanup_pop(&buffer, 0);
	return r;
}

long sigevec_cancellable_syscall(void (*cleanup)(void *), void *arg, long number, const long v[6])
{
	return sigevec_undone_syscall(cleanup, arg, PTHREAD_CANCEL_ASYNCHRONOUS, number, v);
}

void sigevec_call_with_cleanup(void (*f)(union sigval), union sigval value, void (*cleanup)(void *),
			       void *arg)
{
	pthread_cleanup_push(cleanup, arg);
	f(value);
	pthread_cleanup_pop(0);
}
