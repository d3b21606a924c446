// SPDX-License-Identifier: MIT
//
// Whose a link's descriptor is. libevent has it where the channel is no use (what is no socket, or
// nothing at all), and until a connection stands: the state "connecting" is libevent's own, and
// ends in its function for writing. That function is called by one of ours, which takes the
// descriptor back.
#include "glue/link.hpp"

#include <cerrno>
#include <event2/buffer.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace sigevec::glue {

namespace {

constexpr short keeps = EV_PERSIST | EV_FINALIZE;

void assign(struct event *ev, struct bufferevent *bev, evutil_socket_t fd, short what,
	    event_callback_fn f)
{
	int priority = event_get_priority(ev);
	event_del(ev);
	event_assign(ev, bev->ev_base, fd, static_cast<short>(what | keeps), f, bev);
	event_priority_set(ev, priority);
}

// Gives both events the functions and the waits of a mode; what was added is added again, in the
// same order.
void enter(Link *k, Link::Mode mode, event_callback_fn read, event_callback_fn write)
{
	struct bufferevent *bev = k->bev;
	bool channel = mode == Link::Mode::channel;
	bool write_too = event_pending(&bev->ev_write, EV_WRITE, nullptr) != 0;
	k->mode = mode;
	k->write_active = k->put_off = false;
	assign(&bev->ev_read, bev, k->fd, EV_READ, read);
	assign(&bev->ev_write, bev, channel ? -1 : k->fd, EV_WRITE, write);
	bool read_first = k->read_first;
	if (k->reading && !read_first)
		bev->be_ops->enable(bev, EV_READ);
	if (write_too)
		bev->be_ops->enable(bev, EV_WRITE);
	if (k->reading && read_first)
		bev->be_ops->enable(bev, EV_READ);
	k->read_first = read_first;
}

void enter_channel(Link *k)
{
	enter(k, Link::Mode::channel, read_ready, write_ready);
	mark(k);
}

// 0, or why it is not.
int not_connected(evutil_socket_t fd)
{
	struct sockaddr_storage peer;
	socklen_t n = sizeof peer;
	return getpeername(fd, reinterpret_cast<struct sockaddr *>(&peer), &n) == 0 ? 0 : errno;
}

// libevent's own function; after it the channel takes over if the connection stands. What still
// waits to write has not found out.
void then_settle(short what, struct bufferevent *bev, event_callback_fn Link::*plain)
{
	Link *k = link_of(bev);
	(k->*plain)(k->fd, what, bev);
	LockedBev locked(bev);
	bool early =
		plain == &Link::plain_read && event_pending(&bev->ev_write, EV_WRITE, nullptr) != 0;
	if (!early && !k->unlinked && k->mode == Link::Mode::settling && not_connected(k->fd) == 0)
		enter_channel(k);
}

void write_then_settle(evutil_socket_t, short what, void *arg)
{
	then_settle(what, static_cast<struct bufferevent *>(arg), &Link::plain_write);
}

void read_then_settle(evutil_socket_t, short what, void *arg)
{
	then_settle(what, static_cast<struct bufferevent *>(arg), &Link::plain_read);
}

// -1: it is no socket.
int option(evutil_socket_t fd, int which)
{
	int value = -1;
	socklen_t n = sizeof value;
	return getsockopt(fd, SOL_SOCKET, which, &value, &n) == 0 ? value : -1;
}

} // namespace

// Of what is connected there is one thing to ask.
void use(Link *k, evutil_socket_t fd)
{
	let_go_of(k->loop, fd);
	k->fd = fd;
	k->tcp = k->blocks = -1;
	k->written = false;
	int why = fd < 0 ? 0 : not_connected(fd);
	if (fd < 0)
		enter(k, Link::Mode::none, k->plain_read, k->plain_write);
	else if (why == 0 || (why == ENOTCONN && option(fd, SO_TYPE) == SOCK_DGRAM))
		enter_channel(k);
	else if (why == ENOTSOCK || why == EBADF)
		enter(k, Link::Mode::plain, k->plain_read, k->plain_write);
	else
		enter(k, Link::Mode::settling, read_then_settle, write_then_settle);
}

bool is_tcp(Link *k)
{
	if (k->tcp < 0)
		k->tcp = option(k->fd, SO_PROTOCOL) == IPPROTO_TCP ? 1 : 0;
	return k->tcp != 0;
}

bool blocks(Link *k)
{
	if (k->blocks < 0)
		k->blocks = (fcntl(k->fd, F_GETFL) & O_NONBLOCK) == 0 ? 1 : 0;
	return k->blocks != 0;
}

// libevent's own function does all of it, but enables nothing, and asks whether the table is its
// own.
void exchange(Link *k, evutil_socket_t fd)
{
	struct bufferevent *bev = k->bev;
	union bufferevent_ctrl_data data;
	data.fd = fd;
	abandon(k);
	hand_over(k->loop);
	short enabled = bev->enabled;
	bev->enabled = 0;
	bev->be_ops = k->plain;
	k->plain->ctrl(bev, bufferevents::set_fd, &data);
	bev->be_ops = &k->ops;
	bev->enabled = enabled;
	k->reading = false;
	use(k, fd);
	if (fd >= 0)
		bufferevent_enable(bev, enabled);
}

void make_plain(Link *k)
{
	abandon(k);
	enter(k, Link::Mode::plain, k->plain_read, k->plain_write);
}

} // namespace sigevec::glue
