/* SPDX-License-Identifier: MIT */
/*
 * libaio's calls: a context of the library's, or else the kernel's.
 */
#include "iocontext/interface.h"
#include "raw_syscall.h"

#include <errno.h>
#include <sys/syscall.h>

#define EXPORT __attribute__((visibility("default")))
/* The name without a version is not to be seen. */
#define VERSION(function, name) __asm__(".symver " #function ", " name ", remove")

EXPORT int io_setup(int nr, void **context);
EXPORT int io_destroy(void *context);
EXPORT int io_submit(void *context, long nr, struct iocb **iocbs);
EXPORT int sigevec_io_cancel_0_4(void *context, struct iocb *iocb, struct io_event *event);
EXPORT int sigevec_io_cancel_0_1(void *context, struct iocb *iocb);
EXPORT int sigevec_io_getevents_0_4(void *context, long min_nr, long nr, struct io_event *events,
				    struct timespec *timeout);
EXPORT int sigevec_io_getevents_0_1(void *context, long nr, struct io_event *events,
				    const struct timespec *timeout);
EXPORT int io_pgetevents(void *context, long min_nr, long nr, struct io_event *events,
			 struct timespec *timeout, sigset_t *mask);

VERSION(sigevec_io_cancel_0_4, "io_cancel@@LIBAIO_0.4");
VERSION(sigevec_io_cancel_0_1, "io_cancel@LIBAIO_0.1");
VERSION(sigevec_io_getevents_0_4, "io_getevents@@LIBAIO_0.4");
VERSION(sigevec_io_getevents_0_1, "io_getevents@LIBAIO_0.1");

long sigevec_foreign_call(long number, long a, long b, long c, long d, long e, long f)
	__attribute__((visibility("hidden")));
int sigevec_getevents(void *context, long min_nr, long nr, struct io_event *events,
		      const struct timespec *timeout) __attribute__((visibility("hidden")));

/* Where kernel AIO is refused there is no context but ours: the error is that of an address that is
 * none. */
long sigevec_foreign_call(long number, long a, long b, long c, long d, long e, long f)
{
	long result = sigevec_raw_syscall(number, a, b, c, d, e, f);

	if ((result == -ENOSYS || result == -EPERM) &&
	    sigevec_raw_syscall(SYS_io_destroy, 0, 0, 0, 0, 0, 0) != -EINVAL)
		return -EINVAL;
	return result;
}

static long kernels(long result, long number, long a, long b, long c, long d, long e, long f)
{
	return result == SIGEVEC_IO_FOREIGN ? sigevec_foreign_call(number, a, b, c, d, e, f)
					    : result;
}

int io_setup(int nr, void **context)
{
	return (int)sigevec_io_setup((unsigned)nr, context);
}

int io_destroy(void *context)
{
	return (int)kernels(sigevec_io_destroy(context), SYS_io_destroy, (long)context, 0, 0, 0, 0,
			    0);
}

int io_submit(void *context, long nr, struct iocb **iocbs)
{
	return (int)kernels(sigevec_io_submit(context, nr, iocbs), SYS_io_submit, (long)context, nr,
			    (long)iocbs, 0, 0, 0);
}

static int cancel(void *context, struct iocb *iocb, struct io_event *event)
{
	return (int)kernels(sigevec_io_cancel(context, iocb, event), SYS_io_cancel, (long)context,
			    (long)iocb, (long)event, 0, 0, 0);
}

int sigevec_io_cancel_0_4(void *context, struct iocb *iocb, struct io_event *event)
{
	return cancel(context, iocb, event);
}

/* The first version had no event to give. */
int sigevec_io_cancel_0_1(void *context, struct iocb *iocb)
{
	char event[32];

	return cancel(context, iocb, (struct io_event *)event);
}

int sigevec_getevents(void *context, long min_nr, long nr, struct io_event *events,
		      const struct timespec *timeout)
{
	return (int)kernels(sigevec_io_getevents(context, min_nr, nr, events, timeout, NULL),
			    SYS_io_getevents, (long)context, min_nr, nr, (long)events,
			    (long)timeout, 0);
}

int sigevec_io_getevents_0_4(void *context, long min_nr, long nr, struct io_event *events,
			     struct timespec *timeout)
{
	return sigevec_getevents(context, min_nr, nr, events, timeout);
}

/* The first version waited for one. */
int sigevec_io_getevents_0_1(void *context, long nr, struct io_event *events,
			     const struct timespec *timeout)
{
	return sigevec_getevents(context, 1, nr, events, timeout);
}

int io_pgetevents(void *context, long min_nr, long nr, struct io_event *events,
		  struct timespec *timeout, sigset_t *mask)
{
	struct sigevec_io_mask kernel_mask = {mask, 8};

	return (int)kernels(
		sigevec_io_getevents(context, min_nr, nr, events, timeout, &kernel_mask),
		SYS_io_pgetevents, (long)context, min_nr, nr, (long)events, (long)timeout,
		(long)&kernel_mask);
}

/* What has been accepted is carried out, though the program ends. */
__attribute__((destructor)) static void drain(void)
{
	sigevec_io_drain();
}
