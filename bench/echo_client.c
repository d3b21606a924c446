/* SPDX-License-Identifier: MIT */
/*
 * bench_echo_client PORT CONNECTIONS MESSAGES [PID [RATE | short]]: messages of 64 bytes to an echo
 * server on the loopback interface, one outstanding on each connection. Prints messages per second.
 * PID gets SIGUSR1 before the first and after the last of them; one message on each connection goes
 * ahead and does not count.
 *
 * With RATE, in messages per second, they are sent when they are due, on one connection after the
 * other, by a client that never sleeps; two more numbers are the median and the 99th percentile of
 * the microseconds from then to the answer.
 *
 * With RATE "short" each message goes over a connection of its own, which ends with the answer; so
 * many are open at a time.
 */
#include "echo.h"

#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct peer {
	int fd;
	unsigned got; /* bytes of the answer */
	int waiting;
	double due; /* nanoseconds */
	char answer[echo_message];
};

/* Each message has a connection of its own. */
static int anew, port;

static const char message[echo_message] = "a message of 64 bytes";
static long to_send, to_come;
static int ep;

/* With a rate: nanoseconds between messages, and what the answers took. */
static double interval;
static double *latencies;
static long answers;

static void open_peer(struct peer *p)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				      .sin_port = htons((in_port_t)port)};
	struct linger at_once = {1, 0}; /* no connection stays in TIME_WAIT */
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
	int on = 1;

	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	require(p->fd >= 0, "socket");
	require(connect(p->fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
	setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	require(epoll_ctl(ep, EPOLL_CTL_ADD, p->fd, &e) == 0, "epoll_ctl");
}

static void ask(struct peer *p)
{
	if (to_send <= 0)
		return;
	to_send--;
	p->waiting = 1;
	require(send(p->fd, message, sizeof message, MSG_NOSIGNAL) == sizeof message, "send");
}

static void answered(struct peer *p)
{
	ssize_t n = recv(p->fd, p->answer + p->got, sizeof p->answer - p->got, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	require(n > 0, "the server has closed a connection, recv");
	p->got += (unsigned)n;
	if (p->got < echo_message)
		return;
	if (memcmp(p->answer, message, sizeof message) != 0) {
		fprintf(stderr, "bench_echo_client: not what was sent\n");
		exit(1);
	}
	p->got = 0;
	p->waiting = 0;
	to_come--;
	if (anew && to_send > 0) {
		close(p->fd);
		open_peer(p);
	}
	if (interval == 0)
		ask(p);
	else if (p->due != 0)
		latencies[answers++] = (now() - p->due) / 1000;
}

/* Sends what is due. A connection that still waits for its last answer holds up all that come
 * after: they are late. */
static void ask_those_due(struct peer *peers, int connections, long messages, double start)
{
	while (to_send > 0) {
		long k = messages - to_send;
		struct peer *p = &peers[k % connections];
		double due = start + (double)k * interval;

		if (p->waiting || due > now())
			return;
		p->due = due;
		ask(p);
	}
}

static void exchange(struct peer *peers, int connections, long messages)
{
	static struct epoll_event events[echo_batch];

	double start = now();

	to_send = to_come = messages;
	for (int i = 0; i < connections && interval == 0; i++)
		ask(&peers[i]);
	while (to_come > 0) {
		int n;

		if (interval != 0)
			ask_those_due(peers, connections, messages, start);
		n = epoll_wait(ep, events, echo_batch, interval != 0 ? 0 : 20000);
		if (n == 0 && interval == 0) {
			fprintf(stderr, "bench_echo_client: no answer in 20 s, %ld to come\n",
				to_come);
			exit(1);
		}
		for (int i = 0; i < n; i++)
			answered(events[i].data.ptr);
	}
}

int main(int argc, char **argv)
{
	struct rlimit files;
	int connections = argc > 2 ? atoi(argv[2]) : 0;
	long messages = argc > 3 ? atol(argv[3]) : 0;
	pid_t server = argc > 4 ? atoi(argv[4]) : 0;
	double rate;
	struct peer *peers;
	double start, elapsed;

	if (connections < 1 || messages < 1) {
		fprintf(stderr, "usage: %s PORT CONNECTIONS MESSAGES [PID [RATE | short]]\n",
			argv[0]);
		return 2;
	}
	port = atoi(argv[1]);
	rate = argc > 5 ? atof(argv[5]) : 0;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	ep = epoll_create1(EPOLL_CLOEXEC);
	peers = calloc((size_t)connections, sizeof *peers);
	require(peers != NULL, "calloc");
	for (int i = 0; i < connections; i++)
		open_peer(&peers[i]);
	exchange(peers, connections, connections);
	anew = argc > 5 && strcmp(argv[5], "short") == 0;

	if (rate > 0) {
		interval = 1e9 / rate;
		latencies = calloc((size_t)messages, sizeof *latencies);
		require(latencies != NULL, "calloc");
	}
	if (server > 0)
		require(kill(server, SIGUSR1) == 0, "kill");
	start = seconds();
	exchange(peers, connections, messages);
	elapsed = seconds() - start;
	if (server > 0)
		require(kill(server, SIGUSR1) == 0, "kill");
	printf("%.1f", (double)messages / elapsed);
	if (rate > 0)
		printf(" %.1f %.1f", bench_quantile(latencies, (size_t)answers, 0.5),
		       bench_quantile(latencies, (size_t)answers, 0.99));
	printf("\n");
	return 0;
}
