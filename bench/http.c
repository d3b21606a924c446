/* SPDX-License-Identifier: MIT */
/*
 * A web server of evhttp's that answers every request with a body of SIZE bytes; it knows nothing
 * of libsigevec. bench/run-http runs it once with libsigevec_event preloaded and once without.
 *
 * Prints its port, and after SIGTERM what it has done and spent: requests, microseconds of
 * processor time, context switches.
 */
#include "bench.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

static unsigned long requests;
static char *body;
static size_t size;

static void answer(struct evhttp_request *r, void *unused)
{
	struct evbuffer *out = evbuffer_new();

	(void)unused;
	requests++;
	evbuffer_add(out, body, size);
	evhttp_send_reply(r, HTTP_OK, "OK", out);
	evbuffer_free(out);
}

static void stop(evutil_socket_t number, short what, void *base)
{
	(void)number;
	(void)what;
	event_base_loopbreak(base);
}

/* Connections have what the listener has. */
static int listener(int without_delay)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	require(fd >= 0 && bind(fd, (struct sockaddr *)&a, n) == 0, "bind");
	require(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &without_delay, sizeof without_delay) == 0,
		"TCP_NODELAY");
	require(listen(fd, 4096) == 0, "listen");
	require(getsockname(fd, (struct sockaddr *)&a, &n) == 0, "getsockname");
	printf("port %d\n", ntohs(a.sin_port));
	fflush(stdout);
	return fd;
}

static void report(void)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	printf("served %lu %.0f %ld %ld\n", requests, processor_time() * 1e-3, used.ru_nvcsw,
	       used.ru_nivcsw);
}

int main(int argc, char **argv)
{
	struct event_base *base = event_base_new();
	struct evhttp *http = evhttp_new(base);
	struct event *end = evsignal_new(base, SIGTERM, stop, base);

	if (argc != 3) {
		fprintf(stderr, "use: %s SIZE 0|1 (TCP_NODELAY)\n", argv[0]);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	size = strtoul(argv[1], NULL, 10);
	body = calloc(1, size + 1);
	require(body != NULL && event_add(end, NULL) == 0, "set-up");
	evhttp_set_gencb(http, answer, NULL);
	require(evhttp_accept_socket(http, listener(atoi(argv[2]))) == 0, "evhttp_accept_socket");
	event_base_dispatch(base);
	report();
	event_free(end);
	evhttp_free(http);
	event_base_free(base);
	free(body);
	return 0;
}
