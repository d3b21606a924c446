/* SPDX-License-Identifier: MIT */
/*
 * bench_fixed: what is paid once, or once for each of many: the first request of a process, a
 * channel of each kind from its creation to its end, and ending waits, for a few and for eight
 * times as many. Medians, each in a child of its own where it is about a first time.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <sigevec.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { rounds = 31, few = 1000, many = 8 * few };

/* In a child of its own, which writes one number. */
static double in_child(double (*f)(int), int arg)
{
	int p[2];
	double result = 0;
	pid_t child;

	require(pipe(p) == 0, "pipe");
	child = fork();
	require(child >= 0, "fork");
	if (child == 0) {
		result = f(arg);
		_exit(write(p[1], &result, sizeof result) == (ssize_t)sizeof result ? 0 : 1);
	}
	require(read(p[0], &result, sizeof result) == (ssize_t)sizeof result, "the child");
	waitpid(child, NULL, 0);
	close(p[0]);
	close(p[1]);
	return result;
}

static double median(double (*f)(int), int arg)
{
	double v[rounds];

	for (int i = 0; i < rounds; i++)
		v[i] = in_child(f, arg);
	return bench_quantile(v, rounds, 0.5);
}

/* Within aio_read: of a pipe in which nothing is, so that it must wait. n: which one of the
 * process. */
static double nth_request(int n)
{
	static struct aiocb cb[16];
	static char c;
	int p[2];
	double begin = 0;

	require(pipe(p) == 0, "pipe");
	for (int i = 0; i < n; i++) {
		cb[i].aio_fildes = p[0];
		cb[i].aio_buf = &c;
		cb[i].aio_nbytes = 1;
		begin = now();
		require(aio_read(&cb[i]) == 0, "aio_read");
		begin = now() - begin;
	}
	return begin;
}

/* A channel on which one receive has waited; the second one of its thread. */
static double end_of_channel(int flags)
{
	double took = 0;
	char c;
	int s[2];

	require(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0, "socketpair");
	for (int i = 0; i < 2; i++) {
		ec_t ec = ec_create((unsigned)flags);
		event_data_t e;

		require(ec >= 0, "ec_create");
		require(ev_recv(s[0], &c, 1, 0, ec, &c) == 0, "ev_recv");
		require(write(s[1], "x", 1) == 1 && ec_next_event(ec, &e) == 0, "ec_next_event");
		took = now();
		require(ec_destroy(ec) == 0, "ec_destroy");
		took = now() - took;
	}
	return took;
}

enum wait { by_semaphore, by_receive, by_poll };

/* Nanoseconds for each of n waits, ended one by one. */
static double cancel(enum wait w, int n)
{
	static char data[many], c;
	static sem_t s;
	int v[2];
	double took;
	ec_t ec = ec_create(0);

	require(ec >= 0 && ec_set_limit(ec, 100000) == 0, "ec_create");
	require(socketpair(AF_UNIX, SOCK_STREAM, 0, v) == 0 && sem_init(&s, 0, 0) == 0,
		"socketpair");
	for (int i = 0; i < n; i++) {
		int r = w == by_semaphore ? ev_sem_wait(&s, NULL, ec, data + i)
			: w == by_receive ? ev_recv(v[0], &c, 1, 0, ec, data + i)
					  : ev_poll(v[0], POLLIN, ec, data + i);
		if (r != 0)
			return 0; /* there is room for fewer */
	}
	took = now();
	for (int i = 0; i < n; i++)
		require(ev_cancel(ec, data + i) == 0, "ev_cancel");
	return (now() - took) / n;
}

/* Nanoseconds of processor time, of all threads of the process, for each of n receives on a socket
 * of its own. */
static double cancel_on_many_sockets(int n)
{
	static char data[many], c;
	static int first[many];
	int v[2];
	double took;
	event_data_t e;
	ec_t ec = ec_create(0);

	require(ec >= 0 && ec_set_limit(ec, 100000) == 0, "ec_create");
	for (int i = 0; i < n; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, v) != 0 ||
		    ev_recv(v[0], &c, 1, 0, ec, data + i) != 0)
			return 0; /* there is room for fewer */
		first[i] = v[0];
	}
	took = processor_time();
	for (int i = 0; i < n; i++)
		require(ev_cancel(ec, data + i) == 0 && ec_next_event(ec, &e) == 0, "ev_cancel");
	/* What comes behind them has been served once they have been let go. */
	require(ev_recv(first[n - 1], &c, 1, 0, ec, &c) == 0 && write(v[1], "x", 1) == 1 &&
			ec_next_event(ec, &e) == 0,
		"ev_recv");
	return (processor_time() - took) / n;
}

static double cancel_semaphores(int n)
{
	return cancel(by_semaphore, n);
}

static double cancel_receives(int n)
{
	return cancel(by_receive, n);
}

static double cancel_polls(int n)
{
	return cancel(by_poll, n);
}

static void grows(const char *name, double (*f)(int))
{
	double a = median(f, few) * 1e-3, b = median(f, many) * 1e-3;

	printf("%-44s %10.2f us each of %d, %.2f of %d (%.1f times)\n", name, a, few, b, many,
	       a > 0 ? b / a : 0);
}

int main(void)
{
	struct rlimit rlimit;

	getrlimit(RLIMIT_NOFILE, &rlimit);
	printf("%-44s %10.1f us\n", "aio_read that waits: the first of a process",
	       median(nth_request, 1) * 1e-3);
	printf("%-44s %10.1f us\n", "the tenth", median(nth_request, 10) * 1e-3);
	printf("%-44s %10.1f us\n", "ec_destroy", median(end_of_channel, 0) * 1e-3);
	printf("%-44s %10.1f us\n", "ec_destroy, EC_SINGLE",
	       median(end_of_channel, EC_SINGLE) * 1e-3);
	printf("%-44s %10.1f us\n", "ec_destroy, EC_SINGLE | EC_BATCH",
	       median(end_of_channel, EC_SINGLE | EC_BATCH) * 1e-3);
	grows("ev_cancel, ev_sem_wait", cancel_semaphores);
	grows("ev_cancel, ev_recv", cancel_receives);
	grows("ev_cancel, ev_poll", cancel_polls);
	rlimit.rlim_cur = rlimit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rlimit);
	grows("the same, ev_recv, many sockets, processor", cancel_on_many_sockets);
	return 0;
}
