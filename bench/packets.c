/* SPDX-License-Identifier: MIT */
/*
 * bench_packets WAY SIZE SECONDS QUEUES [RATE]: packets over a pair of virtual Ethernet devices, in
 * a network namespace of its own. bench_packets --list: the ways.
 *
 * A second process sends, on processor 1 if there is one; this one receives for so long, on
 * processor 0, and prints "packets-per-second CPU-nanoseconds-per-packet". It sends as fast as it
 * goes, or RATE packets a second, each with the time at which it is sent; then the line goes on
 * with "p50-nanoseconds p99-nanoseconds" from there to the receiver. With 0 queues one thread sends
 * 64 and takes 64, in turns, on one processor, which is told of the ways that can take what is
 * there. As root; ends with 77 where that cannot be.
 */
#define _GNU_SOURCE 1 /* processors */
#include "packets.h"
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

enum { most_samples = 1 << 21 };

size_t packet_size;
int queues;
double gap;

static unsigned long received[most_queues];
static double latency[most_samples]; /* of packet number n of queue 0 */

void on_processor(int n)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(n, &set);
	sched_setaffinity(0, sizeof set, &set); /* with one processor it stays where it is */
}

void arrived(long queue, const void *payload)
{
	if (gap != 0 && received[0] < most_samples) {
		double sent;

		memcpy(&sent, payload, sizeof sent);
		latency[received[0]] = now() - sent;
	}
	received[queue]++;
}

static unsigned long total(void)
{
	unsigned long n = 0;

	for (int q = 0; q < most_queues; q++)
		n += *(volatile unsigned long *)&received[q];
	return n;
}

static void rest(double nanoseconds)
{
	double whole = (double)(long)(nanoseconds * 1e-9);
	struct timespec t = {(time_t)whole, (long)(nanoseconds - 1e9 * whole)};

	while (nanosleep(&t, &t) != 0)
		;
}

/* Measures while the others work, and ends the program. */
static void *measure(void *seconds_text)
{
	double length = 1e9 * atof(seconds_text), start, used, elapsed;
	unsigned long before, count;

	rest(length < 3e8 ? length : 3e8); /* they begin */
	start = now();
	used = processor_time();
	before = total();
	do
		rest(length);
	while ((count = total() - before) == 0 &&
	       now() - start < 3e10); /* others may keep the processors busy */
	elapsed = now() - start;
	used = processor_time() - used;
	printf("%.0f %.1f", (double)count / elapsed * 1e9, count > 0 ? used / (double)count : 0);
	if (gap != 0) {
		size_t n = before + count <= most_samples ? count
			   : before < most_samples        ? most_samples - before
							  : 0;

		printf(" %.0f %.0f", bench_quantile(latency + before, n, 0.5),
		       bench_quantile(latency + before, n, 0.99));
	}
	puts("");
	fflush(stdout);
	_exit(count > 0 ? 0 : 1);
}

static int usage(const char *name)
{
	fprintf(stderr, "usage: %s WAY SIZE SECONDS QUEUES [RATE] | --list\n", name);
	return 2;
}

int main(int argc, char **argv)
{
	const struct way *w = NULL;
	pthread_t t;
	int turns;

	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (size_t i = 0; i < way_count; i++)
			puts(ways[i].name);
		return 0;
	}
	for (size_t i = 0; (argc == 5 || argc == 6) && i < way_count; i++)
		if (strcmp(argv[1], ways[i].name) == 0)
			w = &ways[i];
	if (!w)
		return usage(argv[0]);
	packet_size = (size_t)atoi(argv[2]);
	queues = atoi(argv[4]);
	turns = queues == 0;
	queues += turns;
	if (argc == 6)
		gap = 1e9 / atof(argv[5]);
	if (packet_size < 60 || packet_size > 1514 || queues < 1 || queues > most_queues ||
	    (turns && !w->take) || (argc == 6 && (gap < 500 || gap > 1e9 || queues > 1 || turns)))
		return usage(argv[0]);

	lay_cable();
	if (!turns)
		start_sender();
	if (queues == 1)
		on_processor(0);
	require((errno = pthread_create(&t, NULL, measure, argv[3])) == 0, "pthread_create");
	if (turns)
		in_turns(w);
	else
		w->receive();
	pause();
}
