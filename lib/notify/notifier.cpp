// SPDX-License-Identifier: MIT
#include "notify/notifier.hpp"

#include "base/event_count.hpp"
#include "base/inbox.hpp"
#include "base/memory_order.hpp"
#include "base/queue.hpp"
#include "base/sync.hpp"
#include "cancellation.h"
#include "notify/notify.hpp"
#include "runtime/config.hpp"
#include "runtime/exit_watch.hpp"
#include "runtime/probes.hpp"
#include "runtime/thread.hpp"

#include <climits>
#include <cstdlib>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace sigevec::notifier {

namespace {

// Newest first; a taker turns it round. Pushed to from signal handlers and every kind of thread,
// hence lock-free.
std::atomic<Notification *> inbox{nullptr};
// Oldest first; guarded by `order', which only notification threads take.
Notification *oldest = nullptr;
Mutex order;
// Counts pushes; idle threads sleep on it.
EventCount pushes;
std::atomic<uint32_t> threads{0};

// What waits for a thread, and the submitters who are held back while that is too much.
class Waiting {
public:
	void add() { count_.fetch_add(1, mo::seq_cst); }

	// One has got its thread. Submitters are woken together when there is room for some.
	void taken()
	{
		constexpr uint32_t some = most_waiting / 8;
		uint32_t left = count_.fetch_sub(1, mo::seq_cst) - 1;
		if (bound_.load(mo::relaxed) != most_waiting)
			bound_.store(most_waiting, mo::relaxed);
		changes_.advance();
		if (left == most_waiting - some)
			changes_.wake(INT_MAX);
	}

	// By a submitter: until there is room, for `longest' at most.
	void hold_back()
	{
		if (count_.load(mo::relaxed) < bound_.load(mo::relaxed))
			return;
		EventCount::Key first = changes_.key(), seen = first;
		uint64_t now = monotonic_ns(), end = now + longest;
		while (count_.load(mo::seq_cst) >= most_waiting && now < end) {
			timespec rest{0, static_cast<long>(end - now)};
			changes_.sleep(seen, &rest);
			seen = changes_.key();
			now = monotonic_ns();
		}
		if (seen == first && now >= end)
			bound_.store(count_.load(mo::relaxed) + 8, mo::relaxed);
	}

	void reset()
	{
		count_.store(0, mo::relaxed);
		bound_.store(most_waiting, mo::relaxed);
		changes_.reset();
	}

private:
	static constexpr uint64_t longest = 8000000; // ns

	std::atomic<uint32_t> count_{0};
	// From how many on a submitter is held back. More after one has waited in vain: functions
	// may wait for the submitters, and no thread be had. It is for the submitters' own sake, so
	// a lost update does no harm.
	std::atomic<uint32_t> bound_{most_waiting};
	EventCount changes_; // counts what has been taken
};

constinit Waiting waiting;

Notification *take()
{
	Guard<Mutex> g(order);
	if (oldest == nullptr)
		oldest = reversed(inbox.exchange(nullptr, mo::acquire));
	Notification *n = oldest;
	if (n != nullptr) {
		oldest = n->next.load(mo::relaxed);
		waiting.taken();
	}
	return n;
}

void *pool_main(void *);

bool add_thread()
{
	threads.fetch_add(1, mo::relaxed);
	if (start_program_thread(pool_main, nullptr, "sigevec-notify") == 0)
		return true;
	threads.fetch_sub(1, mo::relaxed);
	return false;
}

// What a function finds is what a new thread would have: no signal blocked, cancellation enabled
// and deferred.
void as_new_thread()
{
	sigset_t none;
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

void back_in_pool()
{
	sigset_t all;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, nullptr);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
}

void thread_of_its_own_ended(void *p)
{
	notify::delivered(*static_cast<Notification *>(p));
}

void pool_thread_ended(void *p)
{
	// The thread is going: replace it, for the sake of what is queued.
	threads.fetch_sub(1, mo::relaxed);
	add_thread();
	notify::delivered(*static_cast<Notification *>(p));
}

// cleanup: what is left to do if the function ends its thread instead of returning.
void run(Notification &n, void (*cleanup)(void *))
{
	as_new_thread();
	sigevec_call_with_cleanup(n.event.function, n.event.value, cleanup, &n);
	notify::delivered(n);
}

void *own_thread_main(void *p)
{
	// Nobody joins it, whatever the attributes say; if they already say so, this is refused.
	pthread_detach(pthread_self());
	run(*static_cast<Notification *>(p), thread_of_its_own_ended);
	return nullptr;
}

bool run_on_own_thread(Notification &n)
{
	pthread_t t;
	return pthread_create(&t, n.event.attributes, own_thread_main, &n) == 0;
}

// ---- signals ----

// Those that the kernel had no room for, oldest first, and whether a thread is at them. Guarded by
// `order'.
Queue<Notification> late;
bool repeating = false;

// True: nobody is at them, so the caller has to be.
bool add_late(Notification &n)
{
	Guard<Mutex> g(order);
	late.push(&n);
	return !std::exchange(repeating, true);
}

Notification *next_late()
{
	Guard<Mutex> g(order);
	Notification *n = late.pop();
	if (n == nullptr)
		repeating = false;
	return n;
}

// There is room when the program has taken a signal. Nobody is told of that.
void repeat(Notification &n)
{
	constexpr long longest = 50000000;
	for (struct timespec pause = {0, 1000000}; !notify::send_now(n.event);) {
		syscall(SYS_nanosleep, &pause, nullptr);
		pause.tv_nsec = pause.tv_nsec * 2 < longest ? pause.tv_nsec * 2 : longest;
	}
	notify::delivered(n);
}

void repeat_signals(Notification &n)
{
	if (!add_late(n))
		return;
	if (pushes.sleepers() == 0)
		add_thread(); // for what else is queued
	while (Notification *signal = next_late())
		repeat(*signal);
}

// ---- functions ----

void dispatch(Notification &n)
{
	if (n.event.notify == SIGEV_SIGNAL) {
		repeat_signals(n);
		return;
	}
	stats::count(stats::notify_thread);
	SIGEVEC_PROBE3(notify, SIGEV_THREAD, 0, n.event.value.sival_ptr);
	// A thread for each: what an earlier function has changed (affinity, locale, rounding, its
	// thread-local variables) is not to be found.
	if (run_on_own_thread(n))
		return;
	stats::count(stats::notify_thread_shared);
	// The function may block for as long as it likes: someone else must be there for the next
	// one.
	if (pushes.sleepers() == 0 && !add_thread())
		stats::count(stats::notify_thread_shared);
	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, nullptr);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, nullptr);
	exit_watch::ended(); // it is the program's, until the function returns
	run(n, pool_thread_ended);
	exit_watch::began();
	back_in_pool();
}

void *pool_main(void *)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
	for (;;) {
		EventCount::Key seen = pushes.key();
		if (Notification *n = take()) {
			dispatch(*n);
			continue;
		}
		timespec limit{static_cast<time_t>(config::limits.idle.load(mo::relaxed)) + 1, 0};
		int e = pushes.sleep(seen, &limit);
		// The last thread stays: it is the one that needs no thread to be made.
		if (e == ETIMEDOUT && pushes.key() == seen) {
			uint32_t n = threads.load(mo::relaxed);
			while (n > 1)
				if (threads.compare_exchange_weak(n, n - 1, mo::relaxed))
					return nullptr;
		}
	}
}

} // namespace

void ensure()
{
	if (threads.load(mo::relaxed) == 0) {
		uint32_t none = 0;
		if (threads.compare_exchange_strong(none, 1, mo::relaxed) &&
		    start_program_thread(pool_main, nullptr, "sigevec-notify") != 0)
			threads.store(0, mo::relaxed);
	}
}

void admit()
{
	ensure();
	waiting.hold_back();
}

void queue(Notification &n)
{
	if (n.event.notify == SIGEV_SIGNAL)
		ensure();
	if (threads.load(mo::relaxed) == 0 && n.event.notify == SIGEV_SIGNAL) {
		stats::count(stats::notify_signal_lost);
		notify::delivered(n);
		return;
	}
	if (threads.load(mo::relaxed) == 0) {
		// Not one thread can be made: the function still runs, here, even if here is a
		// thread of the helper's.
		stats::count(stats::notify_thread_shared);
		BlockSignals keep_mask;
		run(n, thread_of_its_own_ended);
		return;
	}
	waiting.add();
	Notification *head = inbox.load(mo::relaxed);
	do
		n.next.store(head, mo::relaxed);
	while (!inbox.compare_exchange_weak(head, &n, mo::release));
	pushes.notify(1);
}

void after_fork()
{
	inbox.store(nullptr, mo::relaxed);
	oldest = nullptr;
	late = {};
	repeating = false;
	order.reset();
	threads.store(0, mo::relaxed);
	pushes.reset();
	waiting.reset();
}

} // namespace sigevec::notifier
