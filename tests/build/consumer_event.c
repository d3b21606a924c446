/* SPDX-License-Identifier: MIT */
/* A libevent program outside of the source tree, C and C++: a channel's event and a bufferevent in
 * one loop. Ends with 0. */
#include <event2/buffer.h>
#include <sigevec.h>
#include <sigevec/event.h>
#include <stdio.h>
#include <string.h>

static int left = 2;

static void done(struct event_base *base)
{
	if (--left == 0)
		event_base_loopbreak(base);
}

static void heard(ec_t ec, const event_data_t *event, void *base)
{
	(void)ec;
	if (event != NULL && event->ev_type == event_type_user && event->ev_result == 42)
		done((struct event_base *)base);
}

static void readable(struct bufferevent *b, void *base)
{
	char text[16] = "";

	if (bufferevent_read(b, text, sizeof text - 1) == 4 && strcmp(text, "text") == 0)
		done((struct event_base *)base);
}

int main(void)
{
	struct event_base *base = event_base_new();
	ec_t ec = ec_create(EC_CLOEXEC);
	struct event *ev = sigevec_event_new(base, ec, heard, base);
	struct bufferevent *b[2];
	evutil_socket_t s[2];
	struct timeval limit = {20, 0};
	int i;

	if (ev == NULL || evutil_socketpair(AF_UNIX, SOCK_STREAM, 0, s) != 0)
		return 2;
	for (i = 0; i < 2; i++) {
		evutil_make_socket_nonblocking(s[i]);
		b[i] = bufferevent_sigevec_new(base, s[i], BEV_OPT_CLOSE_ON_FREE);
	}
	event_add(ev, NULL);
	bufferevent_setcb(b[0], readable, NULL, NULL, base);
	bufferevent_enable(b[0], EV_READ);
	bufferevent_write(b[1], "text", 4);
	ec_post(ec, 42, 0, NULL);
	event_base_loopexit(base, &limit);
	event_base_dispatch(base);
	for (i = 0; i < 2; i++)
		bufferevent_free(b[i]);
	event_free(ev);
	event_base_free(base);
	ec_destroy(ec);
	puts(left == 0 ? "both were heard" : "not all were heard");
	return left;
}
