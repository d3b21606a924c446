/* SPDX-License-Identifier: MIT */
/*
 * echo_server_dma [PORT]: echo_server without buffers of its own. Read the two side by side: here a
 * connection is a descriptor and nothing else. What arrives lands in a piece of a region that all
 * connections share; the same piece is sent back, and released at the end of the send. A thousand
 * idle connections hold no memory for data at all.
 *
 *	cc echo_server_dma.c $(pkg-config --cflags --libs sigevec)
 */
#include <sigevec.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { at_once = 64, largest = 4096, region_size = 4 << 20 };

/* What is on its way back. */
struct reply {
	void *piece;
	size_t size, sent;
};

static ec_t ec;
static dma_mem_t mem;
static int listener;

static int fatal(const char *what)
{
	fprintf(stderr, "echo_server_dma: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The data of the events says what they are: NULL a connection or an arrival, else a reply. */
static void accept_all(void)
{
	if (ev_accept(listener, SOCK_CLOEXEC | EV_MULTISHOT, ec, NULL) != 0)
		fatal("ev_accept");
}

/* Armed once, the connection yields an event for each arrival. */
static void begin(int fd)
{
	if (dma_assoc(fd, mem, region_size, 0) == 0 &&
	    ev_recv(fd, NULL, largest, AIO_DMA_BUF | EV_MULTISHOT, ec, NULL) == 0)
		return;
	dma_disassoc(fd, mem, region_size);
	close(fd);
}

/* Sends that are under way hold the socket; they end with an error of the connection, or well. */
static void end(int fd)
{
	dma_disassoc(fd, mem, region_size);
	close(fd);
}

static void release(struct reply *r)
{
	sio_release(mem, r->piece, r->size);
	free(r);
}

static void send_back(int fd, struct reply *r)
{
	if (ev_send(fd, (char *)r->piece + r->sent, r->size - r->sent, AIO_DMA_BUF, ec, r) != 0)
		release(r); /* EAGAIN: more requests than ec_set_limit allows */
}

static void arrived(const event_data_t *event)
{
	int fd = event->ev_un.ev_dma.fd;
	struct reply *r;

	if (event->ev_errno == ECANCELED)
		return; /* dma_disassoc in end() */
	if (event->ev_result <= 0) {
		end(fd);
		return;
	}
	r = malloc(sizeof *r);
	if (r == NULL)
		fatal("malloc");
	*r = (struct reply){event->ev_un.ev_dma.buf, (size_t)event->ev_result, 0};
	send_back(fd, r);
}

static void was_sent(const event_data_t *event)
{
	struct reply *r = event->ev_data;

	if (event->ev_result > 0)
		r->sent += (size_t)event->ev_result;
	if (event->ev_result <= 0 || r->sent == r->size)
		release(r);
	else
		send_back(event->ev_un.ev_fd, r);
}

static void handle(const event_data_t *event)
{
	if (event->ev_type == event_type_dma)
		arrived(event);
	else if (event->ev_data != NULL)
		was_sent(event);
	else if (event->ev_result >= 0)
		begin((int)event->ev_result);
	else
		accept_all(); /* out of descriptors, perhaps: the call has ended */
}

int main(int argc, char **argv)
{
	struct sockaddr_in where = {.sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof where;
	event_data_t events[at_once];
	int on = 1;

	where.sin_port = htons((unsigned short)(argc > 1 ? atoi(argv[1]) : 0));
	ec = ec_create(EC_CLOEXEC);
	if (ec < 0)
		fatal("ec_create");
	if (dma_alloc(&mem, region_size, 0) != 0)
		fatal("dma_alloc");
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
	    bind(listener, (struct sockaddr *)&where, length) != 0 || listen(listener, 1024) != 0 ||
	    getsockname(listener, (struct sockaddr *)&where, &length) != 0)
		fatal("socket");
	printf("listening on port %d\n", ntohs(where.sin_port));
	fflush(stdout);
	accept_all();
	for (;;) {
		int n = ec_next_events(ec, events, at_once, NULL);

		if (n < 0 && errno != EINTR)
			fatal("ec_next_events");
		for (int i = 0; i < n; i++)
			handle(&events[i]);
	}
}
