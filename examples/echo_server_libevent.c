/* SPDX-License-Identifier: MIT */
/*
 * echo_server_libevent [PORT]: a libevent program of bufferevents, as it is in many books. It shows
 * that one line makes it use an event channel: bufferevent_sigevec_new where bufferevent_socket_new
 * stood, in accepted() below.
 *
 *	cc echo_server_libevent.c $(pkg-config --cflags --libs sigevec_event)
 */
#include <sigevec/event.h>

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void echo(struct bufferevent *connection, void *unused)
{
	(void)unused;
	bufferevent_write_buffer(connection, bufferevent_get_input(connection));
}

/* All that was received has been sent back when the output is empty: then a connection that has
 * ended is freed. */
static void free_when_sent(struct bufferevent *connection, void *unused)
{
	(void)unused;
	bufferevent_free(connection);
}

static void ended(struct bufferevent *connection, short what, void *unused)
{
	(void)unused;
	if ((what & BEV_EVENT_EOF) != 0 &&
	    evbuffer_get_length(bufferevent_get_output(connection)) != 0)
		bufferevent_setcb(connection, NULL, free_when_sent, ended, NULL);
	else
		bufferevent_free(connection);
}

static void accepted(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from,
		     int length, void *unused)
{
	struct event_base *base = evconnlistener_get_base(listener);
	/* was: bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE) */
	struct bufferevent *connection = bufferevent_sigevec_new(base, fd, BEV_OPT_CLOSE_ON_FREE);

	(void)from, (void)length, (void)unused;
	if (connection == NULL) {
		evutil_closesocket(fd);
		return;
	}
	bufferevent_setcb(connection, echo, NULL, ended, NULL);
	bufferevent_enable(connection, EV_READ | EV_WRITE);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address;
	socklen_t length = sizeof address;
	struct event_base *base = event_base_new();
	struct evconnlistener *listener;

	memset(&address, 0, sizeof address);
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons((in_port_t)(argc > 1 ? atoi(argv[1]) : 0));
	listener = base == NULL
			   ? NULL
			   : evconnlistener_new_bind(base, accepted, NULL,
						     LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, -1,
						     (struct sockaddr *)&address, (int)length);
	if (listener == NULL || getsockname(evconnlistener_get_fd(listener),
					    (struct sockaddr *)&address, &length) != 0) {
		perror("echo_server_libevent");
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("echo on port %d\n", ntohs(address.sin_port));
	event_base_dispatch(base);
	evconnlistener_free(listener);
	event_base_free(base);
	return 0;
}
