/* SPDX-License-Identifier: MIT */
/*
 * last_thread CASE: the first thread leaves main by pthread_exit. What is printed is never flushed
 * but by exit().
 */
#define _GNU_SOURCE 1 /* RTLD_DEFAULT, O_DIRECT */
#include <aio.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

/* Reads past the page cache whose results nobody is left to take. */
static void leave_reads(void)
{
	static struct aiocb cb[4];
	char name[] = "direct.XXXXXX"; /* in the build folder: what is for the test's files may be
					  memory */
	void *memory;
	int i, fd;

	fd = mkstemp(name);
	if (fd < 0 || unlink(name) != 0 || posix_memalign(&memory, 4096, 65536) != 0)
		abort();
	memset(memory, 1, 65536);
	if (pwrite(fd, memory, 65536, 0) != 65536 || fsync(fd) != 0 ||
	    fcntl(fd, F_SETFL, O_DIRECT) != 0)
		abort();
	for (i = 0; i < 4; i++) {
		cb[i] = request(fd);
		cb[i].aio_buf = memory;
		cb[i].aio_nbytes = 65536;
		if (aio_read(&cb[i]) != 0)
			abort();
	}
}

static int pair[2];

static void complete(int fd, void *arg)
{
	printf(" %s %d", (const char *)arg, fd == pair[0]);
}

/* The library's own calls, which a program that is not linked with it finds so. */
static void notify(void)
{
	int (*alloc)(void **, size_t, unsigned) =
		(int (*)(void **, size_t, unsigned))dlsym(RTLD_DEFAULT, "dma_alloc");
	int (*assoc)(int, void *, size_t, unsigned) =
		(int (*)(int, void *, size_t, unsigned))dlsym(RTLD_DEFAULT, "dma_assoc");
	int (*ask)(int, void (*)(int, void *), void *) =
		(int (*)(int, void (*)(int, void *), void *))dlsym(RTLD_DEFAULT, "async_io_notify");
	void *mem;

	if (!alloc || !assoc || !ask || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		abort();
	if (alloc(&mem, 65536, 0) != 0 || assoc(pair[0], mem, 65536, 0) != 0 ||
	    ask(pair[0], complete, "complete") != 0)
		abort();
	fflush(stdout);
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
	if (strcmp(how, "direct") == 0)
		leave_reads();
	if (strcmp(how, "notify") == 0) {
		notify();
		if (fork() == 0) {
			sleep(1);
			_exit(write(pair[1], "z", 1) != 1);
		}
	}
	pthread_exit(NULL);
}
