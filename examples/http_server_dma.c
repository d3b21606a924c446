/* SPDX-License-Identifier: MIT */
/*
 * http_server_dma FOLDER [PORT]: http_server without buffers of its own. Read the two side by side:
 * requests, heads and file data are pieces of one region that all connections share. A connection
 * that waits for a request holds no memory for it; a file's data is read into a piece, sent from
 * there and released, and where the region has no more room, connections take turns.
 *
 *	cc http_server_dma.c http_answer.c http_request.c $(pkg-config --cflags --libs sigevec)
 */
#define _GNU_SOURCE 1

#include "http_answer.h"

#include <sigevec.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	at_once = 64,
	head_size = 8192,
	answer_head = 1024,
	load_size = 128 * 1024,
	region_size = 32 << 20
};

/* What a connection waits for; it has one request outstanding, or stands in the list of those that
 * wait for room. */
enum step { receiving, loading, sending };

/* A piece of the region; base NULL: none. */
struct piece {
	char *base;
	size_t size;
};

struct connection {
	int fd;
	enum step step;
	struct http_answer answer; /* of the file's data: what has not been loaded yet */
	struct aiocb cb;
	struct piece head, body;  /* of the answer, on their way; */
	int head_due;             /* has yet to go */
	struct piece in;          /* what has been received and not been answered: */
	size_t in_first, in_used; /* from where on, and how much */
	size_t in_head;           /* of that, the request at hand */
	struct connection *next_waiting;
};

static ec_t ec;
static dma_mem_t mem;
static int root, listener, accepting, connections;
static struct connection *waiting, **last_waiting = &waiting;

static void fatal(const char *what)
{
	fprintf(stderr, "http_server_dma: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* --- connections --------------------------------------------------------------------------- */

static void accept_all(void)
{
	if (ev_accept(listener, SOCK_CLOEXEC | EV_MULTISHOT, ec, NULL) != 0)
		fatal("ev_accept");
	accepting = 1;
}

static void release(struct piece *p)
{
	if (p->base)
		sio_release(mem, p->base, p->size);
	*p = (struct piece){NULL, 0};
}

static void close_file(struct connection *c)
{
	if (c->answer.file >= 0)
		close(c->answer.file);
	c->answer.file = -1;
	c->answer.left = 0;
}

static void end(struct connection *c)
{
	close_file(c);
	release(&c->head);
	release(&c->body);
	release(&c->in);
	dma_disassoc(c->fd, mem, region_size);
	close(c->fd);
	free(c);
	connections--;
	if (!accepting)
		accept_all();
}

/* No room: until others have released some. */
static void wait_for_room(struct connection *c)
{
	c->next_waiting = NULL;
	*last_waiting = c;
	last_waiting = &c->next_waiting;
}

/* The piece is taken when the data is there: until then the connection has none. */
static void receive(struct connection *c)
{
	c->step = receiving;
	if (ev_recv(c->fd, NULL, head_size, AIO_DMA_BUF, ec, c) != 0)
		end(c);
}

static void begin(int fd)
{
	struct connection *c = calloc(1, sizeof *c);
	int on = 1;

	if (c == NULL || dma_assoc(fd, mem, region_size, 0) != 0) {
		free(c);
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	connections++;
	c->fd = fd;
	c->answer.file = -1;
	receive(c);
}

/* --- the answer ---------------------------------------------------------------------------- */

/* The head, if it has not gone yet, and a piece of the file, as one message out of the region. */
static void send_out(struct connection *c)
{
	struct iovec v[2];
	struct msghdr m = {.msg_iov = v};
	void *p;

	if (c->head_due && sio_reserve(mem, &p, answer_head) != 0) {
		/* Who waits has nothing but its request, so that the others can finish: the file is
		 * read again. */
		c->answer.offset -= (off_t)c->body.size;
		c->answer.left += (off_t)c->body.size;
		release(&c->body);
		wait_for_room(c);
		return;
	}
	if (c->head_due) {
		c->head = (struct piece){p, answer_head};
		v[m.msg_iovlen++] = (struct iovec){p, http_write_head(&c->answer, p)};
		c->head_due = 0;
	}
	if (c->body.base)
		v[m.msg_iovlen++] = (struct iovec){c->body.base, c->body.size};
	c->step = sending;
	if (ev_sendmsg(c->fd, &m, AIO_DMA_BUF, ec, c) != 0)
		end(c);
}

/* The kernel reads into a piece, which is as large as what it has read. */
static void load(struct connection *c)
{
	struct aiocb *list = &c->cb;

	memset(&c->cb, 0, sizeof c->cb);
	c->cb.aio_lio_opcode = LIO_DMA_READ;
	c->cb.aio_fildes = c->answer.file;
	c->cb.aio_dma_buf = mem;
	c->cb.aio_nbytes = c->answer.left < load_size ? (size_t)c->answer.left : load_size;
	c->cb.aio_offset = c->answer.offset;
	c->cb.aio_sigevent.sigev_notify = SIGEV_EC;
	c->cb.aio_sigevent.sigev_ec = ec;
	c->cb.aio_sigevent.sigev_value.sival_ptr = c;
	c->step = loading;
	if (lio_listio(LIO_NOWAIT, &list, 1, NULL) == 0)
		return;
	if (errno == ENOBUFS)
		wait_for_room(c);
	else
		end(c);
}

static void load_or_send(struct connection *c)
{
	if (c->answer.left > 0)
		load(c);
	else
		send_out(c);
}

static void answer(struct connection *c)
{
	struct http_request r;
	const char *wrong = c->in_head ? http_parse(&r, c->in.base + c->in_first)
				       : "431 Request Header Fields Too Large";

	http_answer(&c->answer, &r, wrong, root);
	c->head_due = 1;
	load_or_send(c);
}

/* --- the request --------------------------------------------------------------------------- */

/* Answers the first request that is there whole, or receives more of it. */
static void next_request(struct connection *c)
{
	char *text = c->in.base + c->in_first;
	char *end_of_head = c->in_used ? memmem(text, c->in_used, "\r\n\r\n", 4) : NULL;

	c->in_head = end_of_head ? (size_t)(end_of_head - text) + 4 : 0;
	if (end_of_head)
		end_of_head[2] = 0; /* the last field keeps its end of line */
	if (end_of_head || c->in_used >= head_size)
		answer(c);
	else
		receive(c);
}

/* Mostly a request is one piece. Of one that came in several, here they become one. */
static void received(struct connection *c, struct piece p)
{
	struct piece both = p;
	void *q;

	if (c->in.base && sio_reserve(mem, &q, c->in_used + p.size) != 0) {
		release(&p);
		end(c);
		return;
	}
	if (c->in.base) {
		both = (struct piece){q, c->in_used + p.size};
		memcpy(both.base, c->in.base + c->in_first, c->in_used);
		memcpy(both.base + c->in_used, p.base, p.size);
		release(&c->in);
		release(&p);
	}
	c->in = both;
	c->in_first = 0;
	c->in_used = both.size;
	next_request(c);
}

static void answered(struct connection *c)
{
	close_file(c);
	if (!c->answer.keep) {
		shutdown(c->fd, SHUT_WR);
		end(c);
		return;
	}
	c->in_first += c->in_head;
	c->in_used -= c->in_head;
	if (c->in_used == 0)
		release(&c->in);
	next_request(c);
}

/* --- events -------------------------------------------------------------------------------- */

/* Those that found no room, in their order: each goes on where it stopped, or waits again. */
static void let_others_try(void)
{
	struct connection *c = waiting, *next;

	waiting = NULL;
	last_waiting = &waiting;
	for (; c; c = next) {
		next = c->next_waiting;
		load_or_send(c);
	}
}

static void move_on(struct connection *c, const event_data_t *e)
{
	size_t size = (size_t)e->ev_result;

	switch (c->step) {
	case receiving:
		received(c, (struct piece){e->ev_un.ev_dma.buf, size});
		break;
	case loading:
		c->body = (struct piece){(char *)c->cb.aio_buf, size};
		c->answer.offset += (off_t)size;
		c->answer.left -= (off_t)size;
		send_out(c);
		break;
	case sending:
		release(&c->head);
		release(&c->body);
		if (c->answer.left > 0)
			load(c);
		else
			answered(c);
		break;
	}
}

static void handle(const event_data_t *e)
{
	struct connection *c = e->ev_data;

	if (c && e->ev_result > 0) {
		move_on(c, e);
	} else if (c) { /* the other side has closed; an error; or the file has become shorter */
		end(c);
	} else if (e->ev_result >= 0) {
		begin((int)e->ev_result);
	} else { /* an error ends accepting; too many descriptors: until there are less */
		accepting = 0;
		errno = e->ev_errno;
		if (errno == ECONNABORTED)
			accept_all();
		else if (connections == 0)
			fatal("accept");
	}
}

static int listen_on(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr *where = (struct sockaddr *)&address;
	socklen_t length = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	address.sin_port = htons((in_port_t)port);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, where, length) != 0 || listen(fd, SOMAXCONN) != 0 ||
	    getsockname(fd, where, &length) != 0)
		fatal("listen");
	printf("http://127.0.0.1:%d/\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

int main(int argc, char **argv)
{
	static event_data_t events[at_once];
	static const struct timespec moment = {0, 10000000};
	struct rlimit files;
	int n;

	if (argc < 2) {
		fprintf(stderr, "usage: %s FOLDER [PORT]\n", argv[0]);
		return 2;
	}
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	root = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		fatal(argv[1]);
	if (dma_alloc(&mem, region_size, 0) != 0)
		fatal("dma_alloc");
	ec = ec_create(EC_CLOEXEC | EC_SINGLE | EC_BATCH);
	if (ec < 0)
		fatal("ec_create");
	listener = listen_on(argc > 2 ? atoi(argv[2]) : 0);
	accept_all();
	for (;;) {
		/* EC_BATCH: hands over what was asked for, too. Room that a device gives back makes
		 * no event. */
		n = ec_next_events(ec, events, at_once, waiting ? &moment : NULL);
		if (n < 0 && errno != EINTR)
			fatal("ec_next_events");
		for (int i = 0; i < n; i++)
			handle(&events[i]);
		let_others_try();
	}
}
