// SPDX-License-Identifier: MIT
#include "source/watcher.hpp"

#include "nptl.hpp"
#include "runtime/config.hpp"
#include "runtime/sync.hpp"
#include "source/futex_ring.hpp"
#include "source/sync.hpp"

#include <cerrno>

namespace sigevec::watcher {

namespace {

using source::Wait;

constexpr unsigned most_watchers = 8;
constexpr unsigned most_places = 127;

enum Means : uint32_t { none, by_words, by_ring };

struct Watcher {
	std::atomic<uint32_t> control; // changes when there is something to look at beside the words
	std::atomic<uint32_t> means;   // none: its thread has not chosen yet
	// Guarded by the lock.
	bool running;
	unsigned taken;
	Wait *inbox;
	Wait *called; // to be ended before their time, each with a reference
	// The thread's own.
	FutexRing *ring; // on its stack: its successor may begin while this thread still closes it
	unsigned count; // of waits it looks after
	Wait *waits[most_places];
	struct futex_waitv words[most_places + 1];
};

Watcher watchers[most_watchers];
Mutex lock;

void call(Watcher &me)
{
	me.control.fetch_add(1, std::memory_order_seq_cst);
	futex_wake(me.control, 1);
}

bool before(const struct __kernel_timespec &a, const struct __kernel_timespec &b)
{
	return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

bool passed(const struct __kernel_timespec &t)
{
	timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return !before({now.tv_sec, now.tv_nsec}, t);
}

// 0, or why it is to end.
int unwanted(const Wait *w)
{
	if ((w->flags.load(std::memory_order_acquire) & (source::ended | source::cancelled)) != 0)
		return ECANCELED;
	return w->sync.timed && passed(w->sync.deadline) ? ETIMEDOUT : 0;
}

uint32_t value_of(const Wait *w)
{
	return std::atomic_ref<uint32_t>(*static_cast<uint32_t *>(const_cast<void *>(w->sync.word))).load(std::memory_order_relaxed);
}

// True: it has ended, with w->result.
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

// The place first: who has read the event may take it. The event second: a canceller that returns has put it into the queue.
void settle(Watcher &me, Wait *w)
{
	{
		Guard<Mutex> g(lock);
		me.taken--;
	}
	source::push(w);
	{
		// A canceller that has not seen this under the lock has called for w.
		Guard<Mutex> g(lock);
		w->flags.fetch_or(source::settled, std::memory_order_acq_rel);
	}
	futex_wake(w->flags, INT_MAX);
	source::release(w);
}

// False: there has been nothing to do for long enough, and the thread is to end.
bool take_lists(Watcher &me, bool idle, Wait **entered, Wait **called)
{
	Guard<Mutex> g(lock);
	*entered = me.inbox;
	*called = me.called;
	me.inbox = me.called = nullptr;
	if (idle && me.taken == 0)
		me.running = false;
	return me.running;
}

int idle_seconds()
{
	return static_cast<int>(config::limits.idle.load(std::memory_order_relaxed)) + 1;
}

// ---- with words: one futex_waitv

void look_at_all(Watcher &me)
{
	for (unsigned i = 0; i < me.count;) {
		Wait *w = me.waits[i];
		if (!go_on(w)) {
			i++;
			continue;
		}
		me.waits[i] = me.waits[--me.count];
		settle(me, w);
	}
}

void prepare(Watcher &me, uint32_t seen, const struct __kernel_timespec **nearest)
{
	*nearest = nullptr;
	me.words[0] = {seen, reinterpret_cast<uint64_t>(&me.control), FUTEX_32 | FUTEX_PRIVATE_FLAG, 0};
	for (unsigned i = 0; i < me.count; i++) {
		const source::SyncCall &c = me.waits[i]->sync;
		me.words[i + 1] = {c.value, reinterpret_cast<uint64_t>(c.word),
				   FUTEX_32 | (c.shared ? 0u : unsigned{FUTEX_PRIVATE_FLAG}), 0};
		if (c.timed && (*nearest == nullptr || before(c.deadline, **nearest)))
			*nearest = &c.deadline;
	}
}

// True: time-out.
bool sleep(Watcher &me, uint32_t seen)
{
	const struct __kernel_timespec *limit;
	prepare(me, seen, &limit);
	struct __kernel_timespec idle;
	int clock = CLOCK_REALTIME;
	if (me.count == 0) {
		timespec now = monotonic_now();
		idle = {now.tv_sec + idle_seconds(), now.tv_nsec};
		limit = &idle;
		clock = CLOCK_MONOTONIC;
	}
	constexpr timespec moment{0, 1000000};
	long n = syscall(SYS_futex_waitv, me.words, me.count + 1, 0, limit, clock);
	if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ETIMEDOUT)
		clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, nullptr); // a word is no memory any more: the others still go on
	return n < 0 && errno == ETIMEDOUT;
}

void run_with_words(Watcher &me)
{
	Wait *entered, *called;
	for (bool idle = false;;) {
		uint32_t seen = me.control.load(std::memory_order_seq_cst);
		if (!take_lists(me, idle, &entered, &called))
			return;
		for (; entered != nullptr; entered = entered->sync.next)
			me.waits[me.count++] = entered;
		look_at_all(me);
		while (Wait *w = called) {
			called = w->sync.next_called;
			source::release(w);
		}
		idle = sleep(me, seen);
	}
}

// ---- with a ring: a request for each word

void go_on_in_ring(Watcher &me, Wait *w)
{
	if (go_on(w)) {
		me.count--;
		settle(me, w);
	} else
		me.ring->sleep(w);
}

// True: the watcher's own word was told of.
bool take_from_ring(Watcher &me)
{
	bool own = false;
	for (Wait *w; me.ring->next(&w);)
		if (w == nullptr)
			own = true;
		else
			go_on_in_ring(me, w);
	return own;
}

void run_with_ring(Watcher &me)
{
	Wait *entered, *called;
	for (bool idle = false, listening = false;;) {
		uint32_t seen = me.control.load(std::memory_order_seq_cst);
		if (!take_lists(me, idle, &entered, &called))
			return;
		while (Wait *w = entered) {
			entered = w->sync.next;
			me.count++;
			go_on_in_ring(me, w);
		}
		while (Wait *w = called) {
			called = w->sync.next_called;
			if ((w->flags.load(std::memory_order_acquire) & source::settled) == 0)
				me.ring->interrupt(w);
			source::release(w);
		}
		if (!listening)
			me.ring->listen(me.control, seen);
		listening = true;
		bool nothing = me.count == 0;
		me.ring->wait(nothing ? idle_seconds() : -1);
		if (take_from_ring(me))
			listening = false;
		idle = nothing && listening;
	}
}

void *main(void *p)
{
	auto &me = *static_cast<Watcher *>(p);
	FutexRing ring;
	// One thread with a ring is enough for all.
	bool by = &me == &watchers[0] && ring.open();
	me.ring = &ring;
	me.means.store(by ? by_ring : by_words, std::memory_order_release);
	futex_wake(me.means, 1);
	if (by) {
		run_with_ring(me);
		ring.close();
	} else
		run_with_words(me);
	return nullptr;
}

// Its watcher is to look at it, unless it is settled.
void call_for(Wait *w)
{
	Watcher &one = watchers[w->sync.watcher];
	{
		Guard<Mutex> g(lock);
		if ((w->flags.load(std::memory_order_acquire) & source::settled) != 0)
			return;
		source::hold(w->index);
		w->sync.next_called = one.called;
		one.called = w;
	}
	call(one);
}

// With the lock, which the thread does not take before it has chosen.
bool start(Watcher &one)
{
	one.means.store(none, std::memory_order_relaxed);
	if (start_thread(main, &one, "sigevec-futex") != 0)
		return false;
	while (one.means.load(std::memory_order_acquire) == none)
		futex_wait(one.means, none, nullptr);
	one.running = true;
	return true;
}

} // namespace

bool works()
{
	return syscall(SYS_futex_waitv, nullptr, 0, 0, nullptr, 0) != 0 && errno != ENOSYS && errno != EPERM;
}

int reserve()
{
	Guard<Mutex> g(lock);
	for (unsigned i = 0; i < most_watchers; i++) {
		Watcher &one = watchers[i];
		if (!one.running && !start(one))
			continue;
		if (one.means.load(std::memory_order_relaxed) == by_words && one.taken == most_places)
			continue;
		one.taken++;
		return static_cast<int>(i);
	}
	return nowhere;
}

void give_back(int place)
{
	Guard<Mutex> g(lock);
	watchers[place].taken--;
}

void enter(int place, Wait *w)
{
	Watcher &one = watchers[place];
	w->sync.watcher = static_cast<uint8_t>(place);
	{
		Guard<Mutex> g(lock);
		w->sync.next = one.inbox;
		one.inbox = w;
		w->flags.fetch_or(source::watched, std::memory_order_release);
	}
	call(one);
}

bool cancel(Wait *w, bool destroy)
{
	uint32_t was = w->flags.fetch_or(destroy ? source::ended : source::cancelled, std::memory_order_acq_rel);
	bool first = (was & (source::ended | source::cancelled)) == 0;
	bool waits = false;
	for (;;) {
		uint32_t f = w->flags.load(std::memory_order_acquire);
		if ((f & source::settled) != 0)
			return waits;
		if ((f & source::watched) == 0) {
			sched_yield(); // its submission is under way
			continue;
		}
		if (!waits && first)
			call_for(w);
		waits = true;
		futex_wait(w->flags, f, nullptr);
	}
}

void after_fork()
{
	lock.reset();
	for (Watcher &one : watchers) {
		one.running = false;
		one.taken = one.count = 0;
		one.inbox = one.called = nullptr;
	}
}

} // namespace sigevec::watcher
