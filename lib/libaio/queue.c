/* SPDX-License-Identifier: MIT */
/*
 * libaio's functions on top of its calls, for programs whose iocbs have a function of theirs as
 * their data.
 */
#include "iocontext/interface.h"

#include <errno.h>
#include <stddef.h>

#define EXPORT __attribute__((visibility("default")))
#define VERSION(function, name) __asm__(".symver " #function ", " name ", remove")

/* The kernel's struct io_event, as libaio has it. */
struct event {
	void *data;
	void *object;
	long result, result2;
};
typedef void function_of_event(void *context, void *object, long result, long result2);

int io_setup(int nr, void **context);
int io_destroy(void *context);
int sigevec_getevents(void *context, long min_nr, long nr, struct event *events,
		      const struct timespec *timeout) __attribute__((visibility("hidden")));

EXPORT int io_queue_init(int nr, void **context);
EXPORT int io_queue_release(void *context);
EXPORT int io_queue_run(void *context);
EXPORT int sigevec_io_queue_wait_0_4(void *context, struct timespec *timeout);
EXPORT int sigevec_io_queue_wait_0_1(void *context, struct timespec *timeout);

VERSION(sigevec_io_queue_wait_0_4, "io_queue_wait@@LIBAIO_0.4");
VERSION(sigevec_io_queue_wait_0_1, "io_queue_wait@LIBAIO_0.1");

int io_queue_init(int nr, void **context)
{
	if (nr <= 0)
		return -EINVAL;
	*context = NULL;
	return io_setup(nr, context);
}

int io_queue_release(void *context)
{
	return io_destroy(context);
}

int io_queue_run(void *context)
{
	static struct timespec none;
	struct event e;
	int result;

	while ((result = sigevec_getevents(context, 0, 1, &e, &none)) == 1)
		((function_of_event *)e.data)(context, e.object, e.result, e.result2);
	return result;
}

/* No event is asked for: so none is waited for, as with libaio. */
int sigevec_io_queue_wait_0_4(void *context, struct timespec *timeout)
{
	return sigevec_getevents(context, 0, 0, NULL, timeout);
}

/* The first version has the same arguments. */
int sigevec_io_queue_wait_0_1(void *context, struct timespec *timeout)
{
	return sigevec_getevents(context, 0, 0, NULL, timeout);
}
