/* SPDX-License-Identifier: MIT */
/*
 * The echo server on libevent's buffered connections. With ECHO_CHANNEL, in bench_echo_sigevec,
 * they are those of libsigevec_event: nothing else differs.
 */
#include "config.h"
#include "echo.h"
#include "echo_plain.h"

#ifdef HAVE_LIBEVENT
#ifdef ECHO_CHANNEL
#include <sigevec/event.h>
#define serve_libevent serve_channel_libevent
#define bufferevent_socket_new bufferevent_sigevec_new
#endif
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static void have_data(struct bufferevent *connection, void *context)
{
	(void)context;
	bufferevent_write_buffer(connection, bufferevent_get_input(connection));
	echoed++;
}

static void have_end(struct bufferevent *connection, short what, void *context)
{
	(void)context;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		bufferevent_free(connection);
}

static void have_connection(struct evconnlistener *listener, evutil_socket_t fd,
			    struct sockaddr *from, int length, void *base)
{
	struct bufferevent *connection = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
	int on = 1;

	(void)listener, (void)from, (void)length;
	echo_require(connection != NULL, "bufferevent_socket_new", ENOMEM);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	bufferevent_setcb(connection, have_data, NULL, have_end, NULL);
	bufferevent_enable(connection, EV_READ | EV_WRITE);
}

void serve_libevent(int listener)
{
	struct event_base *base = event_base_new();

	evutil_make_socket_nonblocking(listener);
	echo_require(evconnlistener_new(base, have_connection, base, LEV_OPT_CLOSE_ON_EXEC, 0,
					listener) != NULL,
		     "evconnlistener_new", errno);
	event_base_dispatch(base);
	echo_die("event_base_dispatch", errno);
}
#else
typedef int no_libevent; /* a file is not empty */
#endif
