/* SPDX-License-Identifier: MIT */
/* bench_echo_sigevec: the echo server on an event channel, in three ways, and under bufferevents. One receive and one send for each message. */
#include "config.h"
#include "echo.h"
#include "echo_plain.h"

#include <errno.h>
#include <sigevec.h>
#include <sys/epoll.h>

static void receive(ec_t ec, struct connection *c)
{
	echo_require(ev_recv(c->fd, c->data, sizeof c->data, 0, ec, c) == 0, "ev_recv", errno);
}

static void handle(ec_t ec, const event_data_t *e)
{
	struct connection *c = e->ev_data;

	if (c == NULL) { /* the listener */
		echo_require(e->ev_result >= 0, "accept", e->ev_errno);
		receive(ec, echo_connection((int)e->ev_result));
	} else if (e->ev_result <= 0) {
		echo_close(c);
	} else if (c->sending) {
		c->sending = 0;
		echoed++;
		receive(ec, c);
	} else {
		c->sending = 1;
		echo_require(ev_send(c->fd, c->data, (size_t)e->ev_result, 0, ec, c) == 0, "ev_send", errno);
	}
}

static ec_t channel(unsigned flags, int listener)
{
	ec_t ec = ec_create(EC_CLOEXEC | flags);

	echo_require(ec >= 0, "ec_create", errno);
	echo_require(ev_accept(listener, EV_MULTISHOT | SOCK_CLOEXEC, ec, NULL) == 0, "ev_accept", errno);
	return ec;
}

/* Takes what there is; returns how much that was. */
static int take(ec_t ec)
{
	static event_data_t events[echo_batch];
	int n = ec_next_events(ec, events, echo_batch, NULL);

	echo_require(n >= 0 || errno == EINTR, "ec_next_events", errno);
	for (int i = 0; i < n; i++)
		handle(ec, &events[i]);
	return n;
}

static void serve_blocking(int listener, unsigned flags)
{
	ec_t ec = channel(flags, listener);

	for (;;)
		take(ec);
}

static void serve_single(int listener)
{
	serve_blocking(listener, EC_SINGLE | EC_BATCH);
}

static void serve_shared(int listener)
{
	serve_blocking(listener, 0);
}

/* The same in a loop that waits for many things by epoll. */
static void serve_epoll(int listener)
{
	ec_t ec = channel(EC_SINGLE | EC_BATCH | EC_NONBLOCK, listener);
	struct epoll_event e = {.events = EPOLLIN};
	int ep = epoll_create1(EPOLL_CLOEXEC);

	echo_require(ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, ec_to_fd(ec), &e) == 0, "epoll", errno);
	for (;;) {
		ec_submit(ec);
		if (epoll_wait(ep, &e, 1, -1) == 1)
			take(ec);
	}
}

const struct echo_server echo_servers[] = {{"sigevec", serve_single},
					   {"sigevec-epoll", serve_epoll},
					   {"sigevec-shared", serve_shared},
#ifdef HAVE_LIBEVENT
					   {"sigevec-libevent", serve_channel_libevent},
#endif
					   {NULL, NULL}};
