// SPDX-License-Identifier: MIT
#include "engine/kaio_context.hpp"

#ifdef HAVE_LIBAIO

#include "base/memory_order.hpp"
#include "cancellation.h"
#include "completion/waiters.hpp"
#include "runtime/helper.hpp"
#include "runtime/thread.hpp"

namespace sigevec::kaio {

namespace {

void stop_leading(Context &c)
{
	// seq_cst: a follower sets its bit, then looks at the leader; this clears the leader, then
	// looks at the bits.
	c.leader.store(nullptr, mo::seq_cst);
	if (uint32_t f = c.followers.exchange(0, mo::seq_cst); f != 0)
		waiters::wake(f);
}

struct Leading {
	Context *c;
	bool nested;
	const sigset_t *mask;
};

void cancelled_while_leading(void *p)
{
	auto *l = static_cast<Leading *>(p);
	if (!l->nested)
		stop_leading(*l->c);
	pthread_sigmask(SIG_SETMASK, l->mask, nullptr);
}

// Sleeps until there is an event. The application's signals are let in by the kernel, for the
// length of the sleep only: between a look at the requests and the sleep no handler can run that
// would take the events away.
int sleep_on(Leading &l, const sigset_t *let_in, const Deadline &deadline, bool cancellable)
{
	timespec rest;
	if (!deadline.never && !deadline.left(rest))
		return -ETIMEDOUT;
	struct {
		const sigset_t *mask;
		size_t size;
	} mask{let_in, _NSIG / 8};
	long arg[6] = {reinterpret_cast<long>(l.c->ring.load(mo::relaxed)),
		       1,
		       1,
		       0,
		       deadline.never ? 0 : reinterpret_cast<long>(&rest),
		       reinterpret_cast<long>(&mask)};
	if (cancellable)
		return static_cast<int>(sigevec_cancellable_syscall(cancelled_while_leading, &l,
								    SYS_io_pgetevents, arg));
	return static_cast<int>(sigevec_raw_syscall(SYS_io_pgetevents, arg[0], arg[1], arg[2],
						    arg[3], arg[4], arg[5]));
}

// The kernel never restarts io_pgetevents, but a wait without time-out goes on after a handler with
// SA_RESTART (POSIX, and glibc), and ends after any other. Which handler ran is not told: where a
// process has both, they are let in by turns.
struct Handlers {
	bool restart = false, interrupt = false;
	sigset_t mask_of_restart, mask_of_interrupt; // with which only these are let in

	explicit Handlers(const sigset_t *mask) : mask_of_restart(*mask), mask_of_interrupt(*mask)
	{
		for (int s = 1; s < _NSIG; s++) {
			struct sigaction a;
			if (sigismember(mask, s) == 1 || sigaction(s, nullptr, &a) != 0 ||
			    a.sa_handler == SIG_DFL || a.sa_handler == SIG_IGN)
				continue;
			bool restarts = (a.sa_flags & SA_RESTART) != 0;
			sigaddset(restarts ? &mask_of_interrupt : &mask_of_restart, s);
			(restarts ? restart : interrupt) = true;
		}
	}
};

// Most requests end sooner than it would take to ask for the handlers; so long a signal can wait,
// and a turn.
constexpr timespec moment{0, 1000000}, turn{0, 5000000};

// One sleep without a time-out of the caller's. 0, -EINTR, or what sleep_on() says.
int sleep_for_ever(Leading &l, unsigned round, bool cancellable)
{
	if (round == 0) {
		sigset_t none;
		sigfillset(&none);
		return sleep_on(l, &none, Deadline::after(&moment), cancellable);
	}
	Handlers h(l.mask);
	bool both = h.restart && h.interrupt, interrupts = both ? round % 2 == 0 : h.interrupt;
	const sigset_t *let_in = !both        ? l.mask
				 : interrupts ? &h.mask_of_interrupt
					      : &h.mask_of_restart;
	int e = sleep_on(l, let_in, both ? Deadline::after(&turn) : Deadline{}, cancellable);
	return e == -EINTR && !interrupts ? 0 : e;
}

void take_all(Context &c)
{
	Guard<Mutex> g(c.lock);
	take_events(c);
}

int sleep_until(Leading &l, bool (*done)(void *), void *arg, const Deadline &deadline,
		bool cancellable)
{
	for (unsigned round = 0;; round++) {
		take_all(*l.c);
		if (done(arg))
			return 0;
		int e = deadline.never ? sleep_for_ever(l, round, cancellable)
				       : sleep_on(l, l.mask, deadline, cancellable);
		if (!deadline.never && (e == 0 || e == -ETIMEDOUT))
			return has_events(l.c->ring.load(mo::relaxed)) ? EAGAIN : ETIMEDOUT;
		// A wait that would end by its time is never restarted.
		if (e == -EINTR && round == 0 && deadline.never)
			continue;
		if (e == -EINTR && !done(arg))
			return EINTR;
	}
}

} // namespace

int lead(int context, bool (*done)(void *), void *arg, const Deadline &deadline, bool cancellable)
{
	Context &c = all[context];
	BlockSignals blocked;
	Leading l{&c, false, &blocked.saved()};
	{
		Guard<Mutex> g(c.lock);
		if (led_by_other(c))
			return EBUSY;
		l.nested = c.leader.load(mo::relaxed) != nullptr;
		c.leader.store(&identity, mo::seq_cst);
	}
	int e = sleep_until(l, done, arg, deadline, cancellable);
	if (!l.nested)
		stop_leading(c);
	return e == EAGAIN ? 0 : e;
}

bool follow(int context, unsigned b)
{
	Context &c = all[context];
	c.followers.fetch_or(1u << b, mo::seq_cst);
	return c.leader.load(mo::seq_cst) != nullptr;
}

namespace {

void *background_main(void *);

void add_need(Context &c)
{
	// All: one of two background threads may be about to end.
	if (c.needed.fetch_add(1, mo::acq_rel) == 0)
		futex_wake(c.needed, INT_MAX);
}

bool start_background(Context &c)
{
	constexpr Background mine = Background::of_program;
	if (c.background.load(mo::acquire) == mine ||
	    c.background.exchange(mine, mo::acq_rel) == mine)
		return true;
	if (start_thread(background_main, &c, "sigevec-kaio") == 0)
		return true;
	c.background.store(Background::none, mo::release);
	return false;
}

void drop_need(Context &c)
{
	c.needed.fetch_sub(1, mo::acq_rel);
}

bool nothing_needed(void *p)
{
	return static_cast<Context *>(p)->needed.load(mo::acquire) == 0;
}

} // namespace

namespace {

void *background_main(void *p)
{
	auto *c = static_cast<Context *>(p);
	auto index = static_cast<int>(c - all);
	unsigned b = waiters::own_bucket();
	for (;;) {
		if (helper::on_helper_thread() &&
		    c->background.load(mo::acquire) != Background::of_helper)
			return nullptr;
		if (nothing_needed(c)) {
			futex_wait(c->needed, 0, nullptr);
			continue;
		}
		uint32_t seen = waiters::bucket[b].generation.load(mo::acquire);
		if (lead(index, nothing_needed, c, Deadline{}, false) != EBUSY)
			continue;
		waiters::bucket[b].sleepers.fetch_add(1, mo::seq_cst);
		if (follow(index, b))
			futex_wait(waiters::bucket[b].generation, seen, nullptr);
		waiters::bucket[b].sleepers.fetch_sub(1, mo::relaxed);
	}
}

} // namespace

namespace {

void *background_of_helper(void *context)
{
	helper::enter_helper_thread(static_cast<Context *>(context)->helper);
	return background_main(context);
}

} // namespace

void start_for_helper(helper::Helper *h, void *context)
{
	static_cast<Context *>(context)->helper = h;
	start_thread(background_of_helper, context, "sigevec-kaio");
}

bool need(int context)
{
	Context &c = all[context];
	add_need(c);
	auto none = Background::none;
	if (!c.background.compare_exchange_strong(none, Background::of_helper, mo::acq_rel) ||
	    helper::start_background(&c.post, &c))
		return true;
	c.background.store(Background::none, mo::release);
	return false;
}

bool start_listening(int context)
{
	return start_background(all[context]);
}

void need_no_more(int context)
{
	drop_need(all[context]);
}

void end_in_background(Request *r)
{
	int context = r->context.load(mo::relaxed);
	if (context < 0)
		return;
	Context &c = all[context];
	add_need(c);
	uint8_t no = 0;
	if (!r->background.compare_exchange_strong(no, 1, mo::acq_rel))
		drop_need(c);
	start_background(c);
}

} // namespace sigevec::kaio

#endif
