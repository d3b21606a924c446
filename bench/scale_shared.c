/* SPDX-License-Identifier: MIT */
/* bench_scale: threads on one channel, file or counter, and memory of regions. */
#include "scale.h"

#include <aio.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- threads on one thing: EVENT is the time for one operation of any of them ------------------
 */

static int shared_fd;
static long each_thread;

static struct figures in_threads(long n, void *(*work)(void *), void (*meanwhile)(long))
{
	enum { operations = 100000 };
	pthread_t t[most_threads];
	double start = now();

	each_thread = operations / n;
	for (long i = 0; i < n; i++)
		require(pthread_create(&t[i], NULL, work, NULL) == 0, "pthread_create");
	if (meanwhile)
		meanwhile(each_thread * n);
	for (long i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	return (struct figures){0, (now() - start) / (double)(each_thread * n), 0, 0};
}

static void *post_events(void *unused)
{
	for (long i = 0; i < each_thread;)
		if (ec_post(shared_fd, i, 0, NULL) == 0)
			i++;
		else
			sched_yield();
	return unused;
}

static void read_events(long n)
{
	event_data_t e;

	for (; n > 0; n--)
		require(ec_next_event(shared_fd, &e) == 0, "ec_next_event");
}

struct figures posters(long n)
{
	shared_fd = channel(0);
	return in_threads(n, post_events, read_events);
}

static void *write_counts(void *unused)
{
	const uint64_t one = 1;

	for (long i = 0; i < each_thread; i++)
		require(write(shared_fd, &one, sizeof one) == sizeof one, "write");
	return unused;
}

static void read_counts(long n)
{
	uint64_t one;

	for (; n > 0; n--)
		require(read(shared_fd, &one, sizeof one) == sizeof one, "read");
}

struct figures writers(long n)
{
	shared_fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	return in_threads(n, write_counts, read_counts);
}

static void open_file(void)
{
	char block[4096] = "a block in the cache";
	FILE *f = tmpfile();

	require(f != NULL, "tmpfile");
	shared_fd = fileno(f);
	require(pwrite(shared_fd, block, sizeof block, 0) == sizeof block, "pwrite");
}

static void *read_by_aio(void *unused)
{
	char block[4096];

	for (long i = 0; i < each_thread; i++) {
		struct aiocb cb = {
			.aio_fildes = shared_fd, .aio_buf = block, .aio_nbytes = sizeof block};
		const struct aiocb *list[] = {&cb};

		cb.aio_sigevent.sigev_notify = SIGEV_NONE;
		require(aio_read(&cb) == 0, "aio_read");
		while (aio_error(&cb) == EINPROGRESS)
			aio_suspend(list, 1, NULL);
		require(aio_return(&cb) == sizeof block, "aio_return");
	}
	return unused;
}

static void *read_by_pread(void *unused)
{
	char block[4096];

	for (long i = 0; i < each_thread; i++)
		require(pread(shared_fd, block, sizeof block, 0) == sizeof block, "pread");
	return unused;
}

struct figures readers_aio(long n)
{
	open_file();
	return in_threads(n, read_by_aio, NULL);
}

struct figures readers_pread(long n)
{
	open_file();
	return in_threads(n, read_by_pread, NULL);
}

/* --- regions, of n MiB: START for a MiB that is used, EVENT a piece reserved and released beside a
 * thousand others, END for a MiB
 * ----------------------------------------------------------------------------- */

struct figures regions(long n)
{
	enum { held = 1000, piece = 512 };
	size_t size = (size_t)n << 20;
	dma_mem_t mem;
	void *p;
	double t = now();
	struct figures f = {0, 0, 0, 0};

	require(dma_alloc(&mem, size, 0) == 0, "dma_alloc");
	f.start = (now() - t) / (double)n;
	for (int i = 0; i < held; i++)
		require(sio_reserve(mem, &p, piece) == 0, "sio_reserve");
	t = now();
	for (int i = 0; i < turns; i++)
		require(sio_reserve(mem, &p, piece) == 0 && sio_release(mem, p, piece) == 0,
			"sio_reserve");
	f.event = (now() - t) / turns;
	t = now();
	dma_free(mem, size);
	f.end = (now() - t) / (double)n;
	return f;
}

struct figures mappings(long n)
{
	size_t size = (size_t)n << 20;
	double t = now();
	struct figures f = {0, 0, 0, 0};
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	require(p != MAP_FAILED, "mmap");
	f.start = (now() - t) / (double)n;
	t = now();
	munmap(p, size);
	f.end = (now() - t) / (double)n;
	return f;
}
