// SPDX-License-Identifier: MIT
#include "runtime/packet.hpp"

#include "runtime/syscalls.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <sched.h>
#include <sys/socket.h>

namespace sigevec::helper {

namespace {

// What a sender wrote before it sent is seen by the receiver. The socket sees to that in the kernel; this says it in the
// language's terms: each send is a release, each receipt an acquire of all sends before it.
std::atomic<uint32_t> sends{0};

union Control {
	struct cmsghdr aligned;
	char space[CMSG_SPACE(most_packets * sizeof(int))];
};

void attach(struct msghdr *m, Control *control, const int *fds, unsigned count)
{
	size_t size = count * sizeof(int);
	m->msg_control = control;
	m->msg_controllen = CMSG_SPACE(size);
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(c), fds, size);
}

} // namespace

Sent send(int tx, const Packet *p, const int *fds, unsigned count)
{
	struct iovec v = {const_cast<Packet *>(p), count * sizeof *p};
	Control control;
	struct msghdr m = {};
	m.msg_iov = &v;
	m.msg_iovlen = 1;
	if (fds != nullptr)
		attach(&m, &control, fds, count);
	sends.fetch_add(1, std::memory_order_release);
	for (;;) {
		if (sys::sendmsg(tx, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return Sent::yes;
		// The queue is full, or too many descriptors of this user are on their way: the helper is at work on both.
		if (errno == EAGAIN || errno == ETOOMANYREFS || errno == ENOBUFS)
			sched_yield();
		else if (errno != EINTR)
			return errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN ? Sent::lost : Sent::no;
	}
}

unsigned receive(int rx, Packet *p, int *fds, unsigned most, bool wait)
{
	struct iovec v = {p, most * sizeof *p};
	Control control;
	struct msghdr m = {};
	m.msg_iov = &v;
	m.msg_iovlen = 1;
	m.msg_control = &control;
	m.msg_controllen = sizeof control;
	ssize_t n = sys::recvmsg(rx, &m, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
	if (n < static_cast<ssize_t>(sizeof *p)) {
		if (n >= 0)
			errno = 0;
		return 0;
	}
	sends.load(std::memory_order_acquire);
	auto count = static_cast<unsigned>(static_cast<size_t>(n) / sizeof *p);
	for (unsigned i = 0; i < count; i++)
		fds[i] = -1;
	// Fewer than were sent when this table of descriptors is full.
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (c != nullptr && c->cmsg_type == SCM_RIGHTS)
		memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	return count;
}

} // namespace sigevec::helper
