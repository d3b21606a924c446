/* SPDX-License-Identifier: MIT */
/*
 * echo_server [PORT]: an echo server on the loopback interface. It shows how an event channel goes
 * into a loop that a program has already, here one around epoll_wait with the terminal in it: the
 * channel is one more descriptor.
 *
 *	cc echo_server.c $(pkg-config --cflags --libs sigevec)
 */
#include <sigevec.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { at_once = 64 };

/* A connection. It has one request at a time, whose event brings its address back. */
struct connection {
	int fd;
	int sending;
	char data[4096];
};

static ec_t ec;
static int listener, accepting, connections;

static int fatal(const char *what)
{
	fprintf(stderr, "echo_server: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* One call for all connections to come. Its events bring no data. */
static void accept_all(void)
{
	if (ev_accept(listener, SOCK_CLOEXEC | EV_MULTISHOT, ec, NULL) != 0)
		fatal("ev_accept");
	accepting = 1;
}

static void end(struct connection *c)
{
	close(c->fd);
	free(c);
	connections--;
	if (!accepting)
		accept_all();
}

static void receive(struct connection *c)
{
	c->sending = 0;
	if (ev_recv(c->fd, c->data, sizeof c->data, 0, ec, c) != 0)
		end(c); /* EAGAIN: more requests than ec_set_limit allows */
}

static void send_back(struct connection *c, size_t size)
{
	c->sending = 1;
	if (ev_send(c->fd, c->data, size, 0, ec, c) != 0) /* arrives whole, or with an error */
		end(c);
}

static void begin(int fd)
{
	struct connection *c = malloc(sizeof *c);

	if (c == NULL) {
		close(fd);
		return;
	}
	connections++;
	c->fd = fd;
	receive(c);
}

static void handle(const event_data_t *e)
{
	struct connection *c = e->ev_data;

	if (c == NULL && e->ev_result >= 0) {
		begin((int)e->ev_result);
	} else if (c ==
		   NULL) { /* an error ends accepting; too many descriptors: until there are less */
		accepting = 0;
		errno = e->ev_errno;
		if (errno == ECONNABORTED)
			accept_all();
		else if (connections == 0)
			fatal("accept");
	} else if (e->ev_result <= 0) { /* the other side has closed, or an error */
		end(c);
	} else if (c->sending) {
		receive(c);
	} else {
		send_back(c, (size_t)e->ev_result);
	}
}

/* Takes events until there are none; the descriptor then sleeps until the next one. */
static void take_events(void)
{
	event_data_t events[at_once];
	int n;

	do {
		n = ec_next_events(ec, events, at_once, NULL); /* EC_NONBLOCK: does not wait */
		if (n < 0 && errno != EINTR)
			fatal("ec_next_events");
		for (int i = 0; i < n; i++)
			handle(&events[i]);
	} while (n == at_once);
}

/* A line on the terminal: says how many connections there are. Its end lets the program go on
 * without. */
static void answer_terminal(int ep)
{
	char line[256];

	if (read(STDIN_FILENO, line, sizeof line) > 0)
		printf("%d connections\n", connections);
	else
		epoll_ctl(ep, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
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
	printf("echo on port %d\n", ntohs(address.sin_port));
	return fd;
}

int main(int argc, char **argv)
{
	struct epoll_event ready, e = {.events = EPOLLIN};
	int ep = epoll_create1(EPOLL_CLOEXEC);

	setvbuf(stdout, NULL, _IOLBF, 0);
	ec = ec_create(EC_CLOEXEC | EC_NONBLOCK | EC_SINGLE | EC_BATCH);
	if (ep < 0 || ec < 0)
		fatal("ec_create");
	e.data.fd = ec_to_fd(ec);
	if (epoll_ctl(ep, EPOLL_CTL_ADD, e.data.fd, &e) != 0)
		fatal("epoll_ctl");
	e.data.fd = STDIN_FILENO;
	epoll_ctl(ep, EPOLL_CTL_ADD, STDIN_FILENO,
		  &e); /* fails for a file: then there is no terminal */

	listener = listen_on(argc > 1 ? atoi(argv[1]) : 0);
	accept_all();
	for (;;) {
		ec_submit(ec); /* EC_BATCH: what has been asked for since goes to the kernel, before
				  we sleep */
		if (epoll_wait(ep, &ready, 1, -1) != 1)
			continue;
		if (ready.data.fd == STDIN_FILENO)
			answer_terminal(ep);
		else
			take_events();
	}
}
