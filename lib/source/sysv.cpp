// SPDX-License-Identifier: MIT
#include "source/sysv.hpp"

#include "base/event_count.hpp"
#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "interrupt.h"
#include "runtime/config.hpp"
#include "runtime/thread.hpp"
#include "source/rights.hpp"
#include "source/sysv_call.hpp"

#include <cerrno>
#include <sys/ipc.h>

namespace sigevec::sysv {

namespace {

using source::Wait;
using Place = source::SysvWait::Place;

struct List {
	Wait *first = nullptr, *last = nullptr;
	unsigned length = 0;

	void add(Wait *w)
	{
		w->sysv.next = nullptr;
		w->sysv.previous = last;
		(last != nullptr ? last->sysv.next : first) = w;
		last = w;
		length++;
	}
	void remove(Wait *w)
	{
		(w->sysv.previous != nullptr ? w->sysv.previous->sysv.next : first) = w->sysv.next;
		(w->sysv.next != nullptr ? w->sysv.next->sysv.previous : last) = w->sysv.previous;
		length--;
	}
};

Mutex lock;
List waiting, running;
Chains<Wait, &Wait::of_key> by_object; // all of both lists
unsigned threads = 0;
unsigned common = 0; // of them those that take what waits, and whose rights are these:
uint64_t common_rights = 0;
unsigned idle = 0;      // of the common ones
unsigned dismissed = 0; // of the idle ones: are to end, and counted in `threads' no more
bool attended = false;  // the attendant is there
// Counts waits that are queued; idle threads sleep on it.
EventCount queued;
// Changes when a call has ended; waited on by the attendant when it makes long pauses.
std::atomic<uint32_t> ends{0};
std::atomic<bool> long_pause{false};

bool tell(Wait *w, event_data_t *d)
{
	d->ev_type = event_type_sync;
	d->ev_un.ev_obj = reinterpret_cast<const void *>(static_cast<intptr_t>(w->sysv.call.id));
	source::tell_result(w, d);
	return true;
}

uint64_t hash_of_object(const SysvCall &c)
{
	return hash_of(static_cast<uint64_t>(c.op), static_cast<uint64_t>(c.id));
}

bool unwanted(const Wait *w)
{
	return (w->flags.load(mo::acquire) & source::cancelled) != 0;
}

// With the lock held: it is in neither list any more, and ends outside of the lock.
void take_off(List &l, Wait *w)
{
	l.remove(w);
	by_object.remove(w);
	w->sysv.place = Place::over;
}

// Not with the lock.
void end_call(Wait *w, ssize_t result)
{
	free_operations(w->sysv.call);
	source::finish(w, result);
}

// ---- threads, each in one call

// With the lock held: the oldest that nobody tries just now.
Wait *oldest()
{
	Wait *w = waiting.first;
	while (w != nullptr && w->sysv.place != Place::queue)
		w = w->sysv.next;
	return w;
}

void set_running(Wait *w, pid_t thread)
{
	w->sysv.place = Place::thread;
	w->sysv.thread = thread;
	running.add(w);
}

// With the lock held: the next call for this thread. nullptr: it has been idle for long enough, and
// is counted no more.
Wait *next_call(pid_t self)
{
	Wait *w;
	while ((w = oldest()) == nullptr) {
		EventCount::Key seen = queued.key();
		timespec limit{static_cast<time_t>(config::limits.idle.load(mo::relaxed)) + 1, 0};
		idle++;
		lock.unlock();
		int e = queued.sleep(seen, &limit);
		lock.lock();
		idle--;
		if (dismissed == 0 && (e != ETIMEDOUT || oldest() != nullptr))
			continue;
		(dismissed != 0 ? dismissed : threads)--;
		common--;
		return nullptr;
	}
	waiting.remove(w);
	set_running(w, self);
	return w;
}

// Waits until it has ended or is unwanted (-EINTR). A signal that did not cancel it changes
// nothing; but it may be the one by which libc changes the rights of all threads.
ssize_t wait_for_end(Wait *w, bool is_common)
{
	for (;;) {
		ssize_t result = wait_in(w->sysv.call);
		if (result != -EINTR || unwanted(w))
			return result;
		uint64_t rights = is_common ? rights::to_objects() : 0;
		Guard<Mutex> g(lock);
		if (is_common)
			common_rights = rights;
	}
}

// With the lock held, which is given up meanwhile.
void run(Wait *w, bool is_common)
{
	lock.unlock();
	ssize_t result = wait_for_end(w, is_common);
	lock.lock();
	take_off(running, w);
	lock.unlock();
	end_call(w, result == -EINTR ? -ECANCELED : result);
	ends.fetch_add(1, mo::seq_cst);
	if (long_pause.load(mo::seq_cst))
		futex_wake(ends, 1);
	lock.lock();
}

void *common_thread(void *)
{
	auto self = static_cast<pid_t>(syscall(SYS_gettid));
	lock.lock();
	while (Wait *w = next_call(self))
		run(w, true);
	lock.unlock();
	return nullptr;
}

// For one call, of a caller with rights of its own.
void *single_thread(void *wait)
{
	auto *w = static_cast<Wait *>(wait);
	lock.lock();
	w->sysv.thread = static_cast<pid_t>(syscall(SYS_gettid));
	run(w, false);
	threads--;
	lock.unlock();
	return nullptr;
}

// ---- the attendant

// Queues whose first has been tried in vain, in one round. Two may look the same; not so in the
// next round.
class Seen {
public:
	explicit Seen(uint64_t round) : round_(round) {}

	// False: it has been there.
	bool add(uint64_t queue)
	{
		uint64_t h = hash_of(queue, round_) % bits;
		uint64_t bit = uint64_t{1} << h % 64;
		bool is_new = (word_[h / 64] & bit) == 0;
		word_[h / 64] |= bit;
		return is_new;
	}

private:
	static constexpr unsigned bits = 16384;
	uint64_t round_;
	uint64_t word_[bits / 64] = {};
};

// With the lock held, which is given up meanwhile. True: it has ended, with w->result.
bool try_one(Wait *w)
{
	w->sysv.place = Place::tried;
	lock.unlock();
	bool ended = attempt_again(w->sysv.call, &w->result);
	lock.lock();
	if (!ended && unwanted(w)) {
		w->result = -ECANCELED;
		ended = true;
	}
	w->sysv.place = Place::queue;
	return ended;
}

// With the lock held, which is given up meanwhile. Returns those that have ended.
Wait *try_all(uint64_t round)
{
	Seen seen(round);
	for (Wait *w = running.first; w != nullptr; w = w->sysv.next)
		seen.add(w->sysv.queue);
	Wait *ended = nullptr;
	for (Wait *w = waiting.first, *next; w != nullptr; w = next) {
		bool has_ended = seen.add(w->sysv.queue) && try_one(w);
		next = w->sysv.next; // only now: while it is tried it stays where it is, others do
				     // not
		if (!has_ended)
			continue;
		take_off(waiting, w);
		w->sysv.next = ended;
		ended = w;
	}
	return ended;
}

int64_t nanoseconds_now()
{
	timespec t = monotonic_now();
	return t.tv_sec * 1000000000 + t.tv_nsec;
}

// How long the attendant pauses after a round.
class Pause {
public:
	void after(bool something_came, int64_t cost)
	{
		length_ = something_came ? shortest : length_ * 2 < longest ? length_ * 2 : longest;
		if (length_ < cost * 100)
			length_ = cost * 100;
	}

	// Until then, or until a call has ended during a long one.
	void make()
	{
		timespec t{static_cast<time_t>(length_ / 1000000000),
			   static_cast<long>(length_ % 1000000000)};
		bool is_long = length_ > shortest;
		long_pause.store(is_long, mo::seq_cst);
		uint32_t now = ends.load(mo::seq_cst);
		if (futex_wait(ends, now, &t) != ETIMEDOUT && is_long)
			length_ = shortest;
		long_pause.store(false, mo::seq_cst);
	}

private:
	static constexpr int64_t shortest = 10000000, longest = 100000000;
	int64_t length_ = shortest;
};

void *attend(void *)
{
	Pause pause;
	lock.lock();
	for (uint64_t round = 1; waiting.first != nullptr; round++) {
		int64_t begun = nanoseconds_now();
		Wait *ended = try_all(round);
		lock.unlock();
		pause.after(ended != nullptr, nanoseconds_now() - begun);
		while (Wait *w = ended) {
			ended = w->sysv.next;
			end_call(w, w->result);
		}
		pause.make();
		lock.lock();
	}
	attended = false;
	lock.unlock();
	return nullptr;
}

// ---- a call that has to wait

// With the lock held: one of the threads will see to what was queued last. False: none can be had.
bool see_to_threads()
{
	queued.notify(1);
	// Idle threads that have been woken are still counted.
	if (idle - dismissed >= waiting.length)
		return true;
	if (threads < config::limits.threads.load(mo::relaxed) &&
	    start_thread(common_thread, nullptr, "sigevec-sysv") == 0) {
		threads++;
		common++;
		return true;
	}
	if (!attended)
		attended = start_thread(attend, nullptr, "sigevec-attend") == 0;
	return attended;
}

// With the lock held: an idle thread makes way for another. False: there is none.
bool dismiss_one()
{
	if (idle == dismissed)
		return false;
	dismissed++;
	threads--;
	queued.notify(1);
	return true;
}

// With the lock held, as the next two. 0 or an errno.
int queue_for_all(Wait *w, uint64_t rights)
{
	common_rights = rights;
	w->sysv.place = Place::queue;
	waiting.add(w);
	if (see_to_threads())
		return 0;
	waiting.remove(w);
	return EAGAIN;
}

int start_for_one(Wait *w)
{
	unsigned most = config::limits.threads.load(mo::relaxed);
	bool full = threads >= most && !dismiss_one();
	if (full || start_thread(single_thread, w, "sigevec-sysv") != 0)
		return EAGAIN;
	threads++;
	set_running(w, 0);
	return 0;
}

int wait_for_turn(Wait *w)
{
	if (!sigevec_can_interrupt())
		return ENOTSUP;
	w->sysv.queue = queue_of(w->sysv.call);
	uint64_t rights = rights::to_objects();
	Guard<Mutex> g(lock);
	bool nobody = common == 0 && waiting.first == nullptr && !attended;
	int error = nobody || rights == common_rights ? queue_for_all(w, rights) : start_for_one(w);
	if (error == 0)
		by_object.add(w, hash_of_object(w->sysv.call));
	return error;
}

// Earlier calls on the same object wait, which this one must not overtake. What would not wait
// overtakes nobody.
bool is_behind_others(const SysvCall &c)
{
	if (c.op != SysvCall::Op::operate && (c.flags & IPC_NOWAIT) != 0)
		return false;
	Guard<Mutex> g(lock);
	const Wait *w = by_object.first(hash_of_object(c));
	while (w != nullptr && (w->sysv.call.op != c.op || w->sysv.call.id != c.id))
		w = by_object.next(w);
	return w != nullptr;
}

int begin(Wait *w, const SysvCall &call)
{
	w->sysv = {};
	w->sysv.call = call;
	ssize_t result;
	if (is_behind_others(call) ? !is_refused(call, &result) : !attempt(call, &result))
		return wait_for_turn(w);
	end_call(w, result);
	return 0;
}

// ---- its end before its time

bool cancel(Wait *w, bool)
{
	w->flags.fetch_or(source::cancelled, mo::acq_rel);
	lock.lock();
	Place place = w->sysv.place;
	if (place == Place::queue)
		take_off(waiting, w);
	else if (place == Place::thread)
		sigevec_interrupt(w->sysv.thread);
	lock.unlock();
	if (place == Place::queue)
		end_call(w, -ECANCELED);
	return place != Place::over;
}

// Again and again, for a signal may come before the call.
void await(Wait *w)
{
	constexpr long longest = 10000000;
	for (timespec moment{0, 100000};;
	     moment.tv_nsec = moment.tv_nsec * 2 < longest ? moment.tv_nsec * 2 : longest) {
		uint32_t now = w->flags.fetch_or(source::awaited, mo::acq_rel) | source::awaited;
		if ((now & source::settled) != 0)
			return;
		source::await_change(w, now, &moment);
		Guard<Mutex> g(lock);
		if (w->sysv.place == Place::thread)
			sigevec_interrupt(w->sysv.thread);
	}
}

constexpr source::Kind kind = {tell, nullptr, cancel, await, nullptr, true};

} // namespace

int start(const SysvCall &call, ec_t ec, void *data)
{
	SysvCall own = call;
	int error = copy_operations(&own);
	if (error != 0)
		return error;
	union sigval value;
	value.sival_ptr = data;
	error = source::submit(&kind, ec, value, [&](Wait *w) { return begin(w, own); });
	if (error != 0)
		free_operations(own);
	return error;
}

void after_fork()
{
	lock.reset();
	waiting = running = {};
	by_object.forget();
	threads = idle = common = dismissed = 0;
	attended = false;
	queued.reset();
}

} // namespace sigevec::sysv
