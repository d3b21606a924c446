// SPDX-License-Identifier: MIT
//
// Whose a link's descriptor is. libevent's two events of a bufferevent have no descriptor (-1) while the channel moves the data.
// They get it, and so are in epoll, where the channel is no use (a pipe), and until a connection stands: the state "connecting" is
// libevent's own, and ends in its function for writing. That function is called by one of ours, which takes the descriptor back.
#include "glue/link.hpp"

#include <event2/buffer.h>
#include <sys/socket.h>

namespace sigevec::glue {

namespace {

void assign(struct event *ev, struct bufferevent *bev, evutil_socket_t fd, short what, event_callback_fn f)
{
	int priority = event_get_priority(ev);
	event_del(ev);
	event_assign(ev, bev->ev_base, fd, static_cast<short>(what | EV_PERSIST | EV_FINALIZE), f, bev);
	event_priority_set(ev, priority);
}

void add(struct event *ev, const struct timeval *timeout)
{
	event_add(ev, evutil_timerisset(timeout) ? timeout : nullptr);
}

// Gives both events another descriptor and other functions; what was added is added again.
void assign_both(Link *k, evutil_socket_t fd, event_callback_fn read, event_callback_fn write)
{
	struct bufferevent *bev = k->bev;
	bool reading = event_pending(&bev->ev_read, EV_READ, nullptr) != 0;
	bool writing = event_pending(&bev->ev_write, EV_WRITE, nullptr) != 0;
	assign(&bev->ev_read, bev, fd, EV_READ, read);
	assign(&bev->ev_write, bev, fd, EV_WRITE, write);
	if (reading)
		add(&bev->ev_read, &bev->timeout_read);
	if (writing)
		add(&bev->ev_write, &bev->timeout_write);
}

bool connected(evutil_socket_t fd)
{
	struct sockaddr_storage peer;
	socklen_t n = sizeof peer;
	return getpeername(fd, reinterpret_cast<struct sockaddr *>(&peer), &n) == 0;
}

// While it is connecting it waits to write.
bool connecting(const struct bufferevent *bev)
{
	return event_pending(&bev->ev_write, EV_WRITE, nullptr) != 0;
}

// libevent's own function; after it the channel takes over if the connection stands.
void then_settle(evutil_socket_t fd, short what, void *arg, event_callback_fn Link::*plain)
{
	auto *bev = static_cast<struct bufferevent *>(arg);
	Link *k = link_of(bev);
	LockedBev locked(bev);
	bufferevent_incref(bev);
	(k->*plain)(fd, what, arg);
	bool early = plain == &Link::plain_read && connecting(bev);
	if (!early && !k->unlinked && k->mode == Link::Mode::settling && connected(k->fd)) {
		k->mode = Link::Mode::channel;
		assign_both(k, -1, k->plain_read, k->plain_write);
		mark(k);
	}
	bufferevent_decref(bev);
}

void write_then_settle(evutil_socket_t fd, short what, void *arg)
{
	then_settle(fd, what, arg, &Link::plain_write);
}

void read_then_settle(evutil_socket_t fd, short what, void *arg)
{
	then_settle(fd, what, arg, &Link::plain_read);
}

} // namespace

void make_plain(Link *k)
{
	abandon(k);
	k->mode = Link::Mode::plain;
	assign_both(k, k->fd, k->plain_read, k->plain_write);
}

void settle(Link *k, evutil_socket_t fd)
{
	struct bufferevent *bev = k->bev;
	abandon(k);
	k->fd = fd;
	k->mode = fd < 0 ? Link::Mode::none : Link::Mode::settling;
	evbuffer_unfreeze(bev->input, 0);
	evbuffer_unfreeze(bev->output, 1);
	assign(&bev->ev_read, bev, fd, EV_READ, fd < 0 ? k->plain_read : read_then_settle);
	assign(&bev->ev_write, bev, fd, EV_WRITE, fd < 0 ? k->plain_write : write_then_settle);
	if (fd >= 0)
		bufferevent_enable(bev, bev->enabled);
}

} // namespace sigevec::glue
