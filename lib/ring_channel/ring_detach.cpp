// SPDX-License-Identifier: MIT
//
// A channel whose ring belongs to another thread, perhaps one that has ended, goes on without it.
//
// The kernel does nothing more for that ring: what is deferred runs only on the owner's calls, and
// the owner makes none. What it has done is in the ring; what it has not done is submitted again,
// if the number still is the file it was.
#include "ring_channel/ring_channel.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"
#include "channel/queue.hpp"
#include "request/stats_detail.hpp"
#include "submit/submit.hpp"

#include <cerrno>

namespace sigevec::ring_channel {

namespace {

Event event_of(Channel *c, const RingOperation *o)
{
	Event e;
	e.notify = SIGEV_EC;
	e.signo = c->fd;
	e.value.sival_ptr = o->data;
	e.channel = c;
	return e;
}

// An end that nobody has read.
void requeue(Channel *c, RingOperation *o)
{
	Call call{};
	call.op = Op::event;
	call.fd = o->fd;
	call.event = event_of(c, o);
	// A connection nobody ever knows of is closed.
	call.multishot = o->op == Op::accept;
	if (o->use == RingOperation::Region::arrival || o->use == RingOperation::Region::disarmed)
		call_region(o, &call);
	if (submit::event(call, o->result) != 0)
		channel::return_credit(c);
}

} // namespace

void submit_again(Channel *c, RingOperation *o)
{
	Call call{};
	static_cast<Operation &>(call) = *o;
	call.fd = number_of_file(o);
	call.event = event_of(c, o);
	call.multishot = o->op == Op::accept && o->multishot;
	if (o->message != nullptr) {
		call.message = &o->message->header;
		call.result = o->message->result;
	}
	if (o->vector != nullptr) {
		call.vector = o->vector->v;
		call.vector_count = o->vector->count;
	}
	if (o->use != RingOperation::Region::none)
		call_region(o, &call);
	// Room for its event if it is refused: a request that was accepted is not lost.
	channel::add_credit(c);
	// It is counted once.
	stats::count(stats::requests, uint64_t(-1));
	stats_detail::ring_left(*o);
	if (submit::start_with_credit(call) == 0) {
		channel::return_credit(c);
		return;
	}
	o->result = -EAGAIN;
	requeue(c, o);
}

namespace {

void move(Channel *c, RingState *s, RingOperation *o)
{
	if (take_reserved(o) != nullptr)
		channel::return_credit(c);
	bool there = o->fd < 0 || (o->held != nullptr ? number_of_file(o) >= 0 : still_there(s, o));
	if (o->use == RingOperation::Region::armed) {
		there = there && still_armed(o);
		region_ended(s, o, 0);
	}
	if (o->state == RingOperation::State::ready)
		requeue(c, o);
	else if (o->state == RingOperation::State::free)
		return;
	else if (o->cancelled || !there) {
		o->result = o->done != 0 ? static_cast<ssize_t>(o->done) : -ECANCELED;
		stats::count(stats::completions);
		stats_detail::ring_ended(o->op, o->begun, o->result);
		requeue(c, o);
	} else
		submit_again(c, o);
}

} // namespace

void hand_over(Channel *c, RingOperation *o)
{
	RingState *s = c->ring_state.load(mo::relaxed);
	FdState *n = &s->fd_states[o->fd];
	const FdQueue &others = n->queue[!is_inward(o->op)];
	if (o->ino != 0 && others.empty()) {
		n->dev = o->dev;
		n->ino = o->ino;
	} else if (n->ino == 0)
		look_at(o->fd, &n->dev, &n->ino);
	n->handed_over[is_inward(o->op)] = true;
	// With what waits behind it, in its order.
	while (o != nullptr) {
		// What has waited behind another may be on a file that has no number any more.
		if (o->held != nullptr && number_of_file(o) < 0) {
			finish(s, o, -ECANCELED);
			return;
		}
		submit_again(c, o);
		o->result = 1;
		RingOperation *next = leave_queue(s, o);
		free_operation(s, o);
		if (next != nullptr && next->cancelled) {
			finish(s, next, -ECANCELED);
			next = nullptr;
		}
		o = next;
	}
}

void hand_over_poll(Channel *c, RingOperation *o)
{
	submit_again(c, o);
	free_operation(c->ring_state.load(mo::relaxed), o);
}

void leave(Channel *c)
{
	RingState *s = c->ring_state.load(mo::relaxed);
	c->without_ring = true;
	reap(c);
	while (RingOperation *o = s->parked.pop()) {
		o->parked = false;
		channel::add_credit(c);
		put_ready(s, o);
	}
	// Ends first, in their order; then what waits, each queue in its order.
	for (RingOperation *o = s->ready.first(); o != nullptr; o = o->next)
		requeue(c, o);
	while (RingOperation *o = s->ready.pop())
		free_operation(s, o);
	for (uint32_t i = 0; i < s->fd_count; i++)
		for (FdQueue &l : s->fd_states[i].queue)
			while (RingOperation *o = l.pop()) {
				move(c, s, o);
				free_operation(s, o);
			}
	each(s, [&](RingOperation *o) {
		move(c, s, o);
		free_operation(s, o);
	});
	// Their credits have gone with them.
	dispose(c);
	channel::signal(c);
}

} // namespace sigevec::ring_channel

#endif
