// SPDX-License-Identifier: MIT
//
// libevent's table of a bufferevent's operations. It is not in the installed headers, though
// libevent's own libraries are built on it, and it has been the same from 2.1.6 on. So it is not
// believed but tried: usable() is true only when the functions of libevent, given a table of this
// form, call what they are to call.
#pragma once

#include <event2/bufferevent.h>
#include <event2/bufferevent_struct.h>
#include <sys/types.h>

extern "C" {

union bufferevent_ctrl_data {
	void *ptr;
	evutil_socket_t fd;
};

struct bufferevent_ops {
	const char *type;
	off_t mem_offset;
	int (*enable)(struct bufferevent *, short);
	int (*disable)(struct bufferevent *, short);
	void (*unlink)(struct bufferevent *);   // the last reference has gone; may be null
	void (*destruct)(struct bufferevent *); // nothing of it runs any more
	int (*adj_timeouts)(struct bufferevent *);
	int (*flush)(struct bufferevent *, short, enum bufferevent_flush_mode);
	int (*ctrl)(struct bufferevent *, int, union bufferevent_ctrl_data *);
};

// Of libevent's, for limits of the rate; null in a libevent without them.
int bufferevent_decrement_read_buckets_(void *bufferevent_private, ev_ssize_t bytes)
	__attribute__((weak));
int bufferevent_decrement_write_buckets_(void *bufferevent_private, ev_ssize_t bytes)
	__attribute__((weak));
}

struct evbuffer_cb_entry;

namespace sigevec::bufferevents {

// The head of what evbuffer_add_cb returns, a LIST_ENTRY of libevent's; new ones are put in front.
struct CallbackEntry {
	struct evbuffer_cb_entry *next, **previous;
};

enum Control { set_fd, get_fd, get_underlying, cancel_all };

// bufferevent_socket_new of libevent itself: the name alone may lead to lib/glue/interpose.cpp.
struct bufferevent *libevents_new(struct event_base *base, evutil_socket_t fd, int options);

// Whether socket bufferevents of base are of this form. Tried once for the process.
bool usable(struct event_base *base);

} // namespace sigevec::bufferevents
