// SPDX-License-Identifier: MIT
//
// What the thread of a waiter does: it sleeps, by a ring or by futex_waitv, on the words of its
// waits, and takes the steps of their protocols.
#include "source/futex_waiter_impl.hpp"

#include "base/memory_order.hpp"
#include "runtime/config.hpp"
#include "runtime/thread.hpp"
#include "source/sync.hpp"

#include <cerrno>
#include <utility>

namespace sigevec::futex_waiter {

constinit FutexWaiter waiters[most_waiters] = {};
Mutex lock;

namespace {

bool passed(const struct __kernel_timespec &t)
{
	timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return !before({now.tv_sec, now.tv_nsec}, t);
}

// 0, or why it is to end.
int unwanted(const Wait *w)
{
	if ((w->flags.load(mo::acquire) & (source::ended | source::cancelled)) != 0)
		return ECANCELED;
	return w->sync.timed && passed(w->sync.deadline) ? ETIMEDOUT : 0;
}

} // namespace

bool go_on(Wait *w)
{
	if (value_of(w) != w->sync.value && w->sync.protocol->step(w))
		return true;
	int reason = unwanted(w);
	if (reason == 0)
		return false;
	if (!w->sync.protocol->withdraw(w))
		return w->sync.protocol->step(w);
	w->result = -reason;
	return true;
}

void free_place(FutexWaiter &one, unsigned slot)
{
	one.taken--;
	if (one.means.load(mo::relaxed) == by_words && --one.seats[slot].taken == 0)
		one.seats[slot].object = nullptr;
}

void settle(FutexWaiter &me, Wait *w)
{
	{
		Guard<Mutex> g(lock);
		free_place(me, w->sync.at.slot);
	}
	if (w->sync.at.leaves)
		source::set_flags(w, source::let_go); // from here on it is its canceller's
	else
		source::finish(w, w->result);
}

namespace {

// False: there has been nothing to do for long enough, and the thread is to end.
bool take_lists(FutexWaiter &me, bool idle, Entered *entered, Called *called)
{
	Guard<Mutex> g(lock);
	*entered = std::exchange(me.entered, {});
	*called = std::exchange(me.called, {});
	if (idle && me.taken == 0 && entered->empty() && called->empty())
		me.running = false;
	return me.running;
}

int idle_seconds()
{
	return static_cast<int>(config::limits.idle.load(mo::relaxed)) + 1;
}

// What a thread does, by one of the two means.
template <class Sleeper> class Run {
public:
	Run(FutexWaiter &me, Sleeper &sleeper) : me_(me), sleeper_(sleeper) {}

	void run()
	{
		for (bool idle = false;;) {
			uint32_t seen = me_.control.load(mo::seq_cst);
			Entered entered;
			Called called;
			if (!take_lists(me_, idle, &entered, &called))
				return;
			bool nothing = get_ready(seen, entered, called);
			settle_ended();
			sleeper_.wait();
			idle = !look_at_told() && nothing;
			settle_ended();
		}
	}

private:
	// True: it looks after no wait, and leaves nothing in the kernel.
	bool get_ready(uint32_t seen, const Entered &entered, const Called &called)
	{
		Guard<Mutex> turn(me_.turn);
		begin(entered);
		end(called);
		bool nothing = me_.begun == 0 && sleeper_.may_close();
		sleeper_.listen(me_.control, seen, nothing ? idle_seconds() : -1);
		return nothing;
	}

	void look(Wait *w)
	{
		if (!go_on(w)) {
			sleeper_.sleep(w);
			return;
		}
		sleeper_.forget(w);
		me_.begun--;
		w->sync.at.over = true;
		ended_.push(w);
	}

	void begin(Entered entered)
	{
		while (Wait *w = entered.pop()) {
			if (w->sync.at.over) {
				source::release(w);
				continue;
			}
			me_.begun++;
			w->sync.at.begun = true;
			look(w);
		}
	}

	void end(Called called)
	{
		while (Wait *w = called.pop()) {
			if (!w->sync.at.over && sleeper_.interrupt(w))
				look(w);
			source::release(w);
		}
	}

	// True: there is something in the lists.
	bool look_at_told()
	{
		Guard<Mutex> turn(me_.turn);
		sleeper_.awake();
		bool own = false;
		for (Wait *w; sleeper_.next(&w);)
			if (w == nullptr)
				own = true;
			else
				look(w);
		return own;
	}

	// Without the turn: what is told may be ended by others.
	void settle_ended()
	{
		while (Wait *w = ended_.pop())
			settle(me_, w);
	}

	FutexWaiter &me_;
	Sleeper &sleeper_;
	Entered ended_; // not settled yet
};

// The next thread may have begun before this one has left.
template <class Sleeper>
void run_by(FutexWaiter &me, Sleeper &sleeper, Sleeper *FutexWaiter::*means)
{
	{
		Guard<Mutex> turn(me.turn);
		me.ring = nullptr;
		me.words = nullptr;
		me.*means = &sleeper;
	}
	Run<Sleeper>(me, sleeper).run();
	Guard<Mutex> turn(me.turn);
	if (me.*means == &sleeper)
		me.*means = nullptr;
}

void *main(void *p)
{
	auto &me = *static_cast<FutexWaiter *>(p);
	FutexRing ring;
	// One thread with a ring is enough for all.
	bool by = &me == &waiters[0] && ring.open();
	me.means.store(by ? by_ring : by_words, mo::release);
	futex_wake(me.means, 1);
	if (by) {
		run_by(me, ring, &FutexWaiter::ring);
		ring.close();
	} else {
		FutexWords words;
		run_by(me, words, &FutexWaiter::words);
	}
	return nullptr;
}

} // namespace

bool start(FutexWaiter &one)
{
	one.means.store(none, mo::relaxed);
	if (start_thread(main, &one, "sigevec-futex") != 0)
		return false;
	while (one.means.load(mo::acquire) == none)
		futex_wait(one.means, none, nullptr);
	one.running = true;
	return true;
}

} // namespace sigevec::futex_waiter
