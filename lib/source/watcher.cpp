// SPDX-License-Identifier: MIT
#include "source/watcher.hpp"

#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "nptl.hpp"
#include "runtime/config.hpp"
#include "runtime/thread.hpp"
#include "source/futex_ring.hpp"
#include "source/futex_words.hpp"
#include "source/sync.hpp"

#include <cerrno>

namespace sigevec::watcher {

namespace {

using source::Wait;

constexpr unsigned most_watchers = 8;

enum Means : uint32_t { none, by_words, by_ring };

// A slot of FutexWords, as whoever reserves sees it.
struct Seat {
	const void *object; // that may be shared
	unsigned taken;
};

struct Watcher {
	std::atomic<uint32_t>
		control;             // changes when there is something to look at beside the words
	std::atomic<uint32_t> means; // none: its thread has not chosen yet
	// Guarded by the lock.
	bool running;
	unsigned taken;
	Seat seats[slots]; // without a ring
	Wait *entered, *last_entered;
	Wait *called, *last_called; // to be ended before their time, each with a reference

	// Held by the thread while it is awake, and by whoever ends a wait at once. What follows is
	// guarded by it, and so are the waits that have been entered, until they are over.
	Mutex turn;
	FutexRing *ring; // one of the two, while the thread runs
	FutexWords *words;
	unsigned begun; // waits that the thread looks after
};

Watcher watchers[most_watchers];
Mutex lock;

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

// True: it has ended, with w->result; or the watcher is done with it, and its canceller has to
// leave.
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

// With the lock held.
void free_place(Watcher &one, unsigned slot)
{
	one.taken--;
	if (one.means.load(mo::relaxed) == by_words && --one.seats[slot].taken == 0)
		one.seats[slot].object = nullptr;
}

// The place first: who has read the event may take it.
void settle(Watcher &me, Wait *w)
{
	{
		Guard<Mutex> g(lock);
		free_place(me, w->sync.slot);
	}
	if (w->sync.leaves)
		source::set_flags(w, source::let_go); // from here on it is its canceller's
	else
		source::finish(w, w->result);
}

// False: there has been nothing to do for long enough, and the thread is to end.
bool take_lists(Watcher &me, bool idle, Wait **entered, Wait **called)
{
	Guard<Mutex> g(lock);
	*entered = me.entered;
	*called = me.called;
	me.entered = me.called = nullptr;
	if (idle && me.taken == 0 && *entered == nullptr && *called == nullptr)
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
	Run(Watcher &me, Sleeper &sleeper) : me_(me), sleeper_(sleeper) {}

	void run()
	{
		for (bool idle = false;;) {
			uint32_t seen = me_.control.load(mo::seq_cst);
			Wait *entered, *called;
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
	bool get_ready(uint32_t seen, Wait *entered, Wait *called)
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
		w->sync.over = true;
		w->sync.next = nullptr;
		*last_ended_ = w;
		last_ended_ = &w->sync.next;
	}

	void begin(Wait *entered)
	{
		while (Wait *w = entered) {
			entered = w->sync.next;
			if (w->sync.over) {
				source::release(w);
				continue;
			}
			me_.begun++;
			w->sync.begun = true;
			look(w);
		}
	}

	void end(Wait *called)
	{
		while (Wait *w = called) {
			called = w->sync.next_called;
			if (!w->sync.over && sleeper_.interrupt(w))
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
		while (Wait *w = ended_) {
			ended_ = w->sync.next;
			settle(me_, w);
		}
		last_ended_ = &ended_;
	}

	Watcher &me_;
	Sleeper &sleeper_;
	Wait *ended_ = nullptr, **last_ended_ = &ended_; // not settled yet
};

// The next thread may have begun before this one has left.
template <class Sleeper> void run_by(Watcher &me, Sleeper &sleeper, Sleeper *Watcher::*means)
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
	auto &me = *static_cast<Watcher *>(p);
	FutexRing ring;
	// One thread with a ring is enough for all.
	bool by = &me == &watchers[0] && ring.open();
	me.means.store(by ? by_ring : by_words, mo::release);
	futex_wake(me.means, 1);
	if (by) {
		run_by(me, ring, &Watcher::ring);
		ring.close();
	} else {
		FutexWords words;
		run_by(me, words, &Watcher::words);
	}
	return nullptr;
}

// As a word that processes might share: the kernel keeps these apart from the words of all the
// waits, among which it would look.
void call(Watcher &one)
{
	one.control.fetch_add(1, mo::seq_cst);
	nptl::wake(&one.control, 1, true);
}

// With the lock held: at the end of one of a watcher's lists. True: it is to be woken, as it is for
// the first of several.
bool append(Wait *w, Wait *source::SyncCall::*next, Wait **first, Wait **last)
{
	bool only = *first == nullptr;
	w->sync.*next = nullptr;
	(only ? *first : (*last)->sync.*next) = w;
	*last = w;
	return only;
}

// Its watcher is to look at it, unless it is settled.
void call_for(Wait *w)
{
	Watcher &one = watchers[w->sync.watcher];
	bool first;
	{
		Guard<Mutex> g(lock);
		if ((w->flags.load(mo::acquire) & source::settled) != 0)
			return;
		source::hold(w);
		first = append(w, &source::SyncCall::next_called, &one.called, &one.last_called);
	}
	if (first)
		call(one);
}

// It is over: nobody else tells its end. Its thread is to be called: true. With the turn.
bool take_from_thread(Watcher &one, Wait *w)
{
	w->sync.over = true;
	if (!w->sync.begun) {
		source::hold(w); // for the list where it still is
		return false;
	}
	one.begun--;
	bool full = one.ring != nullptr ? one.ring->leave(w) : one.words->leave(w);
	return full || one.begun == 0;
}

// Without its thread, unless its protocol has more than one word, or processes share that. True:
// done, or it has ended already.
bool ends_at_once(Wait *w)
{
	if (!w->sync.protocol->one_word)
		return false;
	Watcher &one = watchers[w->sync.watcher];
	bool to_call;
	{
		Guard<Mutex> turn(one.turn);
		if (w->sync.over)
			return true;
		if (w->sync.shared || !go_on(w))
			return false;
		to_call = take_from_thread(one, w);
	}
	settle(one, w);
	if (to_call)
		call(one);
	return true;
}

// With the lock, which the thread does not take before it has chosen.
bool start(Watcher &one)
{
	one.means.store(none, mo::relaxed);
	if (start_thread(main, &one, "sigevec-futex") != 0)
		return false;
	while (one.means.load(mo::acquire) == none)
		futex_wait(one.means, none, nullptr);
	one.running = true;
	return true;
}

} // namespace

bool works()
{
	return syscall(SYS_futex_waitv, nullptr, 0, 0, nullptr, 0) != 0 && errno != ENOSYS &&
	       errno != EPERM;
}

namespace {

int place(unsigned watcher, unsigned slot)
{
	return static_cast<int>(watcher * 256 + slot);
}

// With the lock held: a slot where waits for this object are, or which is free.
int take_seat(Watcher &one, const void *object)
{
	for (unsigned i = 0; i < slots; i++) {
		Seat &s = one.seats[i];
		if (object != nullptr ? s.object != object : s.taken != 0)
			continue;
		s.taken++;
		one.taken++;
		return static_cast<int>(i);
	}
	return nowhere;
}

bool uses_words(const Watcher &one)
{
	return one.running && one.means.load(mo::relaxed) == by_words;
}

// With the lock held: beside others that wait for the same object.
int reserve_beside(const void *object)
{
	for (unsigned i = 0; object != nullptr && i < most_watchers; i++)
		if (uses_words(watchers[i]))
			if (int slot = take_seat(watchers[i], object); slot != nowhere)
				return place(i, static_cast<unsigned>(slot));
	return nowhere;
}

} // namespace

int reserve(const void *object)
{
	Guard<Mutex> g(lock);
	if (int beside = reserve_beside(object); beside != nowhere)
		return beside;
	static const bool ring_last = FutexRing::counts(); // the first has the ring
	for (unsigned n = 0; n < most_watchers; n++) {
		unsigned i = ring_last ? most_watchers - 1 - n : n;
		Watcher &one = watchers[i];
		if (!one.running && !start(one))
			continue;
		if (!uses_words(one)) {
			one.taken++;
			return place(i, 0);
		}
		int slot = take_seat(one, nullptr);
		if (slot == nowhere)
			continue;
		one.seats[slot].object = object;
		return place(i, static_cast<unsigned>(slot));
	}
	return nowhere;
}

void give_back(int place)
{
	Guard<Mutex> g(lock);
	free_place(watchers[place / 256], static_cast<unsigned>(place % 256));
}

void enter(int place, Wait *w)
{
	Watcher &one = watchers[place / 256];
	w->sync.watcher = static_cast<uint8_t>(place / 256);
	w->sync.slot = static_cast<uint8_t>(place % 256);
	bool first;
	{
		Guard<Mutex> g(lock);
		first = append(w, &source::SyncCall::next, &one.entered, &one.last_entered);
	}
	if (first)
		call(one);
}

// From the flag on its thread may end it at any time.
bool cancel(Wait *w, bool destroy)
{
	uint32_t was = w->flags.fetch_or(destroy ? source::ended : source::cancelled, mo::acq_rel);
	bool outstanding = (was & source::settled) == 0;
	if (outstanding && !ends_at_once(w))
		call_for(w);
	return outstanding;
}

void await(Wait *w)
{
	if ((source::await_flags(w, source::settled | source::let_go) & source::settled) != 0)
		return;
	w->sync.protocol->leave(w);
	source::finish(w, w->result);
}

void after_fork()
{
	lock.reset();
	for (Watcher &one : watchers) {
		one.turn.reset();
		one.ring = nullptr;
		one.words = nullptr;
		one.begun = 0;
		one.running = false;
		one.taken = 0;
		one.entered = one.called = nullptr;
		for (Seat &s : one.seats)
			s = {};
	}
}

} // namespace sigevec::watcher
