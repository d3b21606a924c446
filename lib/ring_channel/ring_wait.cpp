// SPDX-License-Identifier: MIT
//
// Waiting in the ring: for the next event, for as many as ec_moderate says, and, with ec_busy_poll,
// without the kernel.
#include "ring_channel/ring_channel.hpp"
#include "ring_channel/ring_use.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"
#include "channel/moderation.hpp"
#include "channel/queue.hpp"
#include "uring.h"

#include <cerrno>

namespace sigevec::ring_channel {

namespace {

// A wait in vain for so long is the occasion to see whether the program has closed the descriptor.
// Cheaper than to look each time.
constexpr long first_wait = 100 * 1000000;

// Sleeps until there are as many completions.
int sleep(Channel *c, unsigned count, const Deadline &deadline)
{
	RingState *s = c->ring_state.load(mo::relaxed);
	timespec rest{};
	if (!deadline.never && !deadline.left(rest)) {
		submit_and_look(s); // what has come is still taken
		return -ETIMEDOUT;
	}
	bool first =
		!s->checked && (deadline.never || rest.tv_sec > 0 || rest.tv_nsec > first_wait);
	struct __kernel_timespec t = {first ? 0 : rest.tv_sec, first ? first_wait : rest.tv_nsec};
	// As in queue.cpp: counted, then looked. A pusher that sees the sleeper makes the ring
	// tell.
	c->sleepers.alone(true);
	int e = 0;
	bool awake = count == 1 ? !channel::queue_empty(c) : moderation::due(c);
	if (!awake && !c->ending.load(mo::seq_cst))
		e = submit_and_wait(s, count, deadline.never && !first ? nullptr : &t);
	c->sleepers.alone(false);
	return e == -ETIME && first ? 0 : e == -ETIME ? -ETIMEDOUT : e < 0 ? e : 0;
}

} // namespace

int enter(Channel *c, bool wait, const Deadline &deadline)
{
	if (wait)
		return sleep(c, 1, deadline);
	return submit_and_look(c->ring_state.load(mo::relaxed));
}

namespace {

// As ec_moderate says; more than the limit never come.
uint32_t wanted_events(const Channel *c)
{
	uint32_t events = c->moderate_events.load(mo::relaxed), limit = c->limit.load(mo::relaxed);
	return events < limit ? events : limit;
}

} // namespace

int gather(Channel *c, const Deadline &deadline)
{
	RingState *s = c->ring_state.load(mo::relaxed);
	if (!moderation::on(c) || (io_uring_cq_ready(&s->ring) == 0 && channel::queue_empty(c)))
		return 0;
	if (channel::queue_empty(c))
		moderation::note_first(c);
	uint32_t events = wanted_events(c);
	Deadline until = moderation::limit(c, deadline);
	for (int e = 0; e == 0 && !c->ending.load(mo::seq_cst);) {
		unsigned queued = c->pushed.load(mo::seq_cst) -
				  static_cast<uint32_t>(c->delivered.load(mo::seq_cst));
		if (events != 0 && io_uring_cq_ready(&s->ring) + queued >= events)
			return 0;
		unsigned count = events != 0 ? events - queued : room_for_completions / 2;
		e = sleep(c, count > 1 ? count : 2, until);
		if (e != 0)
			return e;
		if (moderation::due(c) && !channel::queue_empty(c))
			return 0;
	}
	return 0;
}

int await(Channel *c, const Deadline &deadline)
{
	if (!moderation::on(c))
		return enter(c, true, deadline);
	// Most batches cost one sleep so: the time begins with the wait, for nobody knows when the
	// first event comes during it.
	RingState *s = c->ring_state.load(mo::relaxed);
	uint32_t events = wanted_events(c);
	moderation::note_first(c);
	int e = sleep(c, events > 1 ? events : room_for_completions / 2,
		      moderation::limit(c, deadline));
	if (e != -ETIMEDOUT)
		return e;
	if (io_uring_cq_ready(&s->ring) != 0 || !channel::queue_empty(c))
		return 0;
	e = enter(c, true, deadline);
	return e == 0 ? gather(c, deadline) : e;
}

int look(Channel *c, const Deadline &deadline)
{
	RingState *s = c->ring_state.load(mo::relaxed);
	uint32_t us = c->busy_poll.load(mo::relaxed);
	if (us == 0 || s->from_device)
		return 0;
	channel::HeldSignals signals;
	timespec all{us / 1000000, us % 1000000 * 1000}, rest;
	Deadline end = Deadline::after(&all);
	bool came = false, interrupted = false;
	// As in queue.cpp: who pushes meanwhile has nothing to do.
	c->lookers.store(1, mo::seq_cst);
	while (!came && !interrupted && end.left(rest) && (deadline.never || deadline.left(rest))) {
		for (int i = 0; i < 200 && !came; i++) {
			came = ring_gives_something(s) || !channel::queue_empty(c) ||
			       c->ending.load(mo::seq_cst);
			relax();
		}
		interrupted = !came && signals.one_has_come();
	}
	c->lookers.store(0, mo::seq_cst);
	return interrupted ? -EINTR : came ? 1 : 0;
}

} // namespace sigevec::ring_channel

#endif
