/* SPDX-License-Identifier: MIT */
/*
 * proxy TO [PORT [IFNAME QUEUE]]: passes connections on to port TO of this machine, and never looks
 * at what they carry. What arrives lands in a piece of a region; the same piece is sent on from
 * where it lies, and released at the end of the send. Each direction has one piece at a time, so
 * who reads slowly is waited for, by nobody but the other end of the same connection.
 *
 * With a queue of a network device (dma_attach(3)) and where that can do it, arrivals are where the
 * card has put them, and no processor has touched a byte. The last line says how it was.
 *
 *	cc proxy.c $(pkg-config --cflags --libs sigevec)
 */
#include <sigevec.h>

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { at_once = 64, largest = 65536, region_size = 16 << 20 };

/* One direction of a connection, and the piece that is on its way. */
struct way {
	struct connection *of;
	int from, to;
	char *piece;
	size_t size, sent;
};

struct connection {
	struct way there, back;
	int connected, ended; /* whether; how many ways */
};

static ec_t ec;
static dma_mem_t mem;
static int listener;
static struct sockaddr_in target = {.sin_family = AF_INET};

static int fatal(const char *what)
{
	fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void accept_all(void)
{
	if (ev_accept(listener, SOCK_CLOEXEC | EV_MULTISHOT, ec, NULL) != 0)
		fatal("ev_accept");
}

static void drop(int fd)
{
	if (fd < 0)
		return;
	dma_disassoc(fd, mem, region_size);
	close(fd);
}

static void end(struct connection *c)
{
	drop(c->there.from);
	drop(c->there.to);
	free(c);
}

/* Nothing more comes this way; in time the other one will say the same. */
static void end_way(struct way *w, int how)
{
	shutdown(w->to, how);
	if (how == SHUT_RDWR)
		shutdown(w->from, how);
	if (++w->of->ended == 2)
		end(w->of);
}

static void receive(struct way *w)
{
	if (ev_recv(w->from, NULL, largest, AIO_DMA_BUF, ec, w) != 0)
		end_way(w, SHUT_RDWR);
}

static void send_on(struct way *w)
{
	if (ev_send(w->to, w->piece + w->sent, w->size - w->sent, AIO_DMA_BUF, ec, w) == 0)
		return;
	sio_release(mem, w->piece, w->size);
	end_way(w, SHUT_RDWR);
}

static void arrived(struct way *w, const event_data_t *event)
{
	if (event->ev_result <= 0) {
		end_way(w, event->ev_result == 0 ? SHUT_WR : SHUT_RDWR);
		return;
	}
	w->piece = event->ev_un.ev_dma.buf;
	w->size = (size_t)event->ev_result;
	w->sent = 0;
	send_on(w);
}

static void was_sent(struct way *w, ssize_t n)
{
	if (n > 0 && (w->sent += (size_t)n) < w->size) {
		send_on(w);
		return;
	}
	sio_release(mem, w->piece, w->size);
	if (n > 0)
		receive(w);
	else
		end_way(w, SHUT_RDWR);
}

static void accepted(int client)
{
	struct connection *c = calloc(1, sizeof *c);
	int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (c == NULL)
		fatal("calloc");
	c->there = (struct way){c, client, server, NULL, 0, 0};
	c->back = (struct way){c, server, client, NULL, 0, 0};
	if (server < 0 || dma_assoc(client, mem, region_size, 0) != 0 ||
	    dma_assoc(server, mem, region_size, 0) != 0 ||
	    ev_connect(server, (struct sockaddr *)&target, sizeof target, ec, &c->there) != 0)
		end(c);
}

static void connected(struct connection *c, ssize_t n)
{
	if (n < 0) {
		end(c);
		return;
	}
	c->connected = 1;
	receive(&c->there);
	receive(&c->back);
}

static void handle(const event_data_t *event)
{
	struct way *w = event->ev_data;

	if (w == NULL && event->ev_result >= 0)
		accepted((int)event->ev_result);
	else if (w == NULL)
		accept_all(); /* out of descriptors, perhaps: the call has ended */
	else if (!w->of->connected)
		connected(w->of, event->ev_result);
	else if (event->ev_type == event_type_dma)
		arrived(w, event);
	else
		was_sent(w, event->ev_result);
}

static void say_how_it_was(void)
{
	struct dma_stat s;

	dma_stat(mem, &s);
	printf("%llu bytes received, %llu of them where the card has put them; %s\n",
	       (unsigned long long)s.received, (unsigned long long)s.placed, s.attached_reason);
}

static void listen_on(unsigned short port)
{
	struct sockaddr_in where = {.sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof where;
	int on = 1;

	where.sin_port = htons(port);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
	    bind(listener, (struct sockaddr *)&where, length) != 0 || listen(listener, 1024) != 0 ||
	    getsockname(listener, (struct sockaddr *)&where, &length) != 0)
		fatal("socket");
	printf("listening on port %d\n", ntohs(where.sin_port));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	event_data_t events[at_once];
	sigset_t ends;
	int running = 1;

	if (argc < 2 || argc == 4) {
		fprintf(stderr, "usage: proxy TO [PORT [IFNAME QUEUE]]\n");
		return 2;
	}
	target.sin_port = htons((unsigned short)atoi(argv[1]));
	target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	ec = ec_create(EC_CLOEXEC);
	if (ec < 0 || sigprocmask(SIG_BLOCK, &ends, NULL) != 0 ||
	    ev_signal(&ends, ec, &running) != 0)
		fatal("ec_create");
	if (dma_alloc(&mem, region_size, 0) != 0)
		fatal("dma_alloc");
	if (argc > 4 && dma_attach(mem, argv[3], (unsigned)atoi(argv[4]), 0) != 0)
		fatal("dma_attach");
	listen_on((unsigned short)(argc > 2 ? atoi(argv[2]) : 0));
	accept_all();
	while (running) {
		int n = ec_next_events(ec, events, at_once, NULL);

		if (n < 0 && errno != EINTR)
			fatal("ec_next_events");
		for (int i = 0; i < n; i++)
			if (events[i].ev_data == &running)
				running = 0;
			else
				handle(&events[i]);
	}
	say_how_it_was();
	return 0;
}
