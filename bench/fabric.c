/* SPDX-License-Identifier: MIT */
/*
 * bench_fabric WAY [PROVIDER [ROUNDS]]: two processes on this machine and what they send each
 * other: messages of 64 bytes there and back, as many of them as possible, 64 KiB put and got. WAY
 * is `ours' (sio_sendto, sio_recvfrom, ev_put, ev_get), `libfabric' (its own calls, which wait by
 * fi_cq_sread) or `socket' (ev_send and ev_recv on TCP; nothing is put or got). A line for each
 * figure, with the processor time of both.
 */
#include <sigevec.h>

#include "fabric.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static const struct way *way;
static int other; /* the socket between both, for all that is not measured */
static int is_peer;

void fail(const char *what)
{
	fprintf(stderr, "bench_fabric: %s: %s\n", what, strerror(errno));
	exit(1);
}

void tell(const void *p, size_t n)
{
	if (write(other, p, n) != (ssize_t)n)
		fail("the other process");
}

void hear(void *p, size_t n)
{
	if (recv(other, p, n, MSG_WAITALL) != (ssize_t)n)
		fail("the other process");
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double processor(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e6 +
	       (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static void there_and_back(int n)
{
	for (; n > 0; n--) {
		if (!is_peer)
			way->send(SMALL);
		way->receive(SMALL);
		if (is_peer)
			way->send(SMALL);
	}
}

static void one_way(int n)
{
	for (int i = 0; i < n; i++)
		if (is_peer)
			way->receive(SMALL);
		else
			way->send(SMALL);
	if (is_peer)
		way->send(SMALL);
	else
		way->receive(SMALL);
}

/* The peer only waits for the end. */
static void transfers(int n, void (*transfer)(size_t))
{
	if (is_peer) {
		way->receive(SMALL);
		return;
	}
	for (; n > 0; n--)
		transfer(LARGE);
	way->send(SMALL);
}

static void puts_of_64k(int n)
{
	transfers(n, way->put);
}

static void gets_of_64k(int n)
{
	transfers(n, way->get);
}

static void measure(const char *name, void (*what)(int), int n)
{
	double begin, end, used, theirs = 0;
	char c = 0;

	what(n / 10 + 1);
	/* Both stand here before it begins. */
	tell(&c, 1);
	hear(&c, 1);
	used = processor();
	begin = now();
	what(n);
	end = now();
	used = processor() - used;
	if (is_peer) {
		tell(&used, sizeof used);
		return;
	}
	hear(&theirs, sizeof theirs);
	printf("%s %.2f us\n", name, (end - begin) / n);
	printf("%s_processor %.2f us\n", name, (used + theirs) / n);
}

static void start_peer(char **argv, int argc)
{
	char peer[] = "peer", *arguments[6] = {argv[0], argv[1], NULL};
	char provider[] = "tcp", rounds[16];
	int pair[2];
	pid_t pid;
	posix_spawn_file_actions_t actions;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		fail("socketpair");
	snprintf(rounds, sizeof rounds, "%s", argc > 3 ? argv[3] : "20000");
	arguments[2] = argc > 2 ? argv[2] : provider;
	arguments[3] = rounds;
	arguments[4] = peer;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pair[1], 0);
	if (posix_spawn(&pid, "/proc/self/exe", &actions, NULL, arguments, environ) != 0)
		fail("posix_spawn");
	posix_spawn_file_actions_destroy(&actions);
	close(pair[1]);
	other = pair[0];
}

int main(int argc, char **argv)
{
	const struct way *all[] = {&ours, &libfabric, &tcp_socket};
	int rounds = argc > 3 ? atoi(argv[3]) : 20000, status = 0;

	for (int i = 0; argc > 1 && i < 3; i++)
		if (strcmp(argv[1], all[i]->name) == 0)
			way = all[i];
	if (way == NULL || rounds < 1) {
		fputs("usage: bench_fabric ours|libfabric|socket [PROVIDER [ROUNDS]]\n", stderr);
		return 2;
	}
	is_peer = argc > 4;
	if (!is_peer)
		start_peer(argv, argc);
	way->open(argc > 2 ? argv[2] : "tcp", is_peer);
	measure("there_and_back", there_and_back, rounds);
	measure("one_way", one_way, rounds * 4);
	if (way->put != NULL) {
		measure("put_64k", puts_of_64k, rounds / 4 + 1);
		measure("get_64k", gets_of_64k, rounds / 4 + 1);
	}
	if (!is_peer && (wait(&status) < 0 || status != 0))
		return 1;
	return 0;
}
