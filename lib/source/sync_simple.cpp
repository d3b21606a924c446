// SPDX-License-Identifier: MIT
//
// The protocols of semaphores, mutexes and barriers.
#include "base/memory_order.hpp"
#include "nptl.hpp"
#include "source/sync.hpp"

#include <cerrno>

namespace sigevec::source {

using namespace nptl;

bool sleep_on(Wait *w, const void *word, uint32_t value, bool shared)
{
	w->sync.word = word;
	w->sync.value = value;
	w->sync.shared = shared;
	return false;
}

namespace {

// ---- semaphores

// A token is taken together with the waiter's registration, so that a poster never wakes in vain
// for long.
bool step_semaphore(Wait *w)
{
	auto *s = static_cast<sem_t *>(w->sync.object);
	uint64_t registration = w->sync.registered ? one_waiter : 0;
	uint64_t now = semaphore(s).load(mo::relaxed);
	while (static_cast<uint32_t>(now) != 0)
		// Acquire: with the release of every sem_post before.
		if (semaphore(s).compare_exchange_weak(now, now - registration - 1, mo::acquire,
						       mo::relaxed)) {
			w->result = 0;
			acquired(s);
			return true;
		}
	if (!w->sync.registered) {
		w->sync.registered = true;
		// A token that came in between is seen by the kernel: the value is not 0 any more.
		semaphore(s).fetch_add(one_waiter, mo::relaxed);
	}
	return sleep_on(w, value_of(s), 0, is_shared(s));
}

bool withdraw_semaphore(Wait *w)
{
	auto *s = static_cast<sem_t *>(w->sync.object);
	uint64_t before = semaphore(s).fetch_sub(one_waiter, mo::relaxed);
	// The wake-up for a token that is still there may have been ours.
	if (static_cast<uint32_t>(before) != 0 && before - one_waiter >= one_waiter)
		wake(value_of(s), 1, is_shared(s));
	return true;
}

void post(Wait *w)
{
	sem_post(static_cast<sem_t *>(w->sync.object));
}

// ---- mutexes

// Locked now, by nobody yet: glibc counts users while they hold it.
bool got(Wait *w, pthread_mutex_t *m)
{
	m->__data.__nusers++;
	w->result = 0;
	return true;
}

bool step_mutex(Wait *w)
{
	w->sync.mutex = static_cast<pthread_mutex_t *>(w->sync.object);
	uint32_t unlocked = 0;
	if (w->sync.stage == 0 &&
	    lock_of(w->sync.mutex).compare_exchange_strong(unlocked, 1, mo::acquire, mo::relaxed))
		return got(w, w->sync.mutex);
	w->sync.stage = 1;
	return lock_again(w);
}

void adopt(Wait *w)
{
	adopt_mutex(w->sync.mutex);
}

void unlock(Wait *w)
{
	pthread_mutex_unlock(w->sync.mutex);
}

// ---- barriers

// The last of a full turn of the counters starts the barrier anew, for those who wait to enter.
bool leave(Wait *w, Barrier *b, uint32_t last)
{
	bool shared = b->shared != 0;
	bool serial = w->sync.position % count_of(b) == 0;
	// Release: nothing of the barrier's is used after this but by the last one.
	if (Word(b->out).fetch_add(1, mo::release) + 1 == last) {
		std::atomic_thread_fence(mo::acquire);
		Word(b->current_round).store(0, mo::relaxed);
		Word(b->out).store(0, mo::relaxed);
		Word(b->in).store(0, mo::release);
		wake(&b->in, INT_MAX, shared);
	}
	acquired(w->sync.object);
	w->result = 0;
	w->sync.serial = serial;
	return true;
}

bool enter(Wait *w, Barrier *b, uint32_t last)
{
	uint32_t n = Word(b->in).load(mo::relaxed);
	if (w->sync.registered && n > last)
		return false; // not started anew yet
	w->sync.registered = true;
	// What was done before this is seen by all who leave, and the other way round.
	n = Word(b->in).fetch_add(1, mo::acq_rel) + 1;
	w->sync.position = n;
	return n <= last;
}

bool step_barrier(Wait *w)
{
	Barrier *b = layout(static_cast<pthread_barrier_t *>(w->sync.object));
	uint32_t count = count_of(b), last = last_entry(count);
	if (w->sync.stage == 0) {
		while (!enter(w, b, last))
			if (uint32_t n = Word(b->in).load(mo::relaxed); n > last)
				return sleep_on(w, &b->in, n, b->shared != 0);
		w->sync.stage = 1;
	}
	auto position = static_cast<uint32_t>(w->sync.position);
	uint32_t round = Word(b->current_round).load(mo::relaxed);
	while (round + count <= position) {
		uint32_t full = position - position % count;
		if (Word(b->current_round)
			    .compare_exchange_weak(round, full, mo::release, mo::relaxed)) {
			round = full;
			wake(&b->current_round, INT_MAX, b->shared != 0);
		}
	}
	if (position > round)
		return sleep_on(w, &b->current_round, round, b->shared != 0);
	std::atomic_thread_fence(mo::acquire);
	return leave(w, b, last);
}

// As long as its round is not full one entry fewer means that one more must come; who it was does
// not matter.
bool withdraw_barrier(Wait *w)
{
	Barrier *b = layout(static_cast<pthread_barrier_t *>(w->sync.object));
	if (w->sync.stage == 0)
		return true;
	auto position = static_cast<uint32_t>(w->sync.position);
	uint32_t count = count_of(b);
	uint32_t end = position + (count - position % count) % count;
	uint32_t n = Word(b->in).load(mo::relaxed);
	while (n < end)
		if (Word(b->in).compare_exchange_weak(n, n - 1, mo::relaxed))
			return true;
	return false;
}

} // namespace

// Whoever has slept leaves the word at 2: others may be asleep.
bool lock_again(Wait *w)
{
	pthread_mutex_t *m = w->sync.mutex;
	if (lock_of(m).exchange(2, mo::acquire) == 0)
		return got(w, m);
	return sleep_on(w, &m->__data.__lock, 2, is_shared(m));
}

bool withdraw_lock(Wait *w)
{
	pthread_mutex_t *m = w->sync.mutex;
	// If the wake-up of the last unlock was ours: another one is to come, or the owner is to
	// wake one.
	uint32_t now = 1;
	if (!lock_of(m).compare_exchange_strong(now, 2, mo::relaxed) && now == 0)
		wake(&m->__data.__lock, 1, is_shared(m));
	return true;
}

void adopt_mutex(pthread_mutex_t *m)
{
	m->__data.__owner = this_thread();
	if (kind_of(m) == PTHREAD_MUTEX_RECURSIVE_NP)
		m->__data.__count = 1;
	locked(m);
}

const Protocol semaphore_protocol = {
	step_semaphore, withdraw_semaphore, nullptr, post, nullptr, true};
const Protocol mutex_protocol = {step_mutex, withdraw_lock, adopt, unlock, nullptr, true};
const Protocol barrier_protocol = {step_barrier, withdraw_barrier, nullptr,
				   nullptr,      nullptr,          false};

} // namespace sigevec::source
