// SPDX-License-Identifier: MIT
//
// Accepts in a channel's ring.
//
// An accept that waits in a ring waits exclusively: the kernel wakes it instead of somebody else
// who waits for the same socket, and nobody takes the connection if its owner makes no call then,
// has cancelled it, or has left the ring. So what waits here is a poll, which is woken beside all
// others and takes nothing. The accept itself is submitted when there is something, and never waits
// (IORING_ACCEPT_DONTWAIT, Linux 6.10): it is carried out within a call of the owner's, or not at
// all.
//
// A multishot accept has a credit of its own, for its last event. The operation that is to tell of
// the next connection is taken, with its credit, before that is accepted: without one the
// connection stays in the backlog. Meanwhile it is in `buf', which an accept does not need, and is
// counted nowhere else.
#include "ring_channel/ring_channel.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"
#include "base/socket_option.hpp"
#include "base/syscalls.hpp"
#include "channel/queue.hpp"
#include "request/stats_detail.hpp"
#include "runtime/probes.hpp"
#include "uring.h"

#include <cerrno>
#include <poll.h>
#include <utility>

namespace sigevec::ring_channel {

namespace {

// Whether the kernel knows IORING_ACCEPT_DONTWAIT: then EINVAL is the socket's answer.
std::atomic<bool> kernel_accepts{false};

// False: it waits for a credit, or memory.
bool reserve(Channel *c, RingState *s, RingOperation *o)
{
	if (!o->multishot || o->buf != nullptr)
		return true;
	if ((s->free == nullptr && !grow(s)) || !channel::admit_another(c)) {
		o->starved_of_credit = s->accept_starved = true;
		return false;
	}
	o->buf = s->free;
	s->free = s->free->next;
	return true;
}

void give_back_reserved(Channel *c, RingState *s, RingOperation *o)
{
	RingOperation *x = take_reserved(o);
	if (x == nullptr)
		return;
	x->next = s->free;
	s->free = x;
	channel::return_credit(c);
}

void wait_for_connection(RingState *s, RingOperation *o)
{
	o->polling = true;
	restart(s, o);
}

void take_connection(Channel *c, RingState *s, RingOperation *o)
{
	o->starved_of_credit = false;
	o->polling = false;
	if (o->cancelled || !still_there(s, o))
		finish(s, o, -ECANCELED);
	else if (reserve(c, s, o))
		start_in_ring(s, o);
}

// The event of a connection of a multishot accept.
void deliver(RingState *s, RingOperation *o, ssize_t connection)
{
	RingOperation *x = take_reserved(o);
	*x = {};
	x->op = Op::accept;
	x->fd = o->fd;
	x->data = o->data;
	x->detached = true;
	x->multishot = true;
	x->result = connection;
	stats::count(stats::uring_done);
	stats::count(stats::completions);
	SIGEVEC_PROBE4(complete, nullptr, static_cast<int>(o->op), connection,
		       static_cast<int>(stats_file::By::uring));
	put_ready(s, x);
}

void poll_ended(Channel *c, RingState *s, RingOperation *o, ssize_t n)
{
	// A local socket that has been shut down says so only to those who may wait.
	constexpr ssize_t unusual = POLLRDHUP | POLLHUP | POLLERR;
	if ((n < 0 || (n & unusual) != 0) && !o->cancelled && still_there(s, o))
		hand_over(c, o);
	else
		take_connection(c, s, o);
}

// more: the kernel has seen a further one.
void accepted(Channel *c, RingState *s, RingOperation *o, ssize_t connection, bool more)
{
	kernel_accepts.store(true, mo::relaxed);
	// A multishot one that was not listening when it was begun has no credit yet.
	if (o->multishot && o->buf == nullptr && !reserve(c, s, o))
		o->multishot = false;
	if (!o->multishot) {
		finish(s, o, connection);
		return;
	}
	deliver(s, o, connection);
	if (more)
		take_connection(c, s, o);
	else
		wait_for_connection(s, o);
}

// The accept, or the poll before it, has not been carried out.
void failed(Channel *c, RingState *s, RingOperation *o, ssize_t n)
{
	give_back_reserved(c, s, o);
	if (n == -EAGAIN)
		kernel_accepts.store(true, mo::relaxed);
	if (o->cancelled && (n == -EAGAIN || n == -ECANCELED || n == -EINTR))
		finish(s, o, -ECANCELED);
	else if (n == -EAGAIN || n == -ECANCELED || n == -EINTR)
		wait_for_connection(s, o);
	else if (n == -EINVAL && !kernel_accepts.load(mo::relaxed) && !o->cancelled)
		hand_over(c, o);
	else
		finish(s, o, n);
}

} // namespace

RingOperation *take_reserved(RingOperation *o)
{
	return o->op == Op::accept ? static_cast<RingOperation *>(std::exchange(o->buf, nullptr))
				   : nullptr;
}

void close_accepted(const RingOperation *o)
{
	if (o->op == Op::accept && o->state == RingOperation::State::ready && o->result >= 0)
		sys::close(static_cast<int>(o->result));
}

void prepare_to_accept(RingState *s, RingOperation *o)
{
	o->buf = nullptr;
	// What listens not at all says so at once; the first connection of a multishot accept needs
	// a credit, which is taken when there is one.
	o->polling = o->multishot && socket_option(o->fd, SO_ACCEPTCONN) == 1;
	// It goes on after many others, also when its number is another file's.
	if (!hold(s, o, nullptr))
		look_at(o->fd, &o->dev, &o->ino);
}

void prepare_accept(struct io_uring_sqe *sqe, const RingOperation *o)
{
	if (o->polling) {
		io_uring_prep_poll_add(sqe, -1, POLLIN | POLLRDHUP);
		return;
	}
	io_uring_prep_accept(sqe, -1, nullptr, nullptr, o->call_flags);
	sqe->ioprio |= IORING_ACCEPT_DONTWAIT;
}

void accept_ended(Channel *c, RingState *s, RingOperation *o, ssize_t n, unsigned flags)
{
	if (o->polling && n != -ECANCELED && n != -EINTR)
		poll_ended(c, s, o, n);
	else if (!o->polling && n >= 0)
		accepted(c, s, o, n, (flags & IORING_CQE_F_SOCK_NONEMPTY) != 0);
	else
		failed(c, s, o, n);
}

void accept_step(Channel *c, RingState *s)
{
	if (channel::full(c))
		return;
	s->accept_starved = false;
	each(s, [&](RingOperation *o) {
		if (o->starved_of_credit && o->state == RingOperation::State::waiting)
			take_connection(c, s, o);
	});
}

} // namespace sigevec::ring_channel

#endif
