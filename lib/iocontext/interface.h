/* SPDX-License-Identifier: MIT */
/*
 * What libsigevec_aio.so.1 calls in libsigevec.so.1: the system calls of kernel AIO, on contexts of
 * the library's. For these two alone (version node SIGEVEC_PRIVATE): a program that uses them
 * breaks with the next version.
 *
 * Arguments are the system calls', and so are the results: a negative errno, and `errno' is not
 * touched. What a context is not is not said by an error: whoever asks passes the call on to the
 * kernel. Every pointer may be bad (EFAULT).
 */
#ifndef SIGEVEC_IOCONTEXT_INTERFACE_H
#define SIGEVEC_IOCONTEXT_INTERFACE_H 1

#include <limits.h>
#include <signal.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

struct iocb;
struct io_event;

/* The context is none of the library's: it may be one of the kernel's. */
#define SIGEVEC_IO_FOREIGN LONG_MIN

/* Where the signal mask of io_pgetevents is, as the kernel has it. */
struct sigevec_io_mask {
	const sigset_t *mask;
	size_t size;
};

long sigevec_io_setup(unsigned nr, void **context);
long sigevec_io_destroy(void *context);
long sigevec_io_submit(void *context, long nr, struct iocb *const *iocbs);
long sigevec_io_cancel(void *context, struct iocb *iocb, struct io_event *event);
/* mask: NULL for io_getevents. */
long sigevec_io_getevents(void *context, long min_nr, long nr, struct io_event *events,
			  const struct timespec *timeout, const struct sigevec_io_mask *mask);
/* At the end of the program: what has been accepted and moves data of a file is carried out, as the
 * kernel does. */
void sigevec_io_drain(void);

#ifdef __cplusplus
}
#endif

#endif
