/* SPDX-License-Identifier: MIT */
/*
 * bench_dma [NAME...]: what pieces of a region cost against malloc, and sio_recv of data that is
 * there against recv. Prints "figure value ns"; both sides are measured in turns, and the medians
 * of the turns are told. NAME, as piece-64 or stream-64, is the beginning of those that are wanted.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sigevec.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { turns = 15, pieces = 200000, messages = 128, region_size = 16 << 20, most_threads = 4 };

static dma_mem_t mem;

/* --- pieces -------------------------------------------------------------------------------- */

static size_t piece_size;

static void *with_region(void *unused)
{
	(void)unused;
	for (int i = 0; i < pieces; i++) {
		void *p;

		require(sio_reserve(mem, &p, piece_size) == 0, "sio_reserve");
		*(volatile char *)p = 1;
		require(sio_release(mem, p, piece_size) == 0, "sio_release");
	}
	return NULL;
}

static void *with_malloc(void *unused)
{
	(void)unused;
	for (int i = 0; i < pieces; i++) {
		void *p = malloc(piece_size);

		require(p != NULL, "malloc");
		*(volatile char *)p = 1;
		free(p);
	}
	return NULL;
}

static double in_threads(int threads, void *(*work)(void *))
{
	pthread_t t[most_threads];
	double start = now();

	for (int i = 0; i < threads; i++)
		require(pthread_create(&t[i], NULL, work, NULL) == 0, "pthread_create");
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	return (now() - start) / pieces / threads;
}

static char **wanted;

/* Whether a figure is one of those that were asked for. */
static int is_wanted(const char *figure)
{
	int all = wanted[0] == NULL;

	for (int i = 0; wanted[i]; i++)
		all |= strncmp(figure, wanted[i], strlen(wanted[i])) == 0;
	return all;
}

static void measure_pieces(size_t size, int threads)
{
	double ours[turns], theirs[turns];
	char figure[64];

	snprintf(figure, sizeof figure, "piece-%zu-%d", size, threads);
	if (!is_wanted(figure))
		return;
	piece_size = size;
	for (int i = 0; i < turns; i++) {
		ours[i] = in_threads(threads, with_region);
		theirs[i] = in_threads(threads, with_malloc);
	}
	printf("%s/region %.1f ns\n", figure, bench_quantile(ours, turns, 0.5));
	printf("%s/malloc %.1f ns\n", figure, bench_quantile(theirs, turns, 0.5));
}

/* --- receiving ----------------------------------------------------------------------------- */

struct pair {
	int a, b;
};

static struct pair connected(int type)
{
	struct sockaddr_in where = {.sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof where;
	struct pair p = {socket(AF_INET, type, 0), socket(AF_INET, type, 0)};
	int on = 1;

	require(bind(p.a, (struct sockaddr *)&where, length) == 0, "bind");
	require(getsockname(p.a, (struct sockaddr *)&where, &length) == 0, "getsockname");
	if (type == SOCK_STREAM)
		require(listen(p.a, 1) == 0, "listen");
	require(connect(p.b, (struct sockaddr *)&where, length) == 0, "connect");
	if (type == SOCK_STREAM) {
		int listener = p.a;

		p.a = accept(listener, NULL, NULL);
		close(listener);
		setsockopt(p.b, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	}
	return p;
}

static void send_messages(int fd, size_t size)
{
	static char text[65536];

	for (int i = 0; i < messages; i++)
		require(send(fd, text, size, 0) == (ssize_t)size, "send");
	/* Now it is there: what the library receives in advance, too. */
	nanosleep(&(struct timespec){0, 1000000}, NULL);
}

static double by_sio_recv(struct pair p, size_t size)
{
	double start;

	send_messages(p.b, size);
	start = now();
	for (int i = 0; i < messages; i++) {
		void *m;
		int n = sio_recv(p.a, &m, size, 0);

		require(n == (int)size, "sio_recv");
		require(sio_release(mem, m, size) == 0, "sio_release");
	}
	return (now() - start) / messages;
}

static double by_recv(struct pair p, size_t size)
{
	static char text[65536];
	double start;

	send_messages(p.b, size);
	start = now();
	for (int i = 0; i < messages; i++)
		require(recv(p.a, text, size, 0) == (ssize_t)size, "recv");
	return (now() - start) / messages;
}

static void measure_receiving(const char *name, int type, size_t size)
{
	struct pair with, without;
	double ours[turns], theirs[turns];
	char figure[64];

	snprintf(figure, sizeof figure, "%s-%zu", name, size);
	if (!is_wanted(figure))
		return;
	with = connected(type);
	without = connected(type);
	require(dma_assoc(with.a, mem, region_size, DMA_BUFSIZE(2048)) == 0, "dma_assoc");
	for (int i = 0; i < turns; i++) {
		ours[i] = by_sio_recv(with, size);
		theirs[i] = by_recv(without, size);
	}
	printf("%s/sio_recv %.1f ns\n", figure, bench_quantile(ours, turns, 0.5));
	printf("%s/recv %.1f ns\n", figure, bench_quantile(theirs, turns, 0.5));
	dma_disassoc(with.a, mem, region_size);
	close(with.a);
	close(with.b);
	close(without.a);
	close(without.b);
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = {64, 2048, 16384};

	(void)argc;
	wanted = argv + 1;
	require(dma_alloc(&mem, region_size, 0) == 0, "dma_alloc");
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		for (int threads = 1; threads <= most_threads; threads *= 2)
			measure_pieces(sizes[i], threads);
	measure_receiving("stream", SOCK_STREAM, 64);
	measure_receiving("stream", SOCK_STREAM, 128);
	measure_receiving("datagrams", SOCK_DGRAM, 64);
	return dma_free(mem, region_size) != 0;
}
