// SPDX-License-Identifier: MIT
#include "source/sysv.hpp"

#include "channel/channel.hpp"
#include "interrupt.h"
#include "runtime/config.hpp"
#include "runtime/sync.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <sys/ipc.h>
#include <sys/sem.h>

namespace sigevec::sysv {

namespace {

using source::SysvCall;
using source::Wait;

constexpr timespec slice{0, 10000000};
constexpr timespec moment{0, 100000};
// More operations than any kernel takes.
constexpr size_t most_operations = 65536;

// A call that waits, in one of the lists.
struct Job {
	Job *next, *previous;
	Wait *wait;
	pid_t thread; // while it runs
	bool give_way;
};

struct List {
	Job *first = nullptr, *last = nullptr;
	unsigned length = 0;

	void add(Job *j)
	{
		j->next = nullptr;
		j->previous = last;
		(last != nullptr ? last->next : first) = j;
		last = j;
		length++;
	}
	void remove(Job *j)
	{
		(j->previous != nullptr ? j->previous->next : first) = j->next;
		(j->next != nullptr ? j->next->previous : last) = j->previous;
		length--;
	}
};

Mutex lock;
List waiting, running;
unsigned threads = 0, idle = 0;
bool rotating = false; // the thread that interrupts the others is there
// Changes with every job; waited on by idle threads.
std::atomic<uint32_t> jobs{0};

long blocking_call(const SysvCall &c)
{
	switch (c.op) {
	case SysvCall::Op::receive:
		return syscall(SYS_msgrcv, c.id, c.buf, c.size, c.type, c.flags);
	case SysvCall::Op::send:
		return syscall(SYS_msgsnd, c.id, c.buf, c.size, c.flags);
	default:
		return syscall(SYS_semtimedop, c.id, c.buf, c.size, nullptr);
	}
}

// True: *result is the call's, or -errno. False: it has to wait, or (operations with IPC_NOWAIT among them) perhaps.
bool attempt(const SysvCall &c, ssize_t *result)
{
	constexpr timespec none{0, 0};
	SysvCall now = c;
	now.flags |= IPC_NOWAIT;
	long n = c.op == SysvCall::Op::operate ? syscall(SYS_semtimedop, c.id, c.buf, c.size, &none) : blocking_call(now);
	*result = n < 0 ? -errno : n;
	bool would_wait = n < 0 && (errno == EAGAIN || errno == ENOMSG || errno == EINTR);
	return !would_wait || (c.op != SysvCall::Op::operate && (c.flags & IPC_NOWAIT) != 0 && errno != EINTR);
}

bool tell(Wait *w, event_data_t *d)
{
	d->ev_type = event_type_sync;
	d->ev_un.ev_obj = reinterpret_cast<const void *>(static_cast<intptr_t>(w->sysv.id));
	source::tell_result(w, d);
	return true;
}

void end_call(Wait *w, ssize_t result)
{
	if (w->sysv.op == SysvCall::Op::operate)
		free(w->sysv.buf);
	source::finish(w, result);
}

Job *find(const List &l, const Wait *w)
{
	Job *j = l.first;
	while (j != nullptr && j->wait != w)
		j = j->next;
	return j;
}

// With the lock held: the next call for this thread. nullptr: it has been idle for long enough, and is counted no more.
Job *next_job()
{
	while (waiting.first == nullptr) {
		uint32_t seen = jobs.load(std::memory_order_relaxed);
		timespec limit{static_cast<time_t>(config::limits.idle.load(std::memory_order_relaxed)) + 1, 0};
		idle++;
		lock.unlock();
		int e = futex_wait(jobs, seen, &limit);
		lock.lock();
		idle--;
		if (e == ETIMEDOUT && waiting.first == nullptr) {
			threads--;
			return nullptr;
		}
	}
	Job *j = waiting.first;
	waiting.remove(j);
	return j;
}

// With the lock held, which is given up meanwhile. The event of a call that has ended is told before the call leaves the list: a
// canceller that returns has put it into the queue.
void run(Job *j)
{
	running.add(j);
	lock.unlock();
	long n = blocking_call(j->wait->sysv);
	ssize_t result = n < 0 ? -errno : n;
	lock.lock();
	bool unwanted = (j->wait->flags.load(std::memory_order_relaxed) & source::cancelled) != 0;
	if (result == -EINTR && !unwanted) {
		running.remove(j);
		waiting.add(j);
		return;
	}
	lock.unlock();
	end_call(j->wait, result == -EINTR ? -ECANCELED : result);
	lock.lock();
	running.remove(j);
	free(j);
}

void *worker(void *)
{
	auto self = static_cast<pid_t>(syscall(SYS_gettid));
	lock.lock();
	while (Job *j = next_job()) {
		j->thread = self;
		run(j);
	}
	lock.unlock();
	return nullptr;
}

// As many running calls give way as wait for a turn, the oldest first; again, should a signal have come before the call.
void interrupt_some()
{
	const Job *other = waiting.first;
	for (const Job *j = running.first; j != nullptr && other != nullptr; j = j->next, other = other->next)
		sigevec_interrupt(j->thread);
}

void *rotate(void *)
{
	for (;;) {
		clock_nanosleep(CLOCK_MONOTONIC, 0, &slice, nullptr);
		Guard<Mutex> g(lock);
		if (waiting.first == nullptr) {
			rotating = false;
			return nullptr;
		}
		interrupt_some();
	}
}

// With the lock held, after a job was added. False: there is no thread at all.
bool see_to_threads()
{
	jobs.fetch_add(1, std::memory_order_relaxed);
	futex_wake(jobs, 1);
	// Idle threads that have been woken are still counted.
	if (idle >= waiting.length)
		return true;
	if (threads < config::limits.threads.load(std::memory_order_relaxed) && start_thread(worker, nullptr, "sigevec-sysv") == 0)
		threads++;
	else if (!rotating && threads != 0)
		rotating = start_thread(rotate, nullptr, "sigevec-rotate") == 0;
	return threads != 0;
}

// With the lock held, which is given up meanwhile: until the call has ended, for a signal may come before it.
void interrupt_for_good(const Wait *w)
{
	while (Job *j = find(running, w)) {
		sigevec_interrupt(j->thread);
		lock.unlock();
		clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, nullptr);
		lock.lock();
	}
}

bool cancel(Wait *w, bool)
{
	Job *j;
	{
		Guard<Mutex> g(lock);
		j = find(waiting, w);
		if (j != nullptr)
			waiting.remove(j);
		else if (find(running, w) == nullptr)
			return false;
		w->flags.fetch_or(source::cancelled, std::memory_order_relaxed);
		if (j == nullptr) {
			interrupt_for_good(w);
			j = find(waiting, w); // it gave way in the same moment
			if (j != nullptr)
				waiting.remove(j);
		}
	}
	if (j != nullptr) {
		end_call(w, -ECANCELED);
		free(j);
	}
	return true;
}

constexpr source::Kind kind = {tell, nullptr, cancel, nullptr, true};

// With the lock held: calls before this one on the same object, which it must not overtake.
bool others_before(const SysvCall &c)
{
	for (const List *l : {&waiting, &running})
		for (const Job *j = l->first; j != nullptr; j = j->next)
			if (j->wait->sysv.op == c.op && j->wait->sysv.id == c.id)
				return true;
	return false;
}

int queue(Wait *w)
{
	auto *j = static_cast<Job *>(calloc(1, sizeof(Job)));
	if (j == nullptr || !sigevec_can_interrupt()) {
		free(j);
		return j == nullptr ? EAGAIN : ENOTSUP;
	}
	j->wait = w;
	Guard<Mutex> g(lock);
	waiting.add(j);
	if (see_to_threads())
		return 0;
	waiting.remove(j);
	free(j);
	return EAGAIN;
}

int start_with_room(const SysvCall &call, Channel *c, void *data)
{
	union sigval value;
	value.sival_ptr = data;
	Wait *w = source::create(&kind, c, value);
	if (w == nullptr)
		return EAGAIN;
	w->sysv = call;
	bool first;
	{
		Guard<Mutex> g(lock);
		first = !others_before(call);
	}
	ssize_t result;
	if (first && attempt(call, &result)) {
		end_call(w, result);
		return 0;
	}
	int error = queue(w);
	if (error != 0)
		source::release(w);
	return error;
}

} // namespace

int start(const SysvCall &call, ec_t ec, void *data)
{
	SysvCall own = call;
	if (call.op == SysvCall::Op::operate) {
		if (call.size > most_operations)
			return E2BIG;
		own.buf = malloc((call.size + 1) * sizeof(struct sembuf));
		if (own.buf == nullptr)
			return EAGAIN;
		memcpy(own.buf, call.buf, call.size * sizeof(struct sembuf));
	}
	Channel *c = nullptr;
	int error = channel::admit(ec, &c);
	if (error == 0 && (error = start_with_room(own, c, data)) != 0)
		channel::retract(c);
	if (error != 0 && call.op == SysvCall::Op::operate)
		free(own.buf);
	return error;
}

void after_fork()
{
	lock.reset();
	waiting = running = {};
	threads = idle = 0;
	rotating = false;
}

} // namespace sigevec::sysv
