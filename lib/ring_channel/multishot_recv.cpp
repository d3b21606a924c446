// SPDX-License-Identifier: MIT
//
// Associated sockets in the ring of an EC_SINGLE channel: one multishot receive for each that is
// armed, into buffers that the ring has been lent.
//
// The socket is held among the ring's registered files, so an armed one outlives its number.
// Without a piece to put in a place that the kernel has used (buffer_group.hpp) it runs out, and a
// receive ends; it is `starved', and goes on when there is room again (the receiver says when, see
// dma/receiver.cpp). An arrival whose event has no credit of the channel is parked: it keeps its
// piece, so in the end the kernel runs out, and nothing is lost.
//
// What is in the ring is known to the association (`armed'), under its lock: whoever ends the
// association cancels the receive, by `unwanted' if the ring is another thread's.
#include "ring_channel/buffer_group.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"
#include "channel/queue.hpp"
#include "channel/wakeup.hpp"
#include "dma/association.hpp"
#include "dma/receiver.hpp"
#include "dma/request.hpp"
#include "dma/zero_copy.hpp"

#include <cerrno>
#include <utility>

namespace sigevec::ring_channel {

using dma::Association;
using dma::Region;
namespace association = dma::association;
namespace region = dma::region;

namespace {

Region *region_of(const RingOperation *o)
{
	return region::at(o->region);
}

bool is_unwanted(RingOperation *o)
{
	return std::atomic_ref<bool>(o->unwanted).load(mo::acquire);
}

void start_receiving(RingState *s, RingOperation *o)
{
	struct io_uring_sqe *sqe = get_sqe(s);
	io_uring_prep_recv_multishot(sqe, -1, nullptr, 0, 0);
	name_file(s, sqe, o);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = o->group->id;
	sqe->user_data = reinterpret_cast<uint64_t>(o);
	o->state = RingOperation::State::in_ring;
	s->in_ring++;
}

// With the lock of the association held: whether o is armed for it.
bool is_armed(const association::Remembered &a, const RingOperation *o)
{
	return a && a->armed == o;
}

} // namespace

// Its socket the ring holds: what becomes of the number is nothing to it.
bool still_armed(const RingOperation *o)
{
	return is_armed(association::Remembered(o->place), o);
}

namespace {

// The kernel has run out of pieces: when there is room the receiver signals the channel. Whoever
// makes room after this says so; it is to be looked for once more, against who has made it before.
void starve(RingOperation *o)
{
	o->starved = true;
	association::Remembered a(o->place);
	if (!is_armed(a, o))
		return;
	a->paused = true;
	dma::receiver::note_pause();
	region_of(o)->pieces.wait_for_room();
}

// The association forgets o.
void leave_association(RingOperation *o)
{
	association::Remembered a(o->place);
	if (!is_armed(a, o))
		return;
	a->armed = nullptr;
	a->paused = false;
	association::let_go(a.get());
}

void go_on(RingState *s, RingOperation *o)
{
	o->starved = false;
	if (o->cancelled || !still_armed(o))
		finish(s, o, -ECANCELED);
	else
		start_receiving(s, o);
}

void park(RingState *s, RingOperation *o)
{
	o->state = RingOperation::State::ready;
	o->parked = true;
	s->parked.push(o);
}

// The first that is parked has got a credit.
void unpark(RingState *s)
{
	RingOperation *o = s->parked.pop();
	o->parked = false;
	put_ready(s, o);
}

// A piece with n bytes in it, for an event.
void deliver(Channel *c, RingState *s, RingOperation *o, char *p, size_t n)
{
	if (s->free == nullptr && !grow(s)) {
		region_of(o)->pieces.discard(p, o->len);
		std::atomic_ref<bool>(o->unwanted)
			.store(true, mo::relaxed); // it ends: something is missing
		return;
	}
	RingOperation *x = s->free;
	s->free = x->next;
	*x = {};
	x->use = RingOperation::Region::arrival;
	x->region = o->region;
	x->fd = o->fd;
	x->op = Op::recv;
	x->data = o->data;
	x->detached = true;
	x->buf = p;
	x->len = o->len;
	x->result = static_cast<ssize_t>(n);
	region::add_request(region_of(x)); // until the event has been read
	if (s->parked.empty() && channel::admit_another(c))
		put_ready(s, x);
	else
		park(s, x);
}

} // namespace

void completed(Channel *c, RingState *s, RingOperation *o, ssize_t n, unsigned flags)
{
	bool more = (flags & IORING_CQE_F_MORE) != 0;
	if (!more) {
		s->in_ring--;
		o->state = RingOperation::State::waiting;
	}
	if ((flags & IORING_CQE_F_BUFFER) != 0) {
		char *p = buffer_group::take(o->group, flags >> IORING_CQE_BUFFER_SHIFT);
		if (n > 0)
			deliver(c, s, o, p, static_cast<size_t>(n));
		else
			region_of(o)->pieces.discard(p, o->len);
	}
	if (more && is_unwanted(o) && !o->cancelled)
		cancel_in_ring(s, o);
	if (more)
		return;
	bool interrupted = n == -EINTR || n == -ECANCELED;
	if (o->cancelled && (interrupted || n > 0 || n == -ENOBUFS))
		finish(s, o, -ECANCELED);
	else if (n == -ENOBUFS && o->group->lent == 0) {
		region_of(o)->full.fetch_add(1, mo::relaxed);
		starve(o);
		buffer_group::refill(o->group);
		if (o->group->lent != 0)
			go_on(s, o);
	} else if (n > 0 || n == -ENOBUFS || interrupted)
		go_on(s, o);
	else if (n == -EINVAL) {
		s->no_buffer_groups = true; // a kernel without it
		region_ended(s, o, n);
		submit_again(c, o);
		channel::return_credit(c); // it has got one once more
		free_operation(s, o);
	} else
		finish(s, o, n);
}

namespace {

// False: none lacks a piece.
bool lend_again(RingState *s)
{
	bool lacking = false;
	for (BufferGroup *l = s->buffer_groups; l != nullptr; l = l->next)
		if (l->lent < l->entries) {
			buffer_group::refill(l);
			lacking = true;
		}
	return lacking;
}

bool stays_starved(RingOperation *o)
{
	return o->starved && o->group->lent == 0 && !o->cancelled && !is_unwanted(o);
}

} // namespace

void region_step(Channel *c, RingState *s)
{
	while (!s->parked.empty() && channel::admit_another(c))
		unpark(s);
	if (!lend_again(s))
		return;
	bool some = false;
	each(s, [&](RingOperation *o) {
		if (stays_starved(o)) {
			starve(o);
			some = true;
		}
	});
	if (some)
		lend_again(s);
	each(s, [&](RingOperation *o) {
		if (o->starved && !stays_starved(o))
			go_on(s, o);
	});
}

// Its credit goes to the first that has waited longer, so that there is always one who goes on.
void put_last(RingState *s, RingOperation *o)
{
	park(s, o);
	unpark(s);
}

void look_for_unwanted(RingState *s)
{
	each(s, [&](RingOperation *o) {
		if (o->use != RingOperation::Region::armed || !is_unwanted(o) || o->cancelled)
			return;
		if (o->state == RingOperation::State::in_ring)
			cancel_in_ring(s, o);
		else
			o->cancelled = true;
	});
}

void end_armed(Channel *c, void *armed)
{
	auto *o = static_cast<RingOperation *>(armed);
	std::atomic_ref<bool>(o->unwanted).store(true, mo::release);
	if (c->ring_state.load(mo::acquire) == nullptr)
		return;
	if (!is_own(c)) {
		channel::signal(c);
		wakeup::signal_owner(c);
		return;
	}
	RingState *s = c->ring_state.load(mo::relaxed);
	if (o->state == RingOperation::State::in_ring)
		cancel_in_ring(s, o);
	submit(s);
}

void region_ended(RingState *s, RingOperation *o, ssize_t result)
{
	switch (o->use) {
	case RingOperation::Region::send: {
		dma::Use use{};
		use.kind = dma::Use::Kind::send;
		use.region = o->region;
		use.pieces = 1;
		use.unit[0] = o->unit;
		dma::ended(use, nullptr, result);
		break;
	}
	case RingOperation::Region::armed: {
		leave_association(o);
		let_go(s, o);
		// The group may be gone now, and o stays until its event has been read.
		o->starved = false;
		buffer_group::leave(s, std::exchange(o->group, nullptr));
		region::remove_request(region_of(o));
		break;
	}
	case RingOperation::Region::arrival:
		region_of(o)->pieces.discard(static_cast<char *>(o->buf), o->len);
		region::remove_request(region_of(o));
		break;
	default:
		break;
	}
	if (o->use != RingOperation::Region::armed)
		o->use = RingOperation::Region::none;
	else
		o->use = RingOperation::Region::disarmed;
}

void give_arrival(RingOperation *o)
{
	auto n = static_cast<size_t>(o->result);
	region_of(o)->pieces.give(static_cast<char *>(o->buf), o->len, n, false);
	region_of(o)->received.fetch_add(n, mo::relaxed);
	region::remove_request(region_of(o));
	o->use = RingOperation::Region::given;
}

void describe_region(const RingOperation *o, event_data_t *d)
{
	d->ev_type = event_type_dma;
	d->ev_un.ev_dma.fd = o->fd;
	bool piece = o->use == RingOperation::Region::given;
	d->ev_un.ev_dma.mem =
		piece ? reinterpret_cast<dma_mem_t>(region_of(o)->handle.load(mo::relaxed))
		      : nullptr;
	d->ev_un.ev_dma.buf = piece ? o->buf : nullptr;
}

// What the ordinary way needs to know.
void call_region(RingOperation *o, Call *call)
{
	if (o->use == RingOperation::Region::send) {
		call->dma.kind = dma::Use::Kind::send;
		call->dma.region = o->region;
		call->dma.pieces = 1;
		call->dma.unit[0] = o->unit;
	} else if (call->op != Op::event) {
		call->dma.kind = dma::Use::Kind::wait;
		call->dma.size = o->len;
		call->dma.region = dma::no_region;
		call->multishot = true;
		call->len = 0;
	} else {
		if (o->use == RingOperation::Region::arrival)
			give_arrival(o);
		call->dma.kind = dma::Use::Kind::arrival;
		call->dma.region = dma::no_region;
		call->dma.piece = o->use == RingOperation::Region::given
					  ? static_cast<char *>(o->buf)
					  : nullptr;
	}
	o->use = RingOperation::Region::none;
}

int arm_socket(Channel *c, const Call &call)
{
	RingState *s = c->ring_state.load(mo::relaxed);
	association::Locked a(call.fd);
	if (!a || !a->stream || a->latest || a->region_count != 1 || a->queue_count != 0 ||
	    !a->waiting.empty() || a->armed != nullptr || a->notify != nullptr ||
	    a->blocked != nullptr || a->error != 0)
		return -1;
	Region *r = region::at(a->regions[0]);
	// It is received by the attachment's ring.
	if (r->attached.load(mo::acquire) != 0)
		return -1;
	BufferGroup *l = buffer_group::find(s, r, call.dma.size);
	RingOperation *o = l != nullptr ? make_operation(s, call) : nullptr;
	// Without room the kernel lets go of the socket, which may have lost its number by then.
	if (o == nullptr || !hold(s, o, nullptr) || !association::still_there(a.get())) {
		if (o != nullptr)
			free_operation(s, o);
		if (l != nullptr)
			buffer_group::end_if_unused(s, l);
		return -1;
	}
	o->detached = true;
	o->use = RingOperation::Region::armed;
	o->region = static_cast<uint16_t>(region::index_of(r));
	o->group = l;
	o->place = association::place_of(a.get());
	o->len = call.dma.size;
	l->users++;
	region::add_request(r);
	a->armed = o;
	a->armed_in = c;
	start_receiving(s, o);
	return 0;
}

} // namespace sigevec::ring_channel

#endif
