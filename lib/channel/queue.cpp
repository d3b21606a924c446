// SPDX-License-Identifier: MIT
//
// Why the descriptor is exact. A pusher puts its event into the inbox, then looks at `signalled'; a
// reader that found the queue empty waits for a signalling that has begun, empties the wakeup,
// clears `signalled', then looks at the inbox once more. All four are seq_cst: either the pusher
// sees `signalled' cleared and signals, or the reader sees the event. Readers do this under
// `reading', after every read that leaves the queue empty; after one that does not, they see to it
// that the wakeup has been signalled.
//
// A pusher that finds a blocked reader wakes that one instead of signalling: the reader will take
// the event, or signal. The same argument: the reader counts itself in `sleepers', then looks at
// the inbox; the pusher pushes, then looks at `sleepers'. One that finds a reader which only looks
// yet, counted in `lookers', has nothing to do at all: that one looks once more when it no longer
// counts.
#include "channel/queue_impl.hpp"

#include "base/inbox.hpp"
#include "base/memory_order.hpp"
#include "base/spin.hpp"
#include "channel/moderation.hpp"
#include "channel/reader_fds.hpp"
#include "channel/wakeup.hpp"
#include "runtime/helper.hpp"

#include <cerrno>
#include <climits>

namespace sigevec::channel {

void signal(Channel *c)
{
	uint32_t silent = 0;
	if (c->signalled.load(mo::seq_cst) == 0 &&
	    c->signalled.compare_exchange_strong(silent, 1, mo::seq_cst))
		wakeup::signal(c); // a reader will see that the program has closed it
}

void signal_when_due(Channel *c)
{
	if (moderation::due(c))
		signal(c);
	else if (c->signalled.load(mo::seq_cst) == 0)
		moderation::start_clock(c);
}

bool empty(const Channel *c)
{
	return c->oldest.load(mo::seq_cst) == nullptr && c->inbox.load(mo::seq_cst) == nullptr &&
	       c->overflow.load(mo::seq_cst) == 0;
}

namespace {

// How long a reader looks for an event before it sleeps: less than going to sleep and being woken
// takes. With one processor nothing comes while it looks.
constexpr int spins = 200;

// A reader that has found it empty: it is not to be readable for what another reader has not waited
// for.
void drain_late(Channel *c)
{
	if (c->late.load(mo::relaxed) && wakeup::drain(c, false, false))
		c->late.store(false, mo::relaxed);
}

// With `reading' held.
void settle(Channel *c, bool known)
{
	while (empty(c)) {
		if (c->signalled.load(mo::seq_cst) == 0)
			return;
		drain(c, known);
	}
	signal_when_due(c);
}

// With `reading' held.
Notification *pop(Channel *c)
{
	Notification *n = c->oldest.load(mo::relaxed);
	if (n == nullptr)
		n = reversed(c->inbox.exchange(nullptr, mo::acquire));
	if (n != nullptr)
		c->oldest.store(n->next.load(mo::relaxed), mo::seq_cst);
	return n;
}

// What is left is for another one, who may have gone to sleep while it was in neither list.
void wake_another(Channel *c)
{
	if (c->oldest.load(mo::relaxed) != nullptr && c->sleepers.call())
		wake_one(c);
}

// Ahead of all others: what has been dropped since the last one of these.
bool take_overflow(Channel *c, event_data_t *d)
{
	uint64_t lost =
		c->overflow.load(mo::relaxed) != 0 ? c->overflow.exchange(0, mo::seq_cst) : 0;
	if (lost == 0)
		return false;
	add_credit(c); // which is returned with that of the others
	*d = {};
	d->ev_type = event_type_overflow;
	d->ev_result = static_cast<ssize_t>(lost);
	return true;
}

// False: there is no event after all.
bool describe(Notification &n, event_data_t *d)
{
	*d = {};
	d->ev_data = n.event.value.sival_ptr;
	return n.ops->describe(n, d);
}

// It told of nothing.
void forget_pushed(Channel *c)
{
	c->pushed.fetch_sub(1, mo::relaxed);
	if (c->figures != nullptr)
		c->figures->pushed.fetch_sub(1, mo::relaxed);
}

// settled: the descriptor is seen to here; otherwise by the caller.
unsigned take(Channel *c, event_data_t *v, unsigned max, bool settled, bool known)
{
	unsigned n = 0, overflow = 0;
	{
		Guard<Mutex> g(c->reading);
		overflow = take_overflow(c, v) ? 1 : 0;
		for (Notification *e; overflow + n < max && (e = pop(c)) != nullptr;) {
			if (describe(*e, &v[overflow + n]))
				n++;
			else
				forget_pushed(c);
			e->ops->release(*e);
		}
		c->delivered.fetch_add(n, mo::release);
		if (n != 0)
			note_delivered(c, n);
		if (settled && c->open.load(mo::seq_cst)) {
			settle(c, known);
			wake_another(c);
		}
	}
	return overflow + n;
}

bool still_empty(const Channel *c)
{
	return empty(c) && !c->ending.load(mo::seq_cst);
}

// ec_busy_poll. 1: something may have come; 0; -EINTR.
int look_longer(Channel *c, const Deadline &deadline)
{
	uint32_t us = c->busy_poll.load(mo::relaxed);
	if (us == 0)
		return 0;
	HeldSignals signals;
	timespec all{us / 1000000, us % 1000000 * 1000}, rest;
	Deadline end = Deadline::after(&all);
	while (end.left(rest) && (deadline.never || deadline.left(rest))) {
		reader_fds::collect_all(c);
		for (int i = 0; i < spins; i++) {
			if (!still_empty(c))
				return 1;
			relax();
		}
		if (signals.one_has_come())
			return -EINTR;
	}
	return 0;
}

// 1: something may have come; 0; -EINTR. Before a reader sleeps.
int came_while_looking(Channel *c, const Deadline &deadline)
{
	timespec rest;
	if (!deadline.never && !deadline.left(rest))
		return 0;
	c->lookers.fetch_add(1, mo::seq_cst);
	// What comes out of sockets is not seen by looking into the queue.
	int left = reader_fds::has_sockets(c) ? 0 : Spin::allowed.load(mo::relaxed) ? spins : 1;
	while (left > 0 && still_empty(c)) {
		relax();
		left--;
	}
	int seen = left > 0 ? 1 : look_longer(c, deadline);
	bool came = seen > 0;
	c->lookers.fetch_sub(1, mo::seq_cst);
	if (c->attended.load(mo::relaxed) != came)
		c->attended.store(came, mo::relaxed);
	return seen;
}

// 0: look again; else EINTR or ETIMEDOUT. gathering: there are events, but it is not time yet.
int sleep(Channel *c, const Deadline &until, bool gathering)
{
	Deadline deadline = gathering ? moderation::limit(c, until) : until;
	// Always with a time-out: a wait without one would be restarted after a handler with
	// SA_RESTART, which the other ways to wait for descriptors are not.
	timespec rest{1 << 30, 0};
	if (!deadline.never && !deadline.left(rest))
		return gathering && (until.never || until.left(rest)) ? 0 : ETIMEDOUT;
	int e = 0;
	if (reader_fds::used(c))
		// What was put there for a reader that looked has not been signalled for.
		e = gathering || still_empty(c) ? reader_fds::sleep(c, rest) : 0;
	else {
		uint32_t seen = c->wakes.load(mo::acquire);
		c->sleepers.enter();
		if (gathering ? !moderation::due(c) && !c->ending.load(mo::seq_cst)
			      : still_empty(c))
			e = futex_wait(c->wakes, seen, &rest);
		c->sleepers.leave();
	}
	// That of ec_moderate is up: what it was for may be another reader's by now.
	if (e == ETIMEDOUT && gathering && (until.never || until.left(rest)))
		return 0;
	return e == EINTR || e == ETIMEDOUT || e == EBADF ? e : 0;
}

} // namespace

void credit_returned(Channel *c)
{
	if (c->credit_waiters.load(mo::seq_cst) && c->credit_waiters.exchange(false, mo::seq_cst)) {
		helper::look_at_streams();
		outside.credit_returned();
	}
}

void drain(Channel *c, bool known)
{
	// Who signals it is between two instructions, or the driver is asked to: otherwise that
	// would be heard after this.
	for (int i = 0; i < 10000 && c->signalled.load(mo::acquire) == 1; i++)
		sched_yield();
	uint32_t state = c->signalled.load(mo::acquire);
	bool taken = wakeup::drain(c, state == 2, known);
	if (state == 1)
		c->late.store(!taken, mo::relaxed);
	c->signalled.store(0, mo::seq_cst);
}

void signal_if_due(Channel *c)
{
	if (moderation::on(c) && !empty(c) && moderation::due(c))
		signal(c);
}

void wake_one(Channel *c)
{
	c->wakes.fetch_add(1, mo::seq_cst);
	if ((c->flags & EC_SINGLE) != 0)
		futex_wake(c->wakes, INT_MAX);
	else
		futex_wake(c->wakes, 1, ~ring_waits);
}

void wake_all(Channel *c)
{
	wakeup::signal_owner(c);
	futex_wake(c->wakes, INT_MAX);
}

void moderation_expired(Channel *c)
{
	Guard<Mutex> g(c->reading);
	if (!c->open.load(mo::seq_cst))
		return;
	if (c->ring_signalled.exchange(false, mo::seq_cst))
		signal(c);
	else if (!empty(c))
		signal_when_due(c);
	else if (c->ring_state.load(mo::acquire) == nullptr)
		settle(c, false);
}

bool queue_empty(const Channel *c)
{
	return empty(c);
}

bool worth_a_check(const Channel *c)
{
	return c->signalled.load(mo::relaxed) != 0 && c->oldest.load(mo::relaxed) == nullptr &&
	       c->inbox.load(mo::relaxed) != nullptr;
}

unsigned take_queued(Channel *c, event_data_t *v, unsigned max)
{
	reader_fds::collect_all(c);
	return empty(c) ? 0 : take(c, v, max, false, false);
}

int next(Channel *c, event_data_t *v, unsigned max, bool wait, const Deadline &deadline)
{
	if ((c->flags & EC_SINGLE) != 0) {
		c->kept.store(0, mo::relaxed);
		bool handled;
		int n = ring_ops.next(c, v, max, wait, deadline, &handled);
		if (handled)
			return n;
	}
	// Whoever has found it empty waits for as much, or as long, as ec_moderate has said.
	// known: its descriptor has been looked at since the last wait.
	for (bool checked = false, waited = false, known = false;;) {
		if (c->ending.load(mo::acquire))
			return -EBADF;
		reader_fds::collect_all(c);
		if (!checked && worth_a_check(c)) {
			if (!check_descriptor(c))
				return -EBADF;
			checked = known = true;
		}
		if (!waited || moderation::due(c))
			if (unsigned n = take(c, v, max, true, known); n != 0)
				return static_cast<int>(n);
		bool gathering = waited && moderation::on(c) && !empty(c);
		waited = true;
		known = false;
		int seen = wait && !gathering ? came_while_looking(c, deadline) : 0;
		if (seen > 0)
			continue;
		// Found empty: now is the time to see whether the program has closed it.
		if (!checked && !check_descriptor(c))
			return -EBADF;
		checked = true;
		drain_late(c);
		int e = seen < 0 ? -seen : wait ? sleep(c, deadline, gathering) : ETIMEDOUT;
		if (e == 0 || c->ending.load(mo::acquire))
			continue;
		if (e == EBADF)
			checked = false;
		if (e == EBADF && check_descriptor(c))
			continue;
		if (e == EBADF)
			return -EBADF;
		reader_fds::collect_all(c);
		unsigned n = take(c, v, max, true, false);
		return n != 0 ? static_cast<int>(n) : -e;
	}
}

} // namespace sigevec::channel
