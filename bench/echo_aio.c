/* SPDX-License-Identifier: MIT */
/*
 * The echo server on POSIX AIO, as one would write it: aio_read, aio_write, a queued signal for
 * each end. glibc gives every read that waits a thread, so it is told to have that many; under the
 * preload of libsigevec the same program needs none.
 */
#define _GNU_SOURCE 1

#include "echo.h"
#include "echo_plain.h"

#include <aio.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { most_threads = 2048 };

struct aio_connection {
	struct connection *c;
	struct aiocb cb;
};

static void start(struct aio_connection *a, int sending, size_t length)
{
	a->c->sending = sending;
	a->cb.aio_nbytes = length;
	echo_require((sending ? aio_write(&a->cb) : aio_read(&a->cb)) == 0, "aio_read, aio_write",
		     errno);
}

static void *accept_all(void *listener)
{
	for (;;) {
		int fd = accept4(*(int *)listener, NULL, NULL, SOCK_CLOEXEC);
		struct aio_connection *a = calloc(1, sizeof *a);

		echo_require(fd >= 0 && a, "accept", errno);
		a->c = echo_connection(fd);
		a->cb.aio_fildes = fd;
		a->cb.aio_buf = a->c->data;
		a->cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
		a->cb.aio_sigevent.sigev_signo = SIGRTMIN;
		a->cb.aio_sigevent.sigev_value.sival_ptr = a;
		start(a, 0, echo_message);
	}
	return NULL;
}

static void ended(struct aio_connection *a)
{
	ssize_t n = aio_error(&a->cb) == 0 ? aio_return(&a->cb) : -1;

	if (n <= 0) {
		echo_close(a->c);
		free(a);
	} else if (a->c->sending) {
		echoed++;
		start(a, 0, echo_message);
	} else {
		start(a, 1, (size_t)n);
	}
}

void serve_aio(int listener)
{
	struct aioinit init;
	siginfo_t info;
	sigset_t ends;
	pthread_t acceptor;

	memset(&init, 0, sizeof init);
	init.aio_threads = init.aio_num = most_threads;
	aio_init(&init);
	sigemptyset(&ends);
	sigaddset(&ends, SIGRTMIN);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	echo_require(pthread_create(&acceptor, NULL, accept_all, &listener) == 0, "pthread_create",
		     EAGAIN);
	for (;;)
		if (sigwaitinfo(&ends, &info) > 0)
			ended(info.si_value.sival_ptr);
}
