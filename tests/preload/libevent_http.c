/* SPDX-License-Identifier: MIT */
/*
 * A program that knows nothing of libsigevec: evhttp, and a client of evhttp's own, in one loop.
 * Requests with bodies of many sizes, several connections, answers that are checked byte by byte.
 * Prints how many were right. Beside them a bufferevent whose socket is nearly always full.
 */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { clients = 8, requests = 40, largest = 200000, narrow = 300000 };

static struct event_base *base;
static unsigned right, ended;
static unsigned short port;
static size_t through; // the socket that is full

struct client {
	struct evhttp_connection *connection;
	unsigned sent;
	size_t size;
};

static unsigned char byte_at(size_t size, size_t i)
{
	return (unsigned char)(size * 31 + i * 7 + i / 251);
}

/* The body turned round: so the server must have had it whole. */
static void serve(struct evhttp_request *r, void *unused)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(r), *out = evbuffer_new();
	size_t n = evbuffer_get_length(in);
	const unsigned char *body = evbuffer_pullup(in, -1);
	unsigned char *turned = malloc(n + 1);

	(void)unused;
	for (size_t i = 0; i < n; i++)
		turned[i] = body[n - 1 - i];
	evbuffer_add(out, turned, n);
	free(turned);
	evhttp_send_reply(r, HTTP_OK, "OK", out);
	evbuffer_free(out);
}

static void ask(struct client *c);

static void answered(struct evhttp_request *r, void *arg)
{
	struct client *c = arg;
	struct evbuffer *in = r != NULL ? evhttp_request_get_input_buffer(r) : NULL;
	size_t n = in != NULL ? evbuffer_get_length(in) : 0;
	const unsigned char *body = n != 0 ? evbuffer_pullup(in, -1) : NULL;
	int ok = r != NULL && evhttp_request_get_response_code(r) == HTTP_OK && n == c->size;

	for (size_t i = 0; ok && i < n; i++)
		ok = body[i] == byte_at(c->size, n - 1 - i);
	right += (unsigned)ok;
	if (c->sent < requests)
		ask(c);
	else if (++ended == clients && through == narrow)
		event_base_loopbreak(base);
}

static void ask(struct client *c)
{
	struct evhttp_request *r = evhttp_request_new(answered, c);
	unsigned char *body;

	c->size = (size_t)c->sent * c->sent * 131 % largest;
	c->sent++;
	body = malloc(c->size + 1);
	for (size_t i = 0; i < c->size; i++)
		body[i] = byte_at(c->size, i);
	evbuffer_add(evhttp_request_get_output_buffer(r), body, c->size);
	free(body);
	evhttp_add_header(evhttp_request_get_output_headers(r), "Host", "localhost");
	evhttp_make_request(c->connection, r, EVHTTP_REQ_POST, "/");
}

static void drain(evutil_socket_t s, short what, void *unused)
{
	unsigned char piece[3000];
	ssize_t n = read(s, piece, sizeof piece);

	(void)what;
	(void)unused;
	for (ssize_t i = 0; i < n; i++, through++)
		if (piece[i] != byte_at(narrow, through))
			exit(3);
	if (ended == clients && through == narrow)
		event_base_loopbreak(base);
}

/* What is written is more than the socket takes at once, and who reads has its turn later. */
static struct bufferevent *write_through(evutil_socket_t s[2])
{
	static unsigned char data[narrow];
	int room = 4608;
	struct bufferevent *b;

	if (evutil_socketpair(AF_UNIX, SOCK_STREAM, 0, s) != 0 ||
	    setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room) != 0)
		exit(2);
	evutil_make_socket_nonblocking(s[0]);
	for (size_t i = 0; i < narrow; i++)
		data[i] = byte_at(narrow, i);
	b = bufferevent_socket_new(base, s[0], BEV_OPT_CLOSE_ON_FREE);
	bufferevent_write(b, data, narrow);
	return b;
}

int main(void)
{
	static struct client c[clients];
	struct evhttp_bound_socket *bound;
	struct sockaddr_storage address;
	ev_socklen_t length = sizeof address;
	struct bufferevent *full;
	struct evhttp *server;
	struct event *reader;
	evutil_socket_t s[2];

	base = event_base_new();
	server = evhttp_new(base);
	evhttp_set_gencb(server, serve, NULL);
	bound = evhttp_bind_socket_with_handle(server, "127.0.0.1", 0);
	if (bound == NULL || getsockname(evhttp_bound_socket_get_fd(bound),
					 (struct sockaddr *)&address, &length) != 0)
		return 2;
	memcpy(&port, (char *)&address + 2, sizeof port);
	port = (unsigned short)(port >> 8 | port << 8);
	for (int i = 0; i < clients; i++) {
		c[i].connection = evhttp_connection_base_new(base, NULL, "127.0.0.1", port);
		ask(&c[i]);
	}
	full = write_through(s);
	reader = event_new(base, s[1], EV_READ | EV_PERSIST, drain, NULL);
	event_add(reader, NULL);
	event_base_dispatch(base);
	printf("%u of %u answers right\n", right, clients * requests);
	for (int i = 0; i < clients; i++)
		evhttp_connection_free(c[i].connection);
	bufferevent_free(full);
	event_free(reader);
	close(s[1]);
	evhttp_free(server);
	event_base_free(base);
	return right == clients * requests ? 0 : 1;
}
