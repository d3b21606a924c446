/* SPDX-License-Identifier: MIT */
/* bench_echo_sigevec: the echo server on an event channel, in three ways, on a DMA region in two,
 * and under bufferevents. */
#include "config.h"
#include "echo.h"
#include "echo_plain.h"

#include <errno.h>
#include <sigevec.h>
#include <sys/epoll.h>
#include <unistd.h>

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
		echo_require(ev_send(c->fd, c->data, (size_t)e->ev_result, 0, ec, c) == 0,
			     "ev_send", errno);
	}
}

static ec_t channel(unsigned flags, int listener)
{
	ec_t ec = ec_create(EC_CLOEXEC | flags);

	echo_require(ec >= 0, "ec_create", errno);
	echo_require(ev_accept(listener, EV_MULTISHOT | SOCK_CLOEXEC, ec, NULL) == 0, "ev_accept",
		     errno);
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

static void serve(ec_t ec)
{
	for (;;)
		take(ec);
}

static void serve_blocking(int listener, unsigned flags)
{
	serve(channel(flags, listener));
}

static void serve_single(int listener)
{
	serve_blocking(listener, EC_SINGLE | EC_BATCH);
}

static void serve_shared(int listener)
{
	serve_blocking(listener, 0);
}

/* Woken by 32 events, or 50 microseconds after the first. */
static void serve_moderated(int listener)
{
	ec_t ec = channel(EC_SINGLE | EC_BATCH, listener);

	echo_require(ec_moderate(ec, 32, 50) == 0, "ec_moderate", errno);
	serve(ec);
}

static void serve_moderated_shared(int listener)
{
	ec_t ec = channel(0, listener);

	echo_require(ec_moderate(ec, 32, 50) == 0, "ec_moderate", errno);
	serve(ec);
}

/* Looks for the next event for as long as a message may take. */
static void serve_busy(int listener)
{
	ec_t ec = channel(EC_SINGLE | EC_BATCH, listener);

	echo_require(ec_busy_poll(ec, 1000) == 0, "ec_busy_poll", errno);
	serve(ec);
}

/* The same in a loop that waits for many things by epoll. */
static void serve_epoll(int listener)
{
	ec_t ec = channel(EC_SINGLE | EC_BATCH | EC_NONBLOCK, listener);
	struct epoll_event e = {.events = EPOLLIN};
	int ep = epoll_create1(EPOLL_CLOEXEC);

	echo_require(ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, ec_to_fd(ec), &e) == 0, "epoll",
		     errno);
	for (;;) {
		ec_submit(ec);
		if (epoll_wait(ep, &e, 1, -1) == 1)
			take(ec);
	}
}

/* --- on a DMA region: an arrival is a piece, which is sent back and released. A connection has no
 * memory of its own. ----- */

enum { region_size = 16 << 20 };

static dma_mem_t mem;

static void handle_on_region(ec_t ec, const event_data_t *e)
{
	int fd = e->ev_un.ev_dma.fd;

	if (e->ev_type == event_type_dma && e->ev_result > 0) {
		void *p = e->ev_un.ev_dma.buf;

		echo_require(ev_send(fd, p, (size_t)e->ev_result, AIO_DMA_BUF, ec, p) == 0,
			     "ev_send", errno);
		sio_release(mem, p, (size_t)e->ev_result); /* used again when it has been sent */
	} else if (e->ev_type == event_type_dma && e->ev_errno != ECANCELED) {
		dma_disassoc(fd, mem, region_size);
		close(fd);
	} else if (e->ev_type == event_type_net && e->ev_data != NULL) {
		echoed++;
	} else if (e->ev_type == event_type_net) { /* the listener */
		echo_require(e->ev_result >= 0, "accept", e->ev_errno);
		fd = (int)e->ev_result;
		echo_require(dma_assoc(fd, mem, region_size, 0) == 0, "dma_assoc", errno);
		echo_require(
			ev_recv(fd, NULL, echo_message, AIO_DMA_BUF | EV_MULTISHOT, ec, NULL) == 0,
			"ev_recv", errno);
	}
}

static void serve_dma(int listener, unsigned flags)
{
	static event_data_t events[echo_batch];
	ec_t ec;

	echo_require(dma_alloc(&mem, region_size, 0) == 0, "dma_alloc", errno);
	ec = channel(flags, listener);
	for (;;) {
		int n = ec_next_events(ec, events, echo_batch, NULL);

		echo_require(n >= 0 || errno == EINTR, "ec_next_events", errno);
		for (int i = 0; i < n; i++)
			handle_on_region(ec, &events[i]);
	}
}

static void serve_dma_single(int listener)
{
	serve_dma(listener, EC_SINGLE | EC_BATCH);
}

static void serve_dma_shared(int listener)
{
	serve_dma(listener, 0);
}

const struct echo_server echo_servers[] = {{"sigevec", serve_single},
					   {"sigevec-epoll", serve_epoll},
					   {"sigevec-shared", serve_shared},
					   {"sigevec-moderated", serve_moderated},
					   {"sigevec-moderated-shared", serve_moderated_shared},
					   {"sigevec-busy", serve_busy},
					   {"sigevec-dma", serve_dma_single},
					   {"sigevec-dma-shared", serve_dma_shared},
#ifdef HAVE_LIBEVENT
					   {"sigevec-libevent", serve_channel_libevent},
#endif
					   {NULL, NULL}};
