// SPDX-License-Identifier: MIT
#include "source/watcher.hpp"

#include "nptl.hpp"
#include "runtime/config.hpp"
#include "runtime/sync.hpp"
#include "source/sync.hpp"

#include <cerrno>

namespace sigevec::watcher {

namespace {

using source::Wait;

constexpr unsigned most_watchers = 8;
constexpr unsigned most_places = 127;

struct Watcher {
	std::atomic<uint32_t> control; // changes when there is something to look at beside the words
	// Guarded by the lock.
	bool running;
	unsigned taken;
	Wait *inbox;
	// The thread's own.
	unsigned count;
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

bool passed(const timespec &t)
{
	timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec > t.tv_sec || (now.tv_sec == t.tv_sec && now.tv_nsec >= t.tv_nsec);
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

// The event first: a canceller that returns has put it into the queue.
void settle(Wait *w)
{
	source::push(w);
	w->flags.fetch_or(source::settled, std::memory_order_acq_rel);
	futex_wake(w->flags, INT_MAX);
	source::release(w);
}

void look_at_all(Watcher &me)
{
	unsigned before = me.count;
	for (unsigned i = 0; i < me.count;) {
		Wait *w = me.waits[i];
		if (!go_on(w)) {
			i++;
			continue;
		}
		me.waits[i] = me.waits[--me.count];
		settle(w);
	}
	if (me.count != before) {
		Guard<Mutex> g(lock);
		me.taken -= before - me.count;
	}
}

// False: there has been nothing to do for long enough, and the thread is to end.
bool take_inbox(Watcher &me, bool idle)
{
	Guard<Mutex> g(lock);
	for (; me.inbox != nullptr; me.inbox = me.inbox->sync.next)
		me.waits[me.count++] = me.inbox;
	if (idle && me.taken == 0)
		me.running = false;
	return me.running;
}

void prepare(Watcher &me, uint32_t seen, const timespec **nearest)
{
	*nearest = nullptr;
	me.words[0] = {seen, reinterpret_cast<uint64_t>(&me.control), FUTEX_32 | FUTEX_PRIVATE_FLAG, 0};
	for (unsigned i = 0; i < me.count; i++) {
		const source::SyncCall &c = me.waits[i]->sync;
		me.words[i + 1] = {c.value, reinterpret_cast<uint64_t>(c.word),
				   FUTEX_32 | (c.shared ? 0u : unsigned{FUTEX_PRIVATE_FLAG}), 0};
		if (c.timed && (*nearest == nullptr || c.deadline.tv_sec < (*nearest)->tv_sec ||
				(c.deadline.tv_sec == (*nearest)->tv_sec && c.deadline.tv_nsec < (*nearest)->tv_nsec)))
			*nearest = &c.deadline;
	}
}

// True: time-out.
bool sleep(Watcher &me, uint32_t seen)
{
	const timespec *limit;
	prepare(me, seen, &limit);
	timespec idle;
	int clock = CLOCK_REALTIME;
	if (me.count == 0) {
		idle = monotonic_now();
		idle.tv_sec += static_cast<time_t>(config::limits.idle.load(std::memory_order_relaxed)) + 1;
		limit = &idle;
		clock = CLOCK_MONOTONIC;
	}
	constexpr timespec moment{0, 1000000};
	long n = syscall(SYS_futex_waitv, me.words, me.count + 1, 0, limit, clock);
	if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ETIMEDOUT)
		clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, nullptr); // a word is no memory any more: the others still go on
	return n < 0 && errno == ETIMEDOUT;
}

void *main(void *p)
{
	auto &me = *static_cast<Watcher *>(p);
	for (bool idle = false;;) {
		uint32_t seen = me.control.load(std::memory_order_seq_cst);
		if (!take_inbox(me, idle))
			return nullptr;
		look_at_all(me);
		idle = sleep(me, seen);
	}
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
		if (one.running ? one.taken == most_places : start_thread(main, &one, "sigevec-futex") != 0)
			continue;
		// The thread waits for the lock before it looks at this.
		one.running = true;
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
	w->flags.fetch_or(destroy ? source::ended : source::cancelled, std::memory_order_acq_rel);
	bool waits = false;
	for (;;) {
		uint32_t f = w->flags.load(std::memory_order_acquire);
		if ((f & source::settled) != 0)
			return waits;
		if ((f & source::watched) == 0) {
			sched_yield(); // its submission is under way
			continue;
		}
		if (!waits)
			call(watchers[w->sync.watcher]);
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
		one.inbox = nullptr;
	}
}

} // namespace sigevec::watcher
