// SPDX-License-Identifier: MIT
//
// The ends of what is in a ring, and the descriptor that tells of them.
//
// Why the descriptor is exact with a ring. The kernel signals the wakeup for what ends while
// `armed' (the ring's eventfd is enabled). A reader that leaves nothing behind drains the wakeup if
// it may have been signalled, arms it, and looks once more: the kernel makes its event visible,
// then looks whether it is to ring; the reader says that it is, then looks for events. While the
// reader sleeps in the ring the wakeup is not armed, for the reader will take what comes.
#include "ring_channel/ring_use.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"
#include "base/uring_queue.hpp"
#include "channel/queue.hpp"
#include "request/stats_detail.hpp"
#include "uring.h"

#include <cerrno>

namespace sigevec::ring_channel {

namespace {

bool kernel_has_something(const RingState *s)
{
	return (IO_URING_READ_ONCE(*s->ring.sq.kflags) &
		(IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

bool ring_has_something(const RingState *s)
{
	return io_uring_cq_ready(&s->ring) != 0 || kernel_has_something(s);
}

// The kernel is not to ring while the reader looks.
void disarm(RingState *s)
{
	if (!s->armed)
		return;
	io_uring_cq_eventfd_toggle(&s->ring, false);
	s->armed = false;
	s->may_ring = s->may_ring || ring_has_something(s);
}

void arm(RingState *s)
{
	io_uring_cq_eventfd_toggle(&s->ring, true);
	s->armed = true;
	// Against the kernel's look at the flag, after it has made its event visible.
	std::atomic_thread_fence(mo::seq_cst);
}

} // namespace

bool ring_gives_something(RingState *s)
{
	if (io_uring_cq_ready(&s->ring) == 0 && kernel_has_something(s))
		submit_and_look(s);
	return io_uring_cq_ready(&s->ring) != 0;
}

bool is_usable(Channel *c, const RingState *s)
{
	if (s == nullptr || (s->owner == this_thread() && !s->ring.lost()))
		return s != nullptr;
	leave(c);
	return false;
}

void settle(Channel *c, RingState *s, Seen seen)
{
	// What came before it was armed the kernel has not signalled for; what came before it was
	// drained, in vain.
	for (bool unheard = false;;) {
		// A reader gives back the credits of what it has found after this.
		bool accept_can_go_on =
			s->accept_starved && (seen != Seen::emptiness || !channel::full(c));
		bool from_ring =
			seen == Seen::emptiness ? ring_gives_something(s) : ring_has_something(s);
		if (from_ring || !s->ready.empty() || !s->parked.empty() || accept_can_go_on ||
		    !channel::queue_empty(c)) {
			// What a reader has left needs no moderation.
			if (!s->armed || unheard || s->coalesce_fd >= 0 ||
			    !(from_ring || s->may_ring))
				channel::signal(c);
			s->may_ring = true;
			return;
		}
		if (s->may_ring || c->signalled.load(mo::seq_cst) != 0) {
			channel::drain(c, seen == Seen::descriptor);
			c->ring_signalled.store(false, mo::seq_cst);
			s->may_ring = false;
			unheard = true;
		} else if (!s->armed) {
			if (s->coalesce_fd < 0 && c->wakeup_fd.load(mo::relaxed) != s->wakeup_fd)
				change_wakeup(c, s); // the program had closed that
			arm(s);
			unheard = true;
		} else
			return;
	}
}

namespace {

void describe(const RingOperation *o, event_data_t *d)
{
	*d = {};
	d->ev_type = event_type_net;
	d->ev_un.ev_fd = o->fd;
	d->ev_result = o->result < 0 ? -1 : o->result;
	d->ev_errno = o->result < 0 ? static_cast<int>(-o->result) : 0;
	d->ev_data = o->data;
	if (o->use != RingOperation::Region::none)
		describe_region(o, d);
}

} // namespace

unsigned take(Channel *c, event_data_t *v, unsigned max)
{
	RingState *s = c->ring_state.load(mo::relaxed);
	reap(c);
	unsigned n = 0;
	while (n < max && !s->ready.empty()) {
		RingOperation *o = s->ready.pop();
		if (o->use == RingOperation::Region::arrival)
			give_arrival(o);
		stats_detail::read(*o);
		describe(o, &v[n++]);
		free_operation(s, o);
	}
	if (n != 0) {
		c->delivered.fetch_add(n, mo::relaxed);
		c->pushed.fetch_add(n, mo::relaxed);
		channel::note_pushed(c, n);
		channel::note_delivered(c, n);
	}
	return n;
}

void watch(Channel *c)
{
	RingState *s = (c->flags & EC_SINGLE) != 0 ? c->ring_state.load(mo::relaxed) : nullptr;
	if (s != nullptr && s->owner != this_thread())
		leave(c);
	else if (s != nullptr && !s->watching) {
		listen_inside(c, s);
		submit(s);
	}
}

namespace {

// What was prepared for a number is handed over before the program has the chance to use the number
// again.
void hand_over_unsafe(Channel *c, RingState *s)
{
	if (s->unsafe == 0)
		return;
	submit(s);
	reap(c);
}

// The first look of a read: hands over what was kept, and, if there is nothing yet, waits with the
// same call. 0, or -EINTR with nothing to be had.
int look_first(Channel *c, RingState *s, bool wait, const Deadline &deadline, bool *slept)
{
	if (io_uring_sq_ready(&s->ring) == 0 && !kernel_has_something(s))
		return 0;
	// What is to be looked for first is handed over before.
	bool idle = c->busy_poll.load(mo::relaxed) == 0 && s->ready.empty() &&
		    io_uring_cq_ready(&s->ring) == 0 && channel::queue_empty(c);
	disarm(s);
	*slept = wait && idle;
	int e = *slept ? await(c, deadline) : enter(c, false, deadline);
	if (e != -EINTR || ring_gives_something(s) || !channel::queue_empty(c))
		return 0;
	settle(c, s, Seen::emptiness);
	return -EINTR;
}

// Waits, or takes once more what the kernel has done. 0: look again; else -ETIMEDOUT or -EINTR.
int wait_once(Channel *c, RingState *s, bool wait, const Deadline &deadline)
{
	disarm(s);
	int seen = wait ? look(c, deadline) : 0;
	bool came = seen > 0;
	int e = -ETIMEDOUT;
	if (seen < 0)
		e = seen;
	else if (wait && !came)
		e = await(c, deadline);
	else if (wait || kernel_has_something(s) || io_uring_sq_ready(&s->ring) != 0)
		e = enter(c, false, deadline);
	if (e >= 0 && came)
		e = gather(c, deadline);
	return e >= 0 && !wait ? -ETIMEDOUT : e; // once more, with what the kernel has done now
}

int next_of_ring(Channel *c, RingState *s, event_data_t *v, unsigned max, bool wait,
		 const Deadline &deadline)
{
	s->checked = false;
	bool slept = false;
	Seen seen = Seen::nothing; // since the last wait
	if (int e = look_first(c, s, wait, deadline, &slept); e != 0)
		return e;
	while (!s->ring.lost()) {
		if (c->ending.load(mo::seq_cst)) {
			end(c);
			return -EBADF;
		}
		if (!s->checked && channel::worth_a_check(c)) {
			if (!channel::check_descriptor(c))
				return -EBADF;
			s->checked = true;
			seen = Seen::descriptor;
		}
		unsigned n = channel::take_queued(c, v, max);
		n += n < max ? take(c, v + n, max - n) : 0;
		if (n != 0) {
			hand_over_unsafe(c, s);
			settle(c, s, seen);
			return static_cast<int>(n);
		}
		// Found empty: now is the time to see whether the program has closed it; but first
		// for a moment what comes from the ring is waited for.
		if (!s->checked && (s->in_ring == 0 || !wait || slept)) {
			if (!channel::check_descriptor(c))
				return -EBADF;
			s->checked = true;
		}
		slept = wait;
		seen = Seen::nothing;
		int e = wait_once(c, s, wait, deadline);
		if (uring_queue::is_shortage(-e))
			continue;
		if (e != 0 && !s->ring.lost() && !ring_gives_something(s) &&
		    channel::queue_empty(c)) {
			if (e == -ETIMEDOUT && !s->checked && !channel::check_descriptor(c))
				return -EBADF;
			if (e == -ETIMEDOUT)
				s->may_ring = true; // the kernel may have been late to ring for
						    // what has been taken
			hand_over_unsafe(c, s);
			settle(c, s, Seen::emptiness);
			return e;
		}
	}
	return 0;
}

} // namespace

int next(Channel *c, event_data_t *v, unsigned max, bool wait, const Deadline &deadline,
	 bool *handled)
{
	Inside in(c);
	*handled = c->ending.load(mo::seq_cst);
	if (*handled)
		return -EBADF;
	RingState *s = c->ring_state.load(mo::relaxed);
	if (!is_usable(c, s))
		return 0;
	int n = next_of_ring(c, s, v, max, wait, deadline);
	*handled = n != 0;
	// A ring that is lost is left; what there was, and what waits, is the ordinary queue's now.
	if (n >= 0 && c->ring_state.load(mo::relaxed) == s)
		is_usable(c, s);
	return n;
}

namespace {

// The ring, and what has ended in it is known; nullptr: it cannot be used. By its owner, inside.
RingState *look_for_ends(Channel *c)
{
	RingState *s = c->ring_state.load(mo::relaxed);
	if (c->ending.load(mo::seq_cst) || !is_usable(c, s))
		return nullptr;
	enter(c, false, Deadline{});
	reap(c);
	return s;
}

} // namespace

unsigned cancel(Channel *c, const void *data)
{
	Inside in(c);
	// What has ended already is not to be cancelled.
	RingState *s = look_for_ends(c);
	if (s == nullptr)
		return 0;
	unsigned found = 0;
	each(s, [&](RingOperation *o) {
		if (o->data != data || o->state == RingOperation::State::ready || o->cancelled)
			return;
		found++;
		o->cancelled = true;
		if (o->state == RingOperation::State::in_ring)
			cancel_in_ring(s, o);
	});
	each(s, [&](RingOperation *o) {
		if (o->cancelled && o->state == RingOperation::State::waiting)
			finish(s, o, -ECANCELED);
	});
	if (found != 0)
		submit(s);
	if (is_usable(c, s))
		settle(c, s);
	return found;
}

unsigned arrived(Channel *c)
{
	// Any thread may ask; only the owner is inside.
	if (!is_own(c))
		return 0;
	Inside in(c);
	RingState *s = look_for_ends(c);
	if (s == nullptr)
		return 0;
	hand_over_unsafe(c, s);
	unsigned n = 0;
	for (RingOperation *o = s->ready.first(); o != nullptr; o = o->next)
		n++;
	settle(c, s);
	return n;
}

} // namespace sigevec::ring_channel

#else // !HAVE_LIBURING

namespace sigevec::ring_channel {

int submit(const Call &)
{
	return -1;
}
int next(Channel *, event_data_t *, unsigned, bool, const Deadline &, bool *handled)
{
	*handled = false;
	return 0;
}
void flush(Channel *)
{
}
unsigned cancel(Channel *, const void *)
{
	return 0;
}
unsigned arrived(Channel *)
{
	return 0;
}
void moderate(Channel *)
{
}
void busy_poll(Channel *)
{
}
void watch(Channel *)
{
}
void end_armed(Channel *, void *)
{
}
void end(Channel *)
{
}
void close_in_child(Channel *)
{
}
void close_spares_in_child()
{
}

} // namespace sigevec::ring_channel

#endif
