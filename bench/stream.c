/* SPDX-License-Identifier: MIT */
/*
 * bench_stream [MIB]: what the sender of a one-way TCP stream of 64 KiB messages pays, between two
 * network namespaces joined by a pair of virtual Ethernet devices: by send from ordinary memory, by
 * sio_send from a region, and by send with MSG_ZEROCOPY each time. Prints "way seconds of processor
 * time for a GiB, GiB/s, sends without a copy, sends copied"; the last two are the kernel's own
 * count. The ways are measured in turns; medians. Needs root, and the program ip.
 */
#define _GNU_SOURCE 1

#include <arpa/inet.h>
#include <errno.h>
#include <linux/errqueue.h>
#include <sched.h>
#include <sigevec.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { message = 64 * 1024, region_size = 64 * message, turns = 7, port = 7777 };

struct result {
	double cpu, rate;
	unsigned long zero_copy, copied;
};

static dma_mem_t mem;
static long messages;
static char *ordinary;

static void require(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(errno == EPERM ? 77 : 1);
}

static double now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- the other side ------------------------------------------------------------------------ */

static void receive_all(int ready)
{
	struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(port)};
	static char sink[1 << 20];
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	require(bind(listener, (struct sockaddr *)&where, sizeof where) == 0 &&
			listen(listener, 8) == 0,
		"listen");
	require(write(ready, "y", 1) == 1, "write");
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		while (recv(fd, sink, sizeof sink, MSG_TRUNC) > 0)
			;
		close(fd);
	}
}

/* The receiver runs in a namespace of its own. Returns its process. */
static pid_t make_networks(void)
{
	char command[256], byte;
	int go[2], ready[2];
	pid_t other;

	require(unshare(CLONE_NEWNET) == 0 && pipe(go) == 0 && pipe(ready) == 0, "unshare");
	require(system("ip link add v0 type veth peer name v1") == 0, "ip link add");
	other = fork();
	if (other == 0) {
		require(unshare(CLONE_NEWNET) == 0 && write(ready[1], "n", 1) == 1, "unshare");
		require(read(go[0], &byte, 1) == 1, "read");
		require(system("ip addr add 10.77.0.2/24 dev v1 && ip link set v1 up") == 0, "ip");
		receive_all(ready[1]);
	}
	require(read(ready[0], &byte, 1) == 1, "read");
	snprintf(command, sizeof command,
		 "ip link set v1 netns %d && ip addr add 10.77.0.1/24 dev v0 && ip link set v0 up",
		 (int)other);
	require(system(command) == 0 && write(go[1], "y", 1) == 1 && read(ready[0], &byte, 1) == 1,
		"ip");
	return other;
}

/* --- the ways ------------------------------------------------------------------------------ */

static void by_send(int fd, struct result *r)
{
	for (long i = 0; i < messages; i++)
		require(send(fd, ordinary, message, 0) == message, "send");
	r->copied = (unsigned long)messages;
}

static void by_region(int fd, struct result *r)
{
	struct dma_stat before, after;

	dma_stat(mem, &before);
	for (long i = 0; i < messages; i++) {
		void *p;

		while (sio_reserve(mem, &p, message) != 0) /* the kernel has not let go of any */
			sched_yield();
		require(sio_send(fd, p, message, 0) == message, "sio_send");
		sio_release(mem, p, message);
	}
	do
		dma_stat(mem, &after);
	while (after.used != 0 && sched_yield() == 0);
	r->zero_copy = after.sends_zero_copy - before.sends_zero_copy;
	r->copied = after.sends_copied - before.sends_copied;
}

/* Reads what the kernel says of sends that it has let go of; returns how many. */
static long let_go(int fd, struct result *r)
{
	char control[256];
	struct msghdr m = {.msg_control = control, .msg_controllen = sizeof control};
	struct sock_extended_err e;
	unsigned n;

	if (recvmsg(fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
		return 0;
	memcpy(&e, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof e);
	n = e.ee_data - e.ee_info + 1;
	*(e.ee_code & SO_EE_CODE_ZEROCOPY_COPIED ? &r->copied : &r->zero_copy) += n;
	return n;
}

static void always_without_copy(int fd, struct result *r)
{
	long out = 0;
	int on = 1;

	require(setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) == 0, "SO_ZEROCOPY");
	for (long i = 0; i < messages; i++) {
		while (send(fd, ordinary, message, MSG_ZEROCOPY) != message)
			out -= let_go(fd, r);
		out++;
	}
	while (out > 0)
		out -= let_go(fd, r);
}

static const struct {
	const char *name;
	void (*run)(int, struct result *);
} ways[] = {{"send", by_send}, {"sio_send", by_region}, {"MSG_ZEROCOPY", always_without_copy}};
enum { way_count = sizeof ways / sizeof *ways };

static struct result measure(int way)
{
	struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct result r = {0, 0, 0, 0};
	double gib = (double)messages * message / (1 << 30), start, cpu;

	inet_pton(AF_INET, "10.77.0.2", &where.sin_addr);
	require(connect(fd, (struct sockaddr *)&where, sizeof where) == 0, "connect");
	start = now(CLOCK_MONOTONIC);
	cpu = now(CLOCK_PROCESS_CPUTIME_ID);
	ways[way].run(fd, &r);
	r.cpu = (now(CLOCK_PROCESS_CPUTIME_ID) - cpu) / gib;
	r.rate = gib / (now(CLOCK_MONOTONIC) - start);
	close(fd);
	return r;
}

static int by_cpu(const void *a, const void *b)
{
	double x = ((const struct result *)a)->cpu, y = ((const struct result *)b)->cpu;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	static struct result results[way_count][turns];
	pid_t other;

	messages = (argc > 1 ? atol(argv[1]) : 1024) * ((1 << 20) / message);
	other = make_networks();
	require(dma_alloc(&mem, region_size, 0) == 0, "dma_alloc");
	ordinary = malloc(message);
	require(ordinary != NULL, "malloc");
	memset(ordinary, 1, message);
	for (int turn = 0; turn < turns; turn++)
		for (int way = 0; way < way_count; way++)
			results[way][turn] = measure(way);
	for (int way = 0; way < way_count; way++) {
		struct result *r = &results[way][turns / 2];

		qsort(results[way], turns, sizeof *r, by_cpu);
		printf("%-12s %.3f s/GiB %.2f GiB/s %lu %lu\n", ways[way].name, r->cpu, r->rate,
		       r->zero_copy, r->copied);
	}
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	return 0;
}
