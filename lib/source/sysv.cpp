// SPDX-License-Identifier: MIT
//
// Calls of System V that wait: threads, each in one call, and the list of those for which there is
// none.
#include "source/sysv_impl.hpp"

#include "base/event_count.hpp"
#include "base/memory_order.hpp"
#include "base/thread_id.hpp"
#include "interrupt.h"
#include "runtime/config.hpp"
#include "runtime/thread.hpp"
#include "source/rights.hpp"

#include <cerrno>
#include <sys/ipc.h>

namespace sigevec::sysv {

Mutex lock;
Calls waiting, running;
bool attended = false;
std::atomic<uint32_t> ends{0};
std::atomic<bool> long_pause{false};

namespace {

Chains<Wait, &Wait::of_key> by_object; // all of both lists
unsigned threads = 0;
unsigned common = 0; // of them those that take what waits, and whose rights are these:
uint64_t common_rights = 0;
unsigned idle = 0;      // of the common ones
unsigned dismissed = 0; // of the idle ones: are to end, and counted in `threads' no more
// Counts waits that are queued; idle threads sleep on it.
EventCount queued;

bool describe(Wait *w, event_data_t *d)
{
	d->ev_type = event_type_sync;
	d->ev_un.ev_obj = reinterpret_cast<const void *>(static_cast<intptr_t>(w->sysv.call.id));
	source::describe_result(w, d);
	return true;
}

uint64_t hash_of_object(const SysvCall &c)
{
	return hash_of(static_cast<uint64_t>(c.op), static_cast<uint64_t>(c.id));
}

} // namespace

void take_off(Calls &l, Wait *w)
{
	l.remove(w);
	by_object.remove(w);
	w->sysv.place = Place::over;
}

void end_call(Wait *w, ssize_t result)
{
	free_operations(w->sysv.call);
	source::finish(w, result);
}

namespace {

// ---- threads, each in one call

// With the lock held: the oldest that nobody tries just now.
Wait *oldest()
{
	Wait *w = waiting.first();
	while (w != nullptr && w->sysv.place != Place::queue)
		w = Calls::after(w);
	return w;
}

void set_running(Wait *w, pid_t thread)
{
	w->sysv.place = Place::thread;
	w->sysv.thread = thread;
	running.push(w);
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
	auto self = thread_id();
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
	w->sysv.thread = thread_id();
	run(w, false);
	threads--;
	lock.unlock();
	return nullptr;
}

// ---- a call that has to wait

// With the lock held: one of the threads will see to what was queued last. False: none can be had.
bool see_to_threads()
{
	queued.notify(1);
	// Idle threads that have been woken are still counted.
	if (idle - dismissed >= waiting.length())
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
	waiting.push(w);
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
	bool nobody = common == 0 && waiting.empty() && !attended;
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

constexpr source::Kind kind = {describe, nullptr, cancel, await, nullptr, true};

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
