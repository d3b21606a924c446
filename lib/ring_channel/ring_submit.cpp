// SPDX-License-Identifier: MIT
//
// Into the ring: whether a call is one for a ring, its operation, and its place behind others.
#include "ring_channel/ring_use.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "channel/queue.hpp"
#include "channel/wakeup.hpp"
#include "dma/request.hpp"
#include "dma/zero_copy.hpp"
#include "engine/carrier.hpp"
#include "request/stats_detail.hpp"
#include "request/stream.hpp"
#include "runtime/probes.hpp"
#include "uring.h"

#include <cerrno>
#include <poll.h>

namespace sigevec::ring_channel {

namespace {

// The ring of a channel, if this thread is its owner; made at the first use. nullptr: the channel
// has none (any more).
RingState *own(Channel *c)
{
	RingState *s = c->ring_state.load(mo::relaxed);
	if (s != nullptr && s->owner == this_thread() && !s->ring.lost())
		return s;
	if (s != nullptr)
		leave(c);
	else if (!c->without_ring && (s = make(c)) != nullptr) {
		c->ring_owner.store(s->owner, mo::relaxed);
		c->ring_state.store(s, mo::release);
		return s;
	}
	c->without_ring = true;
	return nullptr;
}

// What has to be tried at once, or may block, goes the ordinary way.
bool suitable(const Call &call)
{
	if (call.dma.kind == dma::Use::Kind::wait)
		return call.multishot && !call.dma.message && call.message == nullptr &&
		       call.call_flags == 0;
	// What may be worth sending without a copy goes to the driver.
	if (call.dma && (call.dma.remote || call.dma.pieces != 1 || call.vector != nullptr ||
			 call.message != nullptr || call.len >= dma::zero_copy::least))
		return false;
	constexpr int beside = MSG_OOB | MSG_ERRQUEUE, peek_all = MSG_PEEK | MSG_WAITALL;
	if (call.op == Op::recv)
		return (call.call_flags & beside) == 0 &&
		       (call.call_flags & peek_all) != peek_all && call.len != 0;
	// Of these the ring tells what poll() would tell, or the ordinary way is asked when it has
	// told (ring_operation.cpp).
	constexpr int exact = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLRDHUP | POLLERR |
			      POLLHUP | POLLNVAL;
	if (call.op == Op::poll)
		return (call.call_flags & 0xffff & ~exact) == 0;
	return call.op != Op::send || (call.call_flags & MSG_FASTOPEN) == 0;
}

// Whether what was handed over is still under way on the stream.
bool others_before(RingState *s, const Call &call)
{
	bool inward = is_inward(call.op);
	FdState *n = call.op == Op::send || call.op == Op::recv ? fd_state(s, call.fd) : nullptr;
	if (n == nullptr || !n->handed_over[inward])
		return false;
	n->handed_over[inward] = !stream::idle(stream::word_of({n->dev, n->ino, inward}));
	return n->handed_over[inward];
}

// Whether it has to be resolved in the call: an AF_UNIX address always, for the ring would do it
// again whenever there is room; descriptors that travel, where the ring gets the call only later.
bool resolved_in_call(const Channel *c, const Call &call)
{
	return carrier::names_unix(call) ||
	       ((c->flags & EC_BATCH) != 0 && carrier::sends_descriptors(call));
}

// Goes the ordinary way: what comes later on the same file is to stay behind it. Without memory for
// the number's place nothing can be in the ring for it either.
void note_handed_over(RingState *s, const Call &call)
{
	if (call.fd < 0 || call.fd >= most_numbers || !has_place(s, call.fd))
		return;
	FdState *n = &s->fd_states[call.fd];
	bool inward = is_inward(call.op);
	if (n->ino == 0 || n->queue[!inward].empty())
		look_at(call.fd, &n->dev, &n->ino);
	n->handed_over[inward] = true;
}

void submit_now(Channel *c, RingState *s, const Call &call)
{
	submit(s);
	if (call.op != Op::send)
		return;
	// It has ended by now, or is to go on elsewhere: then the descriptor must not say that
	// there is an event.
	reap(c);
	if (s->ready.empty())
		settle(c, s);
}

// With EC_BATCH its file is resolved now all the same.
void start_now(Channel *c, RingState *s, RingOperation *o)
{
	bool until_submitted = (c->flags & EC_BATCH) == 0 || pin(s, o);
	bool sends = o->once;
	start_in_ring(s, o);
	if (until_submitted)
		return;
	submit(s);
	if (sends)
		reap(c); // it may have to be handed over, while the number is its file
}

// MSG_DONTWAIT: it does not wait for its turn either. While there is nothing for who is before it,
// there is nothing for it.
bool waits_in_vain(const RingOperation *o)
{
	bool sends = o->op == Op::send;
	if ((!sends && o->op != Op::recv) || (o->call_flags & MSG_DONTWAIT) == 0)
		return false;
	struct pollfd p = {o->fd, static_cast<short>(sends ? POLLOUT : POLLIN), 0};
	return sys::poll_now(&p) == 0;
}

} // namespace

int start(Channel *c, const Call &call)
{
	RingState *s = c->ring_state.load(mo::relaxed);
	RingOperation *o = make_operation(s, call);
	if (o == nullptr)
		return EAGAIN;
	if (call.dma) {
		o->use = RingOperation::Region::send;
		o->region = call.dma.region;
		o->unit = call.dma.unit[0];
	}
	// What a send could not do at once goes on by itself, not only when the owner looks; and
	// the driver knows better than the ring how to wait for room (driver_streams.cpp).
	o->once = o->op == Op::send && (o->call_flags & MSG_DONTWAIT) == 0;
	// What may go on for long, part by part, holds its file. A descriptor that cannot be held
	// need not be: its error is the event.
	constexpr size_t large = 16384;
	if (o->len >= large &&
	    (o->op == Op::send ? (c->flags & EC_BATCH) != 0 : (o->call_flags & MSG_WAITALL) != 0))
		hold(s, o, nullptr);
	if (o->op == Op::accept)
		prepare_to_accept(s, o);
	if (o->op == Op::connect || o->stream)
		look_at(o->fd, &o->dev, &o->ino);
	int error;
	bool first = enter_queue(c, o, &error);
	if (error != 0) {
		o->use = RingOperation::Region::none; // the caller's
		free_operation(s, o);
		return error;
	}
	stats_detail::ring_began(call, o->begun);
	if (!first && waits_in_vain(o)) {
		finish(s, o, -EAGAIN);
		return 0;
	}
	if (o->once && (c->flags & EC_BATCH) != 0)
		look_at(o->fd, &o->dev, &o->ino);
	// What was before it in its queue may have been handed over meanwhile.
	if (first && o->op == Op::send && others_before(s, call)) {
		hand_over(c, o);
		return 0;
	}
	if (first)
		start_now(c, s, o);
	if (o->op == Op::recv && !s->from_device && c->busy_poll.load(mo::relaxed) != 0)
		note_device(c, s, o->fd);
	return 0;
}

namespace {

// What cannot wait in the ring for its turn, since RLIMIT_NOFILE leaves that no table of files,
// waits elsewhere, and all that is before it. -1, or why not.
int go_on_without_ring(Channel *c)
{
	if (!wakeup::install(c))
		return EAGAIN;
	leave(c);
	return -1;
}

// In c's ring, whose credit it has. -1: not for a ring.
int submit_to_ring(Channel *c, const Call &call)
{
	Inside in(c);
	if (c->ending.load(mo::seq_cst))
		return EBADF;
	RingState *s = own(c);
	if (!suitable(call) || resolved_in_call(c, call)) {
		// The ordinary way, behind what has been prepared.
		if (s != nullptr && (c->flags & EC_BATCH) != 0)
			submit_now(c, s, call);
		if (s != nullptr && !s->ring.lost())
			note_handed_over(s, call);
		return -1;
	}
	if (s == nullptr || others_before(s, call))
		return -1;
	bool batch = (c->flags & EC_BATCH) != 0;
	if (s->in_ring == 0 && !channel::still_open(c))
		return EBADF;
	int error = call.dma.kind == dma::Use::Kind::wait ? arm_socket(c, call) : start(c, call);
	if (error != 0)
		return error == cannot_be_held ? go_on_without_ring(c) : error;
	stats::count(stats::requests);
	SIGEVEC_PROBE4(submit, call.cb, static_cast<int>(call.op), call.fd, call.len);
	if (!batch && !s->ring.lost())
		submit_now(c, s, call);
	if (s->ring.lost())
		leave(c); // with this one
	return 0;
}

} // namespace

int submit(const Call &call)
{
	bool in_order = call.op == Op::send && (call.call_flags & MSG_OOB) == 0;
	if (!channel::is_single(call.event.signo) || (!in_order && !suitable(call)))
		return -1;
	// The credit of its event keeps the channel meanwhile.
	Channel *c = nullptr;
	int error = channel::admit(call.event.signo, &c, false);
	if (error == 0) {
		error = (c->flags & EC_SINGLE) != 0 ? submit_to_ring(c, call) : -1;
		if (error == 0)
			channel::count_kept(c);
		else
			channel::return_credit(c);
	}
	// Refused: what it held of a region it holds no longer.
	if (error > 0 && call.dma) {
		dma::Use use = call.dma;
		dma::ended(use, nullptr, -error);
	}
	return error;
}

void flush(Channel *c)
{
	Inside in(c);
	RingState *s = c->ring_state.load(mo::relaxed);
	// From another thread they go on the ordinary way.
	if (c->ending.load(mo::seq_cst) || !is_usable(c, s))
		return;
	submit(s);
	// Sends that have found no room go on elsewhere, while their numbers are their files.
	reap(c);
	if (is_usable(c, s) && s->ready.empty())
		settle(c, s);
}

} // namespace sigevec::ring_channel

#endif
