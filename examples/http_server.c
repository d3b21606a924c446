/* SPDX-License-Identifier: MIT */
/*
 * http_server FOLDER [PORT]: serves the files of a folder by HTTP/1.1 on the loopback interface, in
 * one thread.
 *
 * Files and sockets end in the same channel: file data comes by aio_read with SIGEV_EC, goes by
 * ev_send, and a connection is a small machine that each event moves on by one step. It knows GET,
 * HEAD, connections that stay open, pipelined requests and single ranges. It is an example: no time
 * limits, and folders are opened within the loop.
 *
 *	cc http_server.c http_answer.c http_request.c $(pkg-config --cflags --libs sigevec)
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
#include <sys/stat.h>
#include <unistd.h>

enum { at_once = 64, head_size = 8192, out_size = 128 * 1024 };

/* What a connection waits for; it has one request outstanding. */
enum step { receiving, loading, sending };

struct connection {
	int fd;
	enum step step;
	struct http_answer answer; /* of the file's data: what has not been loaded yet */
	struct aiocb cb;
	char *out; /* a piece of the answer at a time: out_size bytes, while there is one */
	size_t out_used;
	size_t in_used,
		in_head; /* what has been received, and how much of that is the request at hand */
	char in[head_size + 1];
};

static ec_t ec;
static int root, listener, accepting, connections;

static void fatal(const char *what)
{
	fprintf(stderr, "http_server: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* --- connections --------------------------------------------------------------------------- */

static void accept_all(void)
{
	if (ev_accept(listener, SOCK_CLOEXEC | EV_MULTISHOT, ec, NULL) != 0)
		fatal("ev_accept");
	accepting = 1;
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
	close(c->fd);
	free(c->out);
	free(c);
	connections--;
	if (!accepting)
		accept_all();
}

static void receive(struct connection *c)
{
	c->step = receiving;
	if (ev_recv(c->fd, c->in + c->in_used, head_size - c->in_used, 0, ec, c) != 0)
		end(c);
}

static void begin(int fd)
{
	struct connection *c = calloc(1, sizeof *c);
	int on = 1;

	if (c == NULL) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	connections++;
	c->fd = fd;
	c->answer.file = -1;
	receive(c);
}

/* --- the answer -------------------------------------------------------------------------------
 */

static void send_out(struct connection *c)
{
	c->step = sending;
	if (ev_send(c->fd, c->out, c->out_used, 0, ec, c) != 0)
		end(c);
}

/* The next piece of the file goes behind what is in c->out already, at first the head. */
static void load(struct connection *c)
{
	size_t room = out_size - c->out_used;

	c->step = loading;
	memset(&c->cb, 0, sizeof c->cb);
	c->cb.aio_fildes = c->answer.file;
	c->cb.aio_buf = c->out + c->out_used;
	c->cb.aio_nbytes = c->answer.left < (off_t)room ? (size_t)c->answer.left : room;
	c->cb.aio_offset = c->answer.offset;
	c->cb.aio_sigevent.sigev_notify = SIGEV_EC;
	c->cb.aio_sigevent.sigev_ec = ec;
	c->cb.aio_sigevent.sigev_value.sival_ptr = c;
	if (aio_read(&c->cb) != 0)
		end(c);
}

/* --- the request ------------------------------------------------------------------------------
 */

static void answer(struct connection *c)
{
	struct http_request r;
	const char *wrong =
		c->in_head ? http_parse(&r, c->in) : "431 Request Header Fields Too Large";

	c->out = malloc(out_size);
	if (c->out == NULL) {
		end(c);
		return;
	}
	http_answer(&c->answer, &r, wrong, root);
	c->out_used = http_write_head(&c->answer, c->out);
	if (c->answer.left > 0)
		load(c);
	else
		send_out(c);
}

/* Answers the first request that is there whole, or receives more of it. */
static void next_request(struct connection *c)
{
	char *end_of_head = memmem(c->in, c->in_used, "\r\n\r\n", 4);

	c->in_head = end_of_head ? (size_t)(end_of_head - c->in) + 4 : 0;
	if (end_of_head)
		end_of_head[2] = 0; /* the last field keeps its end of line */
	if (end_of_head || c->in_used == head_size)
		answer(c);
	else
		receive(c);
}

static void answered(struct connection *c)
{
	close_file(c);
	free(c->out);
	c->out = NULL;
	if (!c->answer.keep) {
		shutdown(c->fd, SHUT_WR);
		end(c);
		return;
	}
	c->in_used -= c->in_head;
	memmove(c->in, c->in + c->in_head, c->in_used);
	next_request(c);
}

/* --- events -----------------------------------------------------------------------------------
 */

static void move_on(struct connection *c, size_t size)
{
	switch (c->step) {
	case receiving:
		c->in_used += size;
		next_request(c);
		break;
	case loading:
		c->answer.offset += (off_t)size;
		c->answer.left -= (off_t)size;
		c->out_used += size;
		send_out(c);
		break;
	case sending:
		c->out_used = 0;
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
		move_on(c, (size_t)e->ev_result);
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
	ec = ec_create(EC_CLOEXEC | EC_SINGLE | EC_BATCH);
	if (ec < 0)
		fatal("ec_create");
	listener = listen_on(argc > 2 ? atoi(argv[2]) : 0);
	accept_all();
	for (;;) {
		n = ec_next_events(ec, events, at_once,
				   NULL); /* EC_BATCH: hands over what was asked for, too */
		if (n < 0 && errno != EINTR)
			fatal("ec_next_events");
		for (int i = 0; i < n; i++)
			handle(&events[i]);
	}
}
