// SPDX-License-Identifier: MIT
//
// Who sleeps on a kernel-AIO context: its leader, for all, and how the others follow it.
#include "engine/kaio_context.hpp"

#ifdef HAVE_LIBAIO

#include "base/memory_order.hpp"
#include "cancellation.h"
#include "completion/waiters.hpp"
#include "runtime/helper.hpp"

namespace sigevec::kaio {

namespace {

// This thread as the leader of a context, perhaps once more in a signal handler.
struct Leader {
	Context &c;
	bool nested = false;

	// False: another thread leads.
	bool begin()
	{
		Guard<Mutex> g(c.lock);
		if (led_by_other(c))
			return false;
		nested = c.leader.load(mo::relaxed) != nullptr;
		c.leader.store(&identity, mo::seq_cst);
		return true;
	}
	void end()
	{
		if (nested)
			return;
		// seq_cst: a follower sets its bit, then looks at the leader; this clears the
		// leader, then looks at the bits.
		c.leader.store(nullptr, mo::seq_cst);
		if (uint32_t f = c.followers.exchange(0, mo::seq_cst); f != 0)
			waiters::wake(f);
	}
};

struct Leading : Leader {
	const sigset_t *mask;
};

void cancelled_while_leading(void *p)
{
	auto *l = static_cast<Leading *>(p);
	l->end();
	change_signal_mask(SIG_SETMASK, l->mask, nullptr);
}

// A sleep that undo(arg) undoes if it does not return, with a type of cancellation inside.
struct Undoing {
	void (*undo)(void *);
	void *arg;
	int type;
};

// Sleeps until there is an event. The application's signals are let in by the kernel, for the
// length of the sleep only: between a look at the requests and the sleep no handler can run that
// would take the events away. let_in: nullptr, the mask stays as it is.
int sleep_on(const Context &c, const sigset_t *let_in, const timespec *most, const Undoing *u)
{
	struct {
		const sigset_t *mask;
		size_t size;
	} mask{let_in, _NSIG / 8};
	long arg[6] = {reinterpret_cast<long>(c.ring.load(mo::relaxed)),
		       1,
		       1,
		       not_of_user_space,
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
	return sleep_on(l.c, let_in, deadline.never ? nullptr : &rest, cancellable ? &u : nullptr);
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
// and a turn. More than the 4 ms after which the kernel's own clock ticks: for less it has to set
// the processor's timer, which costs 3 us in a virtual machine.
constexpr timespec moment{0, 5000000};

// One sleep without a time-out of the caller's. 0, -EINTR, or what sleep_on() says.
int sleep_for_ever(Leading &l, unsigned round, bool cancellable)
{
	if (round == 0)
		return sleep_on(l, nullptr, Deadline::after(&moment), cancellable);
	Handlers h(l.mask);
	bool both = h.restart && h.interrupt, interrupts = both ? round % 2 == 0 : h.interrupt;
	const sigset_t *let_in = !both        ? l.mask
				 : interrupts ? &h.mask_of_interrupt
					      : &h.mask_of_restart;
	int e = sleep_on(l, let_in, both ? Deadline::after(&moment) : Deadline{}, cancellable);
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
		take_all(l.c);
		if (done(arg))
			return 0;
		int e = deadline.never ? sleep_for_ever(l, round, cancellable)
				       : sleep_on(l, l.mask, deadline, cancellable);
		if (!deadline.never && (e == 0 || e == -ETIMEDOUT))
			return has_events(l.c.ring.load(mo::relaxed)) ? EAGAIN : ETIMEDOUT;
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
	BlockSignals blocked;
	Leading l{{all[context]}, &blocked.saved()};
	if (!l.begin())
		return EBUSY;
	int e = sleep_until(l, done, arg, deadline, cancellable);
	l.end();
	return e == EAGAIN ? 0 : e;
}

namespace {

// The sleep of a group's waiter.
struct Sleep : Leader {
	void (*undo)(void *);
	void *arg;
};

// Its undo() puts the signals right.
void undo_sleep(void *p)
{
	auto *s = static_cast<Sleep *>(p);
	s->end();
	s->undo(s->arg);
}

} // namespace

int sleep_once(int context, const timespec &most, const sigset_t *let_in, void (*undo)(void *),
	       void *arg, int type)
{
	Sleep s{{all[context]}, undo, arg};
	if (!s.begin())
		return -EBUSY;
	Undoing u{undo_sleep, &s, type};
	int e = sleep_on(s.c, let_in, &most, &u);
	s.end();
	return e == -EINTR || e == -ETIMEDOUT ? e : 0;
}

bool follow(int context, unsigned b)
{
	Context &c = all[context];
	c.followers.fetch_or(1u << b, mo::seq_cst);
	return c.leader.load(mo::seq_cst) != nullptr;
}

} // namespace sigevec::kaio

#endif
