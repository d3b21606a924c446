/* SPDX-License-Identifier: MIT */
/*
 * have-engine inline|kaio|uring|threads
 *
 * Can this engine exist in this build and on this machine? Asks the kernel itself and not the
 * library, so that a library which gives up too early is not taken for a machine without the
 * engine. Exit 0: yes; 1: no, the reason on stdout.
 */
#include "config.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int no(const char *what, const char *reason)
{
	printf("%s: %s\n", what, reason);
	return 1;
}

static int have_uring(void)
{
#ifdef HAVE_LIBURING
	struct io_uring_params parameters = {0};

	if (syscall(__NR_io_uring_setup, 2, &parameters) < 0)
		return no("io_uring_setup", strerror(errno));
	return 0;
#else
	return no("uring", "built without liburing");
#endif
}

static int have_kaio(void)
{
#ifdef HAVE_LIBAIO
	aio_context_t context = 0;

	if (syscall(__NR_io_setup, 1, &context) < 0)
		return no("io_setup", strerror(errno));
	return 0;
#else
	return no("kaio", "built without libaio");
#endif
}

int main(int argc, char **argv)
{
	const char *engine = argc == 2 ? argv[1] : "";

	if (strcmp(engine, "uring") == 0)
		return have_uring();
	if (strcmp(engine, "kaio") == 0)
		return have_kaio();
	if (strcmp(engine, "inline") == 0 || strcmp(engine, "threads") == 0)
		return 0;
	return no(engine, "no such engine");
}
