// SPDX-License-Identifier: MIT
//
// Why the descriptor is exact with a ring. The kernel rings the bell for what ends while `armed'
// (the ring's eventfd is enabled). A reader that leaves nothing behind silences the bell if it may
// have been rung, arms it, and looks once more: the kernel makes its event visible, then looks
// whether it is to ring; the reader says that it is, then looks for events. While the reader sleeps
// in the ring the bell is not armed, for the reader will take what comes.
#include "ring_channel/single.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"
#include "base/uring_queue.hpp"
#include "channel/queue.hpp"
#include "dma/request.hpp"
#include "dma/zero_copy.hpp"
#include "engine/carrier.hpp"
#include "request/meter.hpp"
#include "request/stream.hpp"
#include "runtime/probes.hpp"
#include "uring.h"

#include <cerrno>
#include <poll.h>

namespace sigevec::single {

namespace {

bool kernel_has_something(const Single *s)
{
	return (IO_URING_READ_ONCE(*s->ring.sq.kflags) &
		(IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

bool ring_has_something(const Single *s)
{
	return io_uring_cq_ready(&s->ring) != 0 || kernel_has_something(s);
}

// The kernel is not to ring while the reader looks.
void disarm(Single *s)
{
	if (!s->armed)
		return;
	io_uring_cq_eventfd_toggle(&s->ring, false);
	s->armed = false;
	s->may_ring = s->may_ring || ring_has_something(s);
}

void arm(Single *s)
{
	io_uring_cq_eventfd_toggle(&s->ring, true);
	s->armed = true;
	// Against the kernel's look at the flag, after it has made its event visible.
	std::atomic_thread_fence(mo::seq_cst);
}

// After a read: the descriptor says the truth.
// known: the descriptor has been looked at in this call.
void settle(Channel *c, Single *s, bool known = false)
{
	// What came before it was armed the kernel has not rung for; what came before it was
	// silenced, in vain.
	for (bool unheard = false;;) {
		bool from_ring = ring_has_something(s);
		if (from_ring || s->ready != nullptr || s->parked != nullptr ||
		    !channel::queue_empty(c)) {
			// What a reader has left needs no moderation.
			if (!s->armed || unheard || s->ear >= 0 || !(from_ring || s->may_ring))
				channel::ring_bell(c);
			s->may_ring = true;
			return;
		}
		if (s->may_ring || c->rung.load(mo::seq_cst) != 0) {
			channel::silence_bell(c, known);
			c->heard.store(false, mo::seq_cst);
			s->may_ring = false;
			unheard = true;
		} else if (!s->armed) {
			if (s->ear < 0 && c->bell.load(mo::relaxed) != s->bell)
				change_bell(c, s); // the program had closed that
			arm(s);
			unheard = true;
		} else
			return;
	}
}

void describe(const Operation *o, event_data_t *d)
{
	*d = {};
	d->ev_type = event_type_net;
	d->ev_un.ev_fd = o->fd;
	d->ev_result = o->result < 0 ? -1 : o->result;
	d->ev_errno = o->result < 0 ? static_cast<int>(-o->result) : 0;
	d->ev_data = o->data;
	if (o->use != Operation::Region::none)
		describe_region(o, d);
}

// Who ends the channel leaves the ring to its owner while that is in a call: either the owner sees
// the end, or the end sees the owner.
class Inside {
public:
	explicit Inside(Channel *c) : c_(c) { c->inside.store(true, mo::seq_cst); }
	~Inside() { c_->inside.store(false, mo::release); }
	Inside(const Inside &) = delete;
	Inside &operator=(const Inside &) = delete;

private:
	Channel *c_;
};

// Whether this thread can use the ring; it is left if not.
bool is_usable(Channel *c, const Single *s)
{
	if (s == nullptr || (s->owner == this_thread() && !s->lost))
		return s != nullptr;
	leave(c);
	return false;
}

// The ring of a channel, if this thread is its owner; made at the first use. nullptr: the channel
// has none (any more).
Single *own(Channel *c)
{
	Single *s = c->single.load(mo::relaxed);
	if (s != nullptr && s->owner == this_thread() && !s->lost)
		return s;
	if (s != nullptr)
		leave(c);
	else if (!c->without_ring && (s = make(c)) != nullptr) {
		c->single.store(s, mo::release);
		return s;
	}
	c->without_ring = true;
	return nullptr;
}

// What has to be tried at once, or may block, goes the ordinary way. So does an accept: it waits
// exclusively, and one in a ring that is being left would swallow the wake-up that is meant for its
// successor.
bool suitable(const Call &call)
{
	if (call.op == Op::accept)
		return false;
	if (call.dma.kind == dma::Use::Kind::wait)
		return call.multishot && !call.dma.message && call.message == nullptr &&
		       call.flags == 0;
	// What may be worth sending without a copy goes to the driver.
	if (call.dma && (call.dma.pieces != 1 || call.vector != nullptr ||
			 call.message != nullptr || call.len >= dma::zero_copy::least))
		return false;
	constexpr int beside = MSG_OOB | MSG_ERRQUEUE, peek_all = MSG_PEEK | MSG_WAITALL;
	if (call.op == Op::recv)
		return (call.flags & beside) == 0 && (call.flags & peek_all) != peek_all &&
		       call.len != 0;
	// Of these the ring tells what poll() would tell, or the ordinary way is asked when it has
	// told (single_operation.cpp).
	constexpr int exact = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLRDHUP | POLLERR |
			      POLLHUP | POLLNVAL;
	if (call.op == Op::poll)
		return (call.flags & 0xffff & ~exact) == 0;
	return call.op != Op::send || (call.flags & MSG_FASTOPEN) == 0;
}

// Whether what was handed over is still under way on the stream.
bool others_before(Single *s, const Call &call)
{
	bool inward = is_inward(call.op);
	Number *n = call.op == Op::send || call.op == Op::recv ? number_of(s, call.fd) : nullptr;
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

void submit_now(Channel *c, Single *s, const Call &call)
{
	submit(s);
	if (call.op != Op::send)
		return;
	// It has ended by now, or is to go on elsewhere: then the descriptor must not say that
	// there is an event.
	reap(c);
	if (s->ready == nullptr)
		settle(c, s);
}

} // namespace

namespace {

// With EC_BATCH its file is resolved now all the same.
void start_now(Channel *c, Single *s, Operation *o)
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

} // namespace

int start(Channel *c, const Call &call)
{
	Single *s = c->single.load(mo::relaxed);
	Operation *o = make_operation(s, call);
	if (o == nullptr)
		return EAGAIN;
	if (call.dma) {
		o->use = Operation::Region::send;
		o->region = call.dma.region;
		o->unit = call.dma.unit[0];
	}
	// What a send could not do at once goes on by itself, not only when the owner looks; and
	// the driver knows better than the ring how to wait for room (driver_streams.cpp).
	o->once = o->op == Op::send && (o->flags & MSG_DONTWAIT) == 0;
	// What may go on for long, part by part, holds its file. A descriptor that cannot be held
	// need not be: its error is the event.
	constexpr size_t large = 16384;
	if (o->len >= large &&
	    (o->op == Op::send ? (c->flags & EC_BATCH) != 0 : (o->flags & MSG_WAITALL) != 0))
		hold(s, o, nullptr);
	if (o->op == Op::connect || o->stream)
		look_at(o->fd, &o->dev, &o->ino);
	int error;
	bool first = enter_lane(c, o, &error);
	if (error != 0) {
		o->use = Operation::Region::none; // the caller's
		free_operation(s, o);
		return error;
	}
	meter::ring_began(o->op);
	if (o->once && (c->flags & EC_BATCH) != 0)
		look_at(o->fd, &o->dev, &o->ino);
	// What was before it in its lane may have been handed over meanwhile.
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

unsigned take(Channel *c, event_data_t *v, unsigned max)
{
	Single *s = c->single.load(mo::relaxed);
	reap(c);
	unsigned n = 0;
	while (n < max && s->ready != nullptr) {
		Operation *o = s->ready;
		s->ready = o->next;
		if (o->use == Operation::Region::arrival)
			give_arrival(o);
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

namespace {

// In c's ring, whose room it has. -1: not for a ring.
int submit_to_ring(Channel *c, const Call &call)
{
	Inside in(c);
	if (c->ending.load(mo::seq_cst))
		return EBADF;
	Single *s = own(c);
	if (resolved_in_call(c, call)) {
		// The ordinary way, behind what has been prepared.
		if (s != nullptr && (c->flags & EC_BATCH) != 0)
			submit_now(c, s, call);
		return -1;
	}
	if (s == nullptr || others_before(s, call))
		return -1;
	bool batch = (c->flags & EC_BATCH) != 0;
	if (s->in_ring == 0 && !channel::still_open(c))
		return EBADF;
	int error = call.dma.kind == dma::Use::Kind::wait ? arm_socket(c, call) : start(c, call);
	if (error != 0)
		return error;
	stats::count(stats::requests);
	SIGEVEC_PROBE4(submit, call.cb, static_cast<int>(call.op), call.fd, call.len);
	if (!batch && !s->lost)
		submit_now(c, s, call);
	if (s->lost)
		leave(c); // with this one
	return 0;
}

} // namespace

int submit(const Call &call)
{
	if (!suitable(call) || !channel::is_single(call.event.signo))
		return -1;
	// The room for its event keeps the channel meanwhile.
	Channel *c = nullptr;
	int error = channel::admit(call.event.signo, &c, false);
	if (error == 0) {
		error = (c->flags & EC_SINGLE) != 0 ? submit_to_ring(c, call) : -1;
		if (error == 0)
			channel::count_kept(c);
		else
			channel::retract(c);
	}
	// Refused: what it held of a region it holds no longer.
	if (error > 0 && call.dma) {
		dma::Use use = call.dma;
		dma::ended(use, nullptr, -error);
	}
	return error;
}

void watch(Channel *c)
{
	Single *s = (c->flags & EC_SINGLE) != 0 ? c->single.load(mo::relaxed) : nullptr;
	if (s != nullptr && s->owner != this_thread())
		leave(c);
	else if (s != nullptr && !s->watching) {
		listen_inside(c, s);
		submit(s);
	}
}

void flush(Channel *c)
{
	Inside in(c);
	Single *s = c->single.load(mo::relaxed);
	// From another thread they go on the ordinary way.
	if (c->ending.load(mo::seq_cst) || !is_usable(c, s))
		return;
	submit(s);
	// Sends that have found no room go on elsewhere, while their numbers are their files.
	reap(c);
	if (is_usable(c, s) && s->ready == nullptr)
		settle(c, s);
}

namespace {

// What was prepared for a number is handed over before the program has the chance to use the number
// again.
void hand_over_unsafe(Channel *c, Single *s)
{
	if (s->unsafe == 0)
		return;
	submit(s);
	reap(c);
}

// The first look of a read: hands over what was kept, and, if there is nothing yet, waits with the
// same call. 0, or -EINTR with nothing to be had.
int look_first(Channel *c, Single *s, bool wait, const Deadline &deadline, bool *slept)
{
	if (io_uring_sq_ready(&s->ring) == 0 && !kernel_has_something(s))
		return 0;
	// What is to be looked for first is handed over before.
	bool idle = c->busy_poll.load(mo::relaxed) == 0 && s->ready == nullptr &&
		    io_uring_cq_ready(&s->ring) == 0 && channel::queue_empty(c);
	disarm(s);
	*slept = wait && idle;
	int e = *slept ? await(c, deadline) : enter(c, false, deadline);
	if (e != -EINTR || ring_has_something(s) || !channel::queue_empty(c))
		return 0;
	settle(c, s);
	return -EINTR;
}

// Waits, or takes once more what the kernel has done. 0: look again; else -ETIMEDOUT or -EINTR.
int wait_once(Channel *c, Single *s, bool wait, const Deadline &deadline)
{
	disarm(s);
	int seen = wait ? look(c, deadline) : 0;
	bool came = seen > 0;
	int e = -ETIMEDOUT;
	if (seen < 0)
		e = seen;
	else if (wait && !came)
		e = await(c, deadline);
	else if (wait || kernel_has_something(s))
		e = enter(c, false, deadline);
	if (e >= 0 && came)
		e = gather(c, deadline);
	return e >= 0 && !wait ? -ETIMEDOUT : e; // once more, with what the kernel has done now
}

int next_of_ring(Channel *c, Single *s, event_data_t *v, unsigned max, bool wait,
		 const Deadline &deadline)
{
	s->checked = false;
	bool slept = false,
	     known = false; // known: its descriptor has been looked at since the last wait
	if (int e = look_first(c, s, wait, deadline, &slept); e != 0)
		return e;
	while (!s->lost) {
		if (c->ending.load(mo::seq_cst)) {
			end(c);
			return -EBADF;
		}
		if (!s->checked && channel::worth_a_check(c)) {
			if (!channel::check_descriptor(c))
				return -EBADF;
			s->checked = known = true;
		}
		unsigned n = channel::take_queued(c, v, max);
		n += n < max ? take(c, v + n, max - n) : 0;
		if (n != 0) {
			hand_over_unsafe(c, s);
			settle(c, s, known);
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
		known = false;
		int e = wait_once(c, s, wait, deadline);
		if (uring_queue::is_shortage(-e))
			continue;
		if (e != 0 && !s->lost && !ring_has_something(s) && channel::queue_empty(c)) {
			if (e == -ETIMEDOUT && !s->checked && !channel::check_descriptor(c))
				return -EBADF;
			if (e == -ETIMEDOUT)
				s->may_ring = true; // the kernel may have been late to ring for
						    // what has been taken
			hand_over_unsafe(c, s);
			settle(c, s);
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
	Single *s = c->single.load(mo::relaxed);
	if (!is_usable(c, s))
		return 0;
	int n = next_of_ring(c, s, v, max, wait, deadline);
	*handled = n != 0;
	// A ring that is lost is left; what there was, and what waits, is the ordinary queue's now.
	if (n >= 0 && c->single.load(mo::relaxed) == s)
		is_usable(c, s);
	return n;
}

unsigned cancel(Channel *c, const void *data)
{
	Inside in(c);
	Single *s = c->single.load(mo::relaxed);
	if (c->ending.load(mo::seq_cst) || !is_usable(c, s))
		return 0;
	// What has ended already is not to be cancelled.
	enter(c, false, Deadline{});
	reap(c);
	unsigned found = 0;
	each(s, [&](Operation *o) {
		if (o->data != data || o->state == Operation::State::ready || o->cancelled)
			return;
		found++;
		o->cancelled = true;
		if (o->state == Operation::State::in_ring)
			cancel_in_ring(s, o);
	});
	each(s, [&](Operation *o) {
		if (o->cancelled && o->state == Operation::State::waiting)
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
	Inside in(c);
	Single *s = c->single.load(mo::relaxed);
	if (c->ending.load(mo::seq_cst) || s == nullptr || s->owner != this_thread() ||
	    !is_usable(c, s))
		return 0;
	enter(c, false, Deadline{});
	reap(c);
	hand_over_unsafe(c, s);
	unsigned n = 0;
	for (Operation *o = s->ready; o != nullptr; o = o->next)
		n++;
	settle(c, s);
	return n;
}

} // namespace sigevec::single

#else // !HAVE_LIBURING

namespace sigevec::single {

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

} // namespace sigevec::single

#endif
