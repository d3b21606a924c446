// SPDX-License-Identifier: MIT
#include "source/mq.hpp"

#include "channel/bell.hpp"
#include "channel/channel.hpp"
#include "runtime/syscalls.hpp"
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

// The registration goes, and the kernel says so in the socket: whoever reads that ends the wait, unless a message was quicker. Had
// the program closed the queue, the registration would be gone; so the number still is the queue's.
bool cancel(Wait *w, bool destroy)
{
	inner::collect(w->channel);
	uint32_t flag = destroy ? source::ended : source::cancelled;
	if ((w->flags.fetch_or(flag, std::memory_order_acq_rel) & (source::queued | flag)) != 0)
		return false;
	syscall(SYS_mq_notify, w->queue, nullptr);
	inner::collect(w->channel);
	return true;
}

constexpr source::Kind registration = {tell, nullptr, cancel, nullptr, true};

void removed(Wait *w)
{
	if ((w->flags.load(std::memory_order_acquire) & source::cancelled) != 0)
		source::finish(w, -ECANCELED);
	else
		source::give_up(w);
}

void take_cookie(const Cookie &cookie)
{
	Wait *w = source::find(cookie.handle);
	if (w == nullptr)
		return;
	// The socket sees each registration end once.
	if (w->kind == &registration && (w->flags.fetch_or(source::queued, std::memory_order_acq_rel) & source::queued) == 0) {
		if (cookie.event == event_message)
			source::finish(w, 0);
		else
			removed(w);
	}
	source::release(w);
}

void ready(Wait *socket)
{
	Cookie cookie;
	struct sockaddr_nl from = {};
	socklen_t length = sizeof from;
	while (bell::is_ours(socket->fd) &&
	       syscall(SYS_recvfrom, socket->fd, &cookie, sizeof cookie, MSG_DONTWAIT, &from, &length) == sizeof cookie) {
		if (from.nl_pid != 0)
			continue; // not the kernel
		socket->count.fetch_sub(1, std::memory_order_relaxed);
		take_cookie(cookie);
	}
}

// The socket has no event, and needs no room; its one reference goes with the channel.
bool cancel_socket(Wait *w, bool)
{
	if ((w->flags.fetch_or(source::ended, std::memory_order_acq_rel) & source::ended) == 0)
		source::release(w);
	return false;
}

constexpr source::Kind netlink_socket = {nullptr, nullptr, cancel_socket, ready, false};

Wait *usable_socket(const Channel *c)
{
	for (uint32_t i = 0; i < source::size(); i++) {
		Wait *w = source::hold(i);
		if (w == nullptr)
			continue;
		if (w->channel == c && w->kind == &netlink_socket && w->count.load(std::memory_order_relaxed) < most_in_socket)
			return w;
		source::release(w);
	}
	return nullptr;
}

// With a reference for the caller. nullptr: errno.
Wait *make_socket(Channel *c)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	Wait *w = fd >= 0 ? source::create(&netlink_socket, c, {}) : nullptr;
	if (w == nullptr) {
		int error = fd >= 0 ? ENOMEM : errno;
		if (fd >= 0)
			sys::close(fd);
		errno = error;
		return nullptr;
	}
	w->fd = fd;
	Wait *mine = source::find(source::handle(w));
	if (int error = inner::add(w); error != 0) {
		cancel_socket(w, true);
		source::release(mine);
		errno = error;
		return nullptr;
	}
	return mine;
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

int notify_with_room(mqd_t queue, Channel *c, const struct sigevent &e)
{
	Wait *socket = usable_socket(c);
	if (socket == nullptr && (socket = make_socket(c)) == nullptr)
		return errno;
	Wait *w = bell::is_ours(socket->fd) ? source::create(&registration, c, e.sigev_value) : nullptr;
	int error = ENOMEM;
	if (w != nullptr) {
		w->queue = queue;
		socket->count.fetch_add(1, std::memory_order_relaxed);
		error = registered(queue, w, socket);
		if (error != 0) {
			socket->count.fetch_sub(1, std::memory_order_relaxed);
			source::release(w);
		}
	}
	source::release(socket);
	return error;
}

} // namespace

int notify(mqd_t queue, const struct sigevent &e)
{
	// Registrations that have ended unheard give their room back, in the channel and in its sockets.
	if (Channel *before = channel::find(e.sigev_ec); before != nullptr) {
		inner::collect(before);
		channel::release(before);
	}
	Channel *c = nullptr;
	int error = channel::admit(e.sigev_ec, &c);
	if (error == 0 && (error = notify_with_room(queue, c, e)) != 0)
		channel::retract(c);
	return error;
}

} // namespace sigevec::mq
