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

// A sleep that undo(arg) undoes if it does not return, with a type of cancellation inside.
struct Undoing {
	void (*undo)(void *);
	void *arg;
	int type;
};

// Sleeps until there is an event. The application's signals are let in by the kernel, for the
// length of the sleep only: between a look at the requests and the sleep no handler can run that
// would take the events away.
int sleep_on(const Context &c, const sigset_t *let_in, const timespec *most, const Undoing *u)
{
	struct {
		const sigset_t *mask;
		size_t size;
	} mask{let_in, _NSIG / 8};
	long arg[6] = {reinterpret_cast<long>(c.ring.load(mo::relaxed)),
		       1,
		       1,
		       0,
		       reinterpret_cast<long>(most),
		       reinterpret_cast<long>(&mask)};
	if (u != nullptr)
		return static_cast<int>(
			sigevec_undone_syscall(u->undo, u->arg, u->type, SYS_io_pgetevents, arg));
	return static_cast<int>(sigevec_raw_syscall(SYS_io_pgetevents, arg[0], arg[1], arg[2],
						    arg[3], arg[4], arg[5]));
}

int sleep_on(Leading &l, const sigset_t *let_in, const Deadline &deadline, bool cancellable)
{
	timespec rest;
	if (!deadline.never && !deadline.left(rest))
		return -ETIMEDOUT;
	Undoing u{cancelled_while_leading, &l, PTHREAD_CANCEL_ASYNCHRONOUS};
	return sleep_on(*l.c, let_in, deadline.never ? nullptr : &rest, cancellable ? &u : nullptr);
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

namespace {

// The sleep of a group's waiter.
struct Sleep {
	Context *c;
	bool nested;
	void (*undo)(void *);
	void *arg;
};

// Its undo() puts the signals right.
void undo_sleep(void *p)
{
	auto *s = static_cast<Sleep *>(p);
	if (!s->nested)
		stop_leading(*s->c);
	s->undo(s->arg);
}

} // namespace

int sleep_once(int context, const timespec &most, const sigset_t *let_in, void (*undo)(void *),
	       void *arg, int type)
{
	Context &c = all[context];
	Sleep s{&c, false, undo, arg};
	{
		Guard<Mutex> g(c.lock);
		if (led_by_other(c))
			return -EBUSY;
		s.nested = c.leader.load(mo::relaxed) != nullptr;
		c.leader.store(&identity, mo::seq_cst);
	}
	Undoing u{undo_sleep, &s, type};
	int e = sleep_on(c, let_in, &most, &u);
	if (!s.nested)
		stop_leading(c);
	return e == -EINTR || e == -ETIMEDOUT ? e : 0;
}

bool follow(int context, unsigned b)
{
	Context &c = all[context];
	c.followers.fetch_or(1u << b, mo::seq_cst);
	return c.leader.load(mo::seq_cst) != nullptr;
}

namespace {

void *background_main(void *);

// The background thread has something to do. All: one of two may be about to end.
void stir(Context &c)
{
	c.stirred.fetch_add(1, mo::seq_cst);
	futex_wake(c.stirred, INT_MAX);
}

void add_need(Context &c)
{
	if (c.needed.fetch_add(1, mo::seq_cst) == 0)
		stir(c);
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

// How often the background thread looks for what is left to waiters, and how long what has ended
// lies there at the least before it counts as left alone.
constexpr timespec look_after{0, 4000000};

// What nobody has come for since the last look, of which `head' is kept, is taken.
void take_deserted(Context &c, uint32_t *head)
{
	const Ring *r = c.ring.load(mo::relaxed);
	uint32_t now = r->head.load(mo::relaxed);
	bool lies = has_events(r) && c.leader.load(mo::acquire) == nullptr;
	if (lies && now == *head) {
		BlockSignals blocked;
		Guard<Mutex> g(c.lock);
		if (!led_by_other(c)) {
			c.deserted = true;
			take_events(c);
			c.deserted = false;
		}
	}
	*head = lies ? now : UINT32_MAX;
}

// By the background thread: nothing is needed.
void look_from_time_to_time(Context &c, uint32_t stirred)
{
	uint32_t head = UINT32_MAX, submissions = c.submissions.load(mo::relaxed);
	c.looking.store(true, mo::seq_cst);
	while (c.stirred.load(mo::acquire) == stirred) {
		futex_wait(c.stirred, stirred, &look_after);
		take_deserted(c, &head);
		uint32_t before = submissions;
		submissions = c.submissions.load(mo::relaxed);
		if (c.left_to_waiters.load(mo::relaxed) == 0 && submissions == before)
			break;
	}
	c.looking.store(false, mo::seq_cst);
}

void rest(Context &c)
{
	uint32_t stirred = c.stirred.load(mo::seq_cst);
	if (!nothing_needed(&c))
		return;
	if (c.left_to_waiters.load(mo::seq_cst) != 0)
		look_from_time_to_time(c, stirred);
	else
		futex_wait(c.stirred, stirred, nullptr);
}

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
			rest(*c);
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

void leave_to_waiters(Context &c)
{
	c.left_to_waiters.fetch_add(1, mo::seq_cst);
	if (!c.looking.load(mo::seq_cst))
		stir(c);
}

int Group::context(uint32_t outstanding, bool *all_of_them) const
{
	uint64_t w = word_.load(mo::acquire);
	auto n = static_cast<uint32_t>(w);
	*all_of_them = n == outstanding;
	return n != 0 ? static_cast<int>(w >> shift) : -1;
}

namespace {
// So many sleeps tell a program that waits in its calls from one that does so now and then. It may
// also have been kept from its processor when an event was found that it had not come for.
constexpr uint32_t least_sleeps = 8, most_sleeps = 512;
} // namespace

void Group::slept()
{
	if (uint32_t n = sleeps_.load(mo::relaxed); n != 0)
		sleeps_.store(n - 1, mo::relaxed);
}

void Group::led()
{
	if (uint32_t n = next_.load(mo::relaxed); n > least_sleeps)
		next_.store(n - 1, mo::relaxed);
}

void Group::deserted()
{
	uint32_t n = next_.load(mo::relaxed);
	sleeps_.store(n, mo::relaxed);
	next_.store(n < most_sleeps ? n * 2 : n, mo::relaxed);
}

void Group::reset()
{
	word_.store(0, mo::relaxed);
	sleeps_.store(least_sleeps, mo::relaxed);
	next_.store(least_sleeps, mo::relaxed);
}

bool Group::join(int context)
{
	if (sleeps_.load(mo::relaxed) != 0)
		return false;
	uint64_t mine = static_cast<uint64_t>(context) << shift, w = word_.load(mo::relaxed), to;
	do {
		bool none = static_cast<uint32_t>(w) == 0;
		if (!none && (w >> shift << shift) != mine)
			return false;
		to = (none ? mine : w) + 1;
	} while (!word_.compare_exchange_weak(w, to, mo::acq_rel, mo::relaxed));
	return true;
}

void Group::leave()
{
	word_.fetch_sub(1, mo::acq_rel);
}

void end_in_background(Request *r)
{
	int context = r->context.load(mo::relaxed);
	if (context < 0)
		return;
	Context &c = all[context];
	using Listener = Request::Listener;
	add_need(c);
	auto none = Listener::none, waiters = Listener::waiters;
	if (!r->listener.compare_exchange_strong(none, Listener::background, mo::acq_rel) &&
	    !r->listener.compare_exchange_strong(waiters, Listener::both, mo::acq_rel))
		drop_need(c);
	start_background(c);
}

} // namespace sigevec::kaio

#endif
