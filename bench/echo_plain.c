/* SPDX-License-Identifier: MIT */
/* bench_echo: the servers that libsigevec is compared with; the epoll loop is here. Not linked with
 * the library. */
#include "echo_plain.h"
#define _GNU_SOURCE 1

#include "config.h"
#include "echo.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static void add(int ep, int fd, void *data)
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = data};

	echo_require(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == 0, "epoll_ctl", errno);
}

static void echo_once(struct connection *c)
{
	ssize_t n = recv(c->fd, c->data, sizeof c->data, 0);

	if (n > 0 && send(c->fd, c->data, (size_t)n, 0) == n)
		echoed++;
	else if (n >= 0 || errno != EAGAIN)
		echo_close(c);
}

static void serve_epoll(int listener)
{
	struct epoll_event events[echo_batch];
	int ep = epoll_create1(EPOLL_CLOEXEC), fd;

	add(ep, listener, NULL);
	for (;;) {
		int n = epoll_wait(ep, events, echo_batch, -1);

		echo_require(n >= 0 || errno == EINTR, "epoll_wait", errno);
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr) {
				echo_once(events[i].data.ptr);
			} else if ((fd = accept4(listener, NULL, NULL,
						 SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
				add(ep, fd, echo_connection(fd));
			}
		}
	}
}

const struct echo_server echo_servers[] = {{"epoll", serve_epoll},
					   {"aio", serve_aio},
#ifdef HAVE_LIBURING
					   {"uring", serve_uring},
					   {"uring-multishot", serve_uring_multishot},
#endif
#ifdef HAVE_LIBEVENT
					   {"libevent", serve_libevent},
#endif
					   {NULL, NULL}};
