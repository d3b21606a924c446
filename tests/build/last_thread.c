/* SPDX-License-Identifier: MIT */
/*
 * last_thread CASE: the first thread leaves main by pthread_exit. What is printed is never flushed but by exit().
 */
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int ends[2];
static char byte;

static struct aiocb request(int fd)
{
	struct aiocb cb;

	memset(&cb, 0, sizeof cb);
	cb.aio_fildes = fd;
	cb.aio_buf = &byte;
	cb.aio_nbytes = 1;
	cb.aio_sigevent.sigev_notify = SIGEV_NONE;
	return cb;
}

/* A request that has to wait, and its end: now the library has its threads. */
static void *use(void *arg)
{
	struct aiocb cb = request(ends[0]);
	const struct aiocb *list[] = {&cb};

	if (aio_read(&cb) != 0 || write(ends[1], "x", 1) != 1)
		abort();
	while (aio_error(&cb) == EINPROGRESS)
		aio_suspend(list, 1, NULL);
	if (aio_return(&cb) != 1)
		abort();
	printf("used");
	return arg;
}

static void called(union sigval value)
{
	sleep(1);
	printf(" %s", (const char *)value.sival_ptr);
}

static void *stay(void *arg)
{
	sleep(1);
	printf(" stayed");
	return arg;
}

int main(int argc, char **argv)
{
	static struct aiocb told;
	pthread_t thread;
	const char *how = argc > 1 ? argv[1] : "";

	if (pipe(ends) != 0)
		return 1;
	if (strcmp(how, "other") != 0)
		use(NULL);
	if (strcmp(how, "other") == 0)
		pthread_create(&thread, NULL, use, NULL);
	if (strcmp(how, "thread") == 0)
		pthread_create(&thread, NULL, stay, NULL);
	if (strcmp(how, "outstanding") == 0) {
		told = request(ends[0]);
		told.aio_sigevent.sigev_notify = SIGEV_THREAD;
		told.aio_sigevent.sigev_notify_function = called;
		told.aio_sigevent.sigev_value.sival_ptr = (void *)"told";
		if (aio_read(&told) != 0)
			return 1;
		fflush(stdout); /* not by the child */
		if (fork() == 0) {
			sleep(1);
			_exit(write(ends[1], "y", 1) != 1);
		}
	}
	pthread_exit(NULL);
}
