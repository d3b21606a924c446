// SPDX-License-Identifier: MIT
#include "source/mq.hpp"

#include "base/memory_order.hpp"
#include "base/shortage.hpp"
#include "base/syscalls.hpp"
#include "channel/reader_fds.hpp"
#include "runtime/helper.hpp"

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

bool describe(Wait *w, event_data_t *d)
{
	d->ev_type = event_type_msq;
	d->ev_un.ev_msq = w->queue;
	source::describe_result(w, d);
	return true;
}

void removed(Wait *w)
{
	if ((w->flags.load(mo::acquire) & source::cancelled) != 0)
		source::finish(w, -ECANCELED);
	else
		source::give_up(w);
}

// The registration goes, and the kernel says so in the socket: whoever reads that ends the wait,
// unless a message was quicker; or this call, should the socket be read no more. Had the program
// closed the queue, the registration would be gone; so the number still is the queue's.
bool cancel(Wait *w, bool destroy)
{
	reader_fds::collect(w->channel);
	uint32_t flag = destroy ? source::ended : source::cancelled;
	if ((w->flags.fetch_or(flag, mo::acq_rel) & source::queued) != 0)
		return false;
	syscall(SYS_mq_notify, w->queue, nullptr);
	reader_fds::collect(w->channel);
	if ((w->flags.fetch_or(source::queued, mo::acq_rel) & source::queued) == 0)
		removed(w);
	return true;
}

// So often refused, a message that is there is given up: the wait ends with what is said of it.
constexpr int most_refusals = 100;

// A message of the kernel's, taken by the helper, in whose table the socket is.
struct Receive : helper::Errand {
	Receive(int s, Cookie *c) : Errand(run_it), socket(s), cookie(c) {}
	static void run_it(Errand *e);
	int socket;
	Cookie *cookie;
	bool received = false;
	int error = 0; // what the kernel goes on saying
};

void Receive::run_it(Errand *e)
{
	auto *r = static_cast<Receive *>(e);
	struct sockaddr_nl from = {};
	socklen_t length = 0;
	int refusals = 0;
	do {
		struct iovec v = {r->cookie, sizeof *r->cookie};
		struct msghdr m = {};
		m.msg_name = &from;
		m.msg_namelen = sizeof from;
		m.msg_iov = &v;
		m.msg_iovlen = 1;
		ssize_t n = sys::recvmsg(r->socket, &m, MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR && ++refusals < most_refusals)
			continue;
		if (refusals == most_refusals)
			r->error = errno;
		if (n != sizeof *r->cookie)
			return;
		length = m.msg_namelen;
	} while (length != sizeof from || from.nl_family != AF_NETLINK ||
		 from.nl_pid != 0); // from anybody but the kernel
	r->received = true;
}

// The socket sees the registration end once.
void ready(Wait *w)
{
	Cookie cookie;
	Receive r(w->fd, &cookie);
	if (!helper::run_inside(&r))
		return;
	if (r.error == 0 && (!r.received || cookie.handle != source::handle(w)))
		return;
	if ((w->flags.fetch_or(source::queued, mo::acq_rel) & source::queued) != 0)
		return;
	if (r.error != 0)
		source::finish(w, -r.error);
	else if (cookie.event == event_message)
		source::finish(w, 0);
	else
		removed(w);
}

constexpr source::Kind registration = {describe, nullptr, cancel, nullptr, ready, true};

// The socket is the registration's own: in the program's table, where the kernel wants its number,
// it is for that long only.
int register_queue(mqd_t queue, Wait *w)
{
	int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return errno == EAFNOSUPPORT ? errno : shortage(errno, EAGAIN);
	w->queue = queue;
	Cookie cookie = {};
	cookie.handle = source::handle(w);
	struct sigevent e = {};
	e.sigev_notify = SIGEV_THREAD;
	e.sigev_signo = fd;
	e.sigev_value.sival_ptr = &cookie;
	long r;
	do
		r = syscall(SYS_mq_notify, queue, &e);
	while (r != 0 && errno == EINTR);
	if (r != 0) {
		int error = errno;
		sys::close(fd);
		return error;
	}
	int error = reader_fds::add(w->channel, fd, handle(w), &w->fd);
	if (error != 0)
		syscall(SYS_mq_notify, queue, nullptr);
	return error;
}

} // namespace

int notify(mqd_t queue, const struct sigevent &e)
{
	return source::submit(&registration, e.sigev_ec, e.sigev_value,
			      [=](Wait *w) { return register_queue(queue, w); });
}

} // namespace sigevec::mq
