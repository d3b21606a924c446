/* SPDX-License-Identifier: MIT */
/*
 * Event channels in a program that uses libevent: library libsigevec_event, pkg-config name
 * sigevec_event. See sigevec_event_new(3) and bufferevent_sigevec_new(3). Needs libevent 2.1.
 */
#ifndef SIGEVEC_EVENT_H
#define SIGEVEC_EVENT_H 1

#include "sigevec/ec.h"

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/util.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What sigevec_event_new calls: event is one of the channel's, or NULL when the time given to
 * event_add has passed. */
typedef void (*sigevec_event_cb)(ec_t ec, const event_data_t *event, void *arg);

/*
 * sigevec_event_new: a libevent event that calls callback(ec, event, arg) for each event of the
 * channel ec, in the thread that runs base. As event_new(): it is not added, and belongs to the
 * caller: event_add, event_del, event_priority_set, event_active and event_free do with it what
 * they always do, also from within the callback. It stays added until event_del (EV_PERSIST). A
 * channel's event is taken only when the callback is about to run, so deleting or freeing it loses
 * none; the channel itself stays open. Up to 64 are taken before base looks at other descriptors.
 * Returns NULL with errno:
 *   EBADF   ec is no channel of this process
 *   EINVAL  base or callback is NULL
 *   ENOMEM  no memory
 * Thread-safe if base is; not async-signal-safe. With EC_BATCH the callback hands over what was
 * submitted in it (ec_submit) at its end.
 */
struct event *sigevec_event_new(struct event_base *base, ec_t ec, sigevec_event_cb callback,
				void *arg);

/*
 * bufferevent_sigevec_new: what bufferevent_socket_new(base, fd, options) does, but for how the
 * loop learns that there is something to do: an event channel, which all these bufferevents of a
 * base share, waits for room to send, and a wait for data outlasts the messages. fd: a socket, or
 * -1 (bufferevent_setfd, bufferevent_socket_connect). Data is read and written by libevent's own
 * functions, and nothing is read ahead. All of libevent's functions for bufferevents work on it.
 * What the channel is no use for (a descriptor that is no socket, a connection in the making, a
 * system without io_uring, a libevent whose bufferevents are built otherwise) libevent waits for by
 * itself. Returns NULL where bufferevent_socket_new does. Thread-safe as far as options say
 * (BEV_OPT_THREADSAFE); not async-signal-safe.
 */
struct bufferevent *bufferevent_sigevec_new(struct event_base *base, evutil_socket_t fd,
					    int options);

#ifdef __cplusplus
}
#endif

#endif
