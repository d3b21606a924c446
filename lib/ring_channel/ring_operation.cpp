// SPDX-License-Identifier: MIT
//
// An operation's way through the ring: what the kernel is asked for, and what follows from its
// answer.
#include "request/message.hpp"
#include "ring_channel/ring_channel.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"
#include "engine/ring_prepare.hpp"
#include "engine/transfer.hpp"
#include "request/stats_detail.hpp"
#include "runtime/probes.hpp"
#include "uring.h"

#include <cerrno>
#include <poll.h>

namespace sigevec::ring_channel {

namespace {

// A part that the kernel repeats by itself it would not report if the ring had to be left: hence
// never MSG_WAITALL.
int flags_of(const RingOperation *o)
{
	if (o->op == Op::poll)
		return o->call_flags & 0xffff;
	return (o->call_flags & ~MSG_WAITALL) | (o->is_read() ? 0 : MSG_NOSIGNAL) |
	       (o->once ? MSG_DONTWAIT : 0);
}

// A send or receive goes on until it is whole.
bool goes_on(RingOperation *o, ssize_t n)
{
	if (n <= 0 || (o->op != Op::send && o->op != Op::recv) ||
	    (o->call_flags & MSG_DONTWAIT) != 0)
		return false;
	if (o->done + static_cast<size_t>(n) >= o->len || (o->op == Op::recv && !o->stream))
		return false;
	o->done += static_cast<size_t>(n);
	return true;
}

// What next is to end with before it starts, or 0.
ssize_t ends_unstarted(RingState *s, const RingOperation *next)
{
	if (!next->cancelled && still_there(s, next))
		return 0;
	return next->done != 0 ? static_cast<ssize_t>(next->done) : -ECANCELED;
}

} // namespace

void put_ready(RingState *s, RingOperation *o)
{
	o->state = RingOperation::State::ready;
	s->ready.push(o);
}

void start_in_ring(RingState *s, RingOperation *o)
{
	struct io_uring_sqe *sqe = get_sqe(s);
	// A connection that has begun is not begun again: the socket tells its end.
	if (o->op == Op::accept)
		prepare_accept(sqe, o);
	else if (o->op == Op::connect && o->again)
		io_uring_prep_poll_add(sqe, -1, POLLOUT);
	else
		prepare_sqe(sqe, o, -1, flags_of(o));
	name_file(s, sqe, o);
	sqe->user_data = reinterpret_cast<uint64_t>(o);
	o->state = RingOperation::State::in_ring;
	s->in_ring++;
}

void finish(RingState *s, RingOperation *o, ssize_t result)
{
	for (;;) {
		o->result = result;
		stats::count(stats::uring_done);
		stats::count(stats::completions);
		SIGEVEC_PROBE4(complete, nullptr, static_cast<int>(o->op), result,
			       static_cast<int>(stats_file::By::uring));
		stats_detail::ring_ended(o->op, o->begun, result);
		if (result >= 0 && o->message != nullptr) {
			message::fill_caller(o->message);
			if (o->op == Op::recv)
				message::note_received(o->message);
		}
		if (o->use != RingOperation::Region::none)
			region_ended(s, o, result);
		if (o->use == RingOperation::Region::disarmed) {
			put_last(s, o);
			return;
		}
		RingOperation *next = leave_queue(s, o);
		put_ready(s, o);
		if (next == nullptr)
			return;
		if ((result = ends_unstarted(s, next)) == 0) {
			start_in_ring(s, next);
			return;
		}
		o = next;
	}
}

void restart(RingState *s, RingOperation *o)
{
	if (ssize_t result = ends_unstarted(s, o); result != 0)
		finish(s, o, result);
	else
		start_in_ring(s, o);
}

namespace {

// How a connect has ended that the socket has said the end of.
ssize_t connected(int fd)
{
	int error = 0;
	socklen_t size = sizeof error;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)
		return error != 0 ? -error : -errno;
	struct sockaddr_storage peer;
	size = sizeof peer;
	return getpeername(fd, reinterpret_cast<struct sockaddr *>(&peer), &size) != 0 ? -errno : 0;
}

// A send that could not be done at once. Without EC_BATCH it is still in its call; with it the
// program may have closed the number since.
void goes_on_elsewhere(Channel *c, RingState *s, RingOperation *o)
{
	uint64_t dev, ino;
	bool there = (c->flags & EC_BATCH) == 0 ||
		     (look_at(o->fd, &dev, &ino) && dev == o->dev && ino == o->ino);
	if (there)
		hand_over(c, o);
	else if (o->held == nullptr)
		finish(s, o, o->done != 0 ? static_cast<ssize_t>(o->done) : -ECANCELED);
	else {
		o->once = false;
		start_in_ring(s, o);
	}
}

constexpr ssize_t unreported = POLLERR | POLLHUP;

// What poll() would say, of what the ring says: a bit more (POLLRDHUP), or, when something wakes
// it, what the waker says, which may be too much or too little where there are errors. 0: that has
// to be asked.
ssize_t result_of_poll(const RingOperation *o, ssize_t n)
{
	if (n < 0)
		return n == -EBADF || n == -ECANCELED || n == -EINTR ? n : 0;
	ssize_t asked = n & o->call_flags;
	return (n & unreported) == 0 ? asked : 0;
}

void poll_ended(Channel *c, RingState *s, RingOperation *o, ssize_t n)
{
	ssize_t result = result_of_poll(o, n);
	if (result == 0 && !o->cancelled && still_there(s, o)) {
		hand_over_poll(c, o);
		return;
	}
	// Where its number is no more, or another file's, what the ring has said is all that can be
	// said.
	n = n > 0 ? n & (o->call_flags | unreported) : n;
	finish(s, o, result != 0 ? result : n != 0 ? n : -ECANCELED);
}

// A receive that goes on, and a part: what comes next may be the end, or an error, which is to be
// left for the next call. The driver looks first.
void received_part(Channel *c, RingState *s, RingOperation *o)
{
	if (o->cancelled || (o->held == nullptr && !still_there(s, o)))
		finish(s, o, static_cast<ssize_t>(o->done));
	else
		hand_over(c, o);
}

void ended(Channel *c, RingState *s, RingOperation *o, ssize_t n, unsigned flags)
{
	s->in_ring--;
	o->state = RingOperation::State::waiting;
	if (o->op == Op::accept) {
		accept_ended(c, s, o, n, flags);
		return;
	}
	bool disturbed = n == -EINTR || n == -ECANCELED;
	if (o->op == Op::poll && !disturbed) {
		poll_ended(c, s, o, n);
		return;
	}
	if (o->op == Op::recv && goes_on(o, n)) {
		received_part(c, s, o);
		return;
	}
	if (o->op == Op::connect && !o->again && n < 0 && !disturbed && still_there(s, o))
		n = transfer::failed_connect(number_of_file(o), n);
	if (n == -EAGAIN && o->cancelled && o->done == 0) {
		finish(s, o, -ECANCELED);
		return;
	}
	if (o->once && (n == -EAGAIN || goes_on(o, n))) {
		goes_on_elsewhere(c, s, o);
		return;
	}
	if (o->op == Op::connect && (n == -EAGAIN || n == -EALREADY)) {
		hand_over(c, o); // a UNIX socket's backlog is full, or it goes on
		return;
	}
	if (o->cancelled && disturbed && o->op == Op::send && o->done != 0 &&
	    c->ending.load(mo::relaxed))
		hand_over(c, o); // it has begun: the rest goes without the channel
	else if (o->cancelled && disturbed)
		finish(s, o, o->done != 0 ? static_cast<ssize_t>(o->done) : -ECANCELED);
	else if (disturbed || goes_on(o, n)) {
		o->again = true;
		restart(s, o);
	} else {
		if (o->op == Op::connect && o->again && n > 0) {
			n = still_there(s, o) ? connected(number_of_file(o)) : -ECANCELED;
		}
		bool part = o->op == Op::send || o->op == Op::recv;
		finish(s, o,
		       part && o->done != 0 ? static_cast<ssize_t>(o->done) + (n > 0 ? n : 0) : n);
	}
}

void look_for_room(Channel *c, RingState *s)
{
	if (s->buffer_groups != nullptr || !s->parked.empty())
		region_step(c, s);
	if (s->accept_starved && !s->ending)
		accept_step(c, s);
}

void completed_other(Channel *c, RingState *s, uint64_t tag, ssize_t n, bool more)
{
	if (tag == wake_tag) {
		s->listening = more;
		if (!more && !s->ending)
			listen_for_others(c, s);
		// What others have done is looked for after that: who does something now changes
		// the word that is listened to.
		look_for_unwanted(s);
		look_for_room(c, s);
	} else if (tag == reader_fds_tag && !more) {
		s->watching = false;
		if (n >= 0 && !s->ending)
			listen_inside(c, s);
	}
}

void prepare_cancel(RingState *s, RingOperation *o)
{
	struct io_uring_sqe *sqe = get_sqe(s);
	io_uring_prep_cancel64(sqe, reinterpret_cast<uint64_t>(o), 0);
	sqe->user_data = reinterpret_cast<uint64_t>(o) | cancel_mark;
	s->cancels++;
}

// The kernel does not find an operation that is on its way to a thread of the kernel's (a send to a
// full AF_UNIX socket whose peer will send no more): it is looked for again a moment later.
void completed_cancel(RingState *s, RingOperation *o, ssize_t n)
{
	static struct __kernel_timespec moment = {0, 5000000};
	constexpr uint8_t most_attempts = 50;
	s->cancels--;
	if (n != -ENOENT || o->state != RingOperation::State::in_ring || !o->cancelled ||
	    s->ending || o->attempts++ >= most_attempts)
		return;
	if (io_uring_sq_space_left(&s->ring) < 2)
		submit(s);
	struct io_uring_sqe *sqe = get_sqe(s);
	io_uring_prep_timeout(sqe, &moment, 0, 0);
	sqe->flags |= IOSQE_IO_HARDLINK;
	sqe->user_data = cancel_tag;
	prepare_cancel(s, o);
}

} // namespace

void cancel_in_ring(RingState *s, RingOperation *o)
{
	o->cancelled = true;
	prepare_cancel(s, o);
}

void reap(Channel *c)
{
	RingState *s = c->ring_state.load(mo::relaxed);
	struct io_uring_cqe *cqe;
	look_for_room(c, s);
	while (io_uring_cq_ready(&s->ring) != 0 && io_uring_peek_cqe(&s->ring, &cqe) == 0) {
		if (s->armed)
			s->may_ring = true;
		uint64_t tag = cqe->user_data;
		ssize_t n = cqe->res;
		unsigned flags = cqe->flags;
		bool more = (flags & IORING_CQE_F_MORE) != 0;
		io_uring_cqe_seen(&s->ring, cqe);
		auto *o = reinterpret_cast<RingOperation *>(tag & ~cancel_mark);
		if (tag <= reader_fds_tag)
			completed_other(c, s, tag, n, more);
		else if ((tag & cancel_mark) != 0)
			completed_cancel(s, o, n);
		else if (o->use == RingOperation::Region::armed)
			completed(c, s, o, n, flags);
		else
			ended(c, s, o, n, flags);
	}
}

} // namespace sigevec::ring_channel

#endif
