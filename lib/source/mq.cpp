// SPDX-License-Identifier: MIT
#include "source/mq.hpp"

#include "channel/bell.hpp"
#include "runtime/syscalls.hpp"
#include "source/index.hpp"
#include "source/inner.hpp"

#include <cerrno>
#include <cstring>
#include <linux/netlink.h>

namespace sigevec::mq {

namespace {

using source::Wait;

// What the kernel keeps of a registration. It writes into the last byte what has happened.
struct Cookie {
	uint64_t handle;
	char unused[23];
	char event;
};
static_assert(sizeof(Cookie) == 32);
constexpr char event_message = 1; // the other event is its removal

// The kernel charges each registration to the socket's buffer, and mq_notify would block when that is full: less than 1 KiB
// of the usual 208 KiB each. Beyond this many the channel gets another socket.
constexpr uint64_t most_in_socket = 128;

bool tell(Wait *w, event_data_t *d)
{
	d->ev_type = event_type_msq;
	d->ev_un.ev_msq = w->queue;
	source::tell_result(w, d);
	return true;
}

void removed(Wait *w)
{
	if ((w->flags.load(std::memory_order_acquire) & source::cancelled) != 0)
		source::finish(w, -ECANCELED);
	else
		source::give_up(w);
}

// The registration goes, and the kernel says so in the socket: whoever reads that ends the wait, unless a message was quicker; or this
// call, should the socket be read no more. Had the program closed the queue, the registration would be gone; so the number still is the queue's.
bool cancel(Wait *w, bool destroy)
{
	inner::collect(w->channel);
	uint32_t flag = destroy ? source::ended : source::cancelled;
	if ((w->flags.fetch_or(flag, std::memory_order_acq_rel) & source::queued) != 0)
		return false;
	syscall(SYS_mq_notify, w->queue, nullptr);
	inner::collect(w->channel);
	if ((w->flags.fetch_or(source::queued, std::memory_order_acq_rel) & source::queued) == 0)
		removed(w);
	return true;
}

constexpr source::Kind registration = {tell, nullptr, cancel, nullptr, nullptr, true};

// What it says is believed as far as it fits: a registration of this channel.
void take_cookie(const Wait *socket, const Cookie &cookie)
{
	Wait *w = source::find(cookie.handle);
	if (w == nullptr)
		return;
	// The socket sees each registration end once.
	if (w->kind == &registration && w->channel == socket->channel &&
	    (w->flags.fetch_or(source::queued, std::memory_order_acq_rel) & source::queued) == 0) {
		if (cookie.event == event_message)
			source::finish(w, 0);
		else
			removed(w);
	}
	source::release(w);
}

void ready(Wait *socket)
{
	for (Cookie cookie; bell::is_ours(socket->fd);) {
		struct sockaddr_nl from = {};
		socklen_t length = sizeof from;
		if (syscall(SYS_recvfrom, socket->fd, &cookie, sizeof cookie, MSG_DONTWAIT, &from, &length) != sizeof cookie)
			return;
		// From anybody but the kernel.
		if (length != sizeof from || from.nl_family != AF_NETLINK || from.nl_pid != 0)
			continue;
		socket->count.fetch_sub(1, std::memory_order_relaxed);
		take_cookie(socket, cookie);
	}
}

// The socket has no event, and needs no room; its one reference goes with the channel.
bool cancel_socket(Wait *w, bool)
{
	source::release(w);
	return false;
}

constexpr source::Kind netlink_socket = {nullptr, nullptr, cancel_socket, nullptr, ready, false};

bool has_place(const Wait *socket)
{
	return socket->kind == &netlink_socket && socket->count.load(std::memory_order_relaxed) < most_in_socket;
}

// With a reference for the caller. 0 or the errno of the call.
int make_socket(Channel *c, Wait **socket)
{
	int fd = inner::own(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
	if (fd < 0)
		return errno;
	Wait *w;
	int error = source::begin_without_room(&netlink_socket, c, &w);
	if (error != 0) {
		sys::close(fd);
		return error;
	}
	w->fd = fd;
	error = inner::add(w);
	if (error != 0) {
		source::release(w);
		source::release(w);
		return error;
	}
	source::hold(w);
	source::publish(w);
	*socket = w;
	return 0;
}

// The same.
int usable_socket(Channel *c, Wait **socket)
{
	*socket = source::index::newest(c, &netlink_socket, has_place);
	return *socket != nullptr ? 0 : make_socket(c, socket);
}

int registered(mqd_t queue, Wait *w, const Wait *socket)
{
	Cookie cookie = {};
	cookie.handle = source::handle(w);
	struct sigevent e = {};
	e.sigev_notify = SIGEV_THREAD;
	e.sigev_signo = socket->fd;
	e.sigev_value.sival_ptr = &cookie;
	return syscall(SYS_mq_notify, queue, &e) == 0 ? 0 : errno;
}

int register_in_socket(mqd_t queue, Wait *w)
{
	Wait *socket;
	int error = usable_socket(w->channel, &socket);
	if (error != 0)
		return error;
	w->queue = queue;
	socket->count.fetch_add(1, std::memory_order_relaxed);
	error = bell::is_ours(socket->fd) ? registered(queue, w, socket) : ENOMEM;
	if (error != 0)
		socket->count.fetch_sub(1, std::memory_order_relaxed);
	source::release(socket);
	return error;
}

} // namespace

int notify(mqd_t queue, const struct sigevent &e)
{
	return source::submit(&registration, e.sigev_ec, e.sigev_value, [=](Wait *w) { return register_in_socket(queue, w); });
}

} // namespace sigevec::mq
