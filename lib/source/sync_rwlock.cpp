// SPDX-License-Identifier: MIT
//
// The protocol of read-write locks.
//
// __readers counts readers and says whether the lock is in a write phase and whether there is a
// primary writer. Whoever changes the phase for others tells them by __wrphase_futex (1: a write
// phase), and they may not go on before: explicit hand-over. Other writers wait for the place of
// the primary one at __writers_futex, or are given it (hand_over of __writers) where writers are
// preferred. The stages below are the places where the blocking function would sleep.
#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "nptl.hpp"
#include "source/sync.hpp"

#include <cerrno>

namespace sigevec::source {

using namespace nptl;

namespace {

enum Stage : uint8_t { begun, for_writer, for_phase, for_phase_seen };

pthread_rwlock_t *lock(const Wait *w)
{
	return static_cast<pthread_rwlock_t *>(w->sync.object);
}

// True: the phase (0 or 1) has been handed over. The futex is looked at once more after __readers
// has shown the phase: only then is what it says of this phase, not of the one before.
bool phase_handed_over(Wait *w, uint32_t phase)
{
	auto &d = lock(w)->__data;
	for (;;) {
		uint32_t now = Word(d.__wrphase_futex).load(mo::relaxed);
		if ((now & ~futex_used) != phase) {
			bool marked =
				(now & futex_used) != 0 ||
				Word(d.__wrphase_futex)
					.compare_exchange_weak(now, now | futex_used, mo::relaxed);
			if (marked)
				return sleep_on(w, &d.__wrphase_futex, now | futex_used,
						is_shared(lock(w)));
		} else if (w->sync.stage == for_phase_seen)
			return true;
		else if ((Word(d.__readers).load(mo::acquire) & write_phase) == phase)
			w->sync.stage = for_phase_seen;
		else
			relax(); // between the two writes of whoever changes it
	}
}

bool success(Wait *w)
{
	w->result = 0;
	return true;
}

// ---- readers

// Where readers are never to overtake a writer that waits for other readers.
bool must_let_writer_pass(Wait *w)
{
	auto &d = lock(w)->__data;
	if (d.__flags != prefer_writers_strictly)
		return false;
	uint32_t r = Word(d.__readers).load(mo::relaxed);
	while ((r & (write_phase | write_locked)) == write_locked && r >= one_reader)
		if ((r & readers_wait) != 0 ||
		    Word(d.__readers).compare_exchange_weak(r, r | readers_wait, mo::relaxed)) {
			sleep_on(w, &d.__readers, r | readers_wait, is_shared(lock(w)));
			return true;
		}
	return false;
}

// True: this reader has ended a write phase without a writer, for all.
bool started_read_phase(Wait *w, uint32_t r)
{
	auto &d = lock(w)->__data;
	while ((r & (write_phase | write_locked)) == write_phase)
		if (Word(d.__readers)
			    .compare_exchange_weak(r, r ^ write_phase, mo::acquire, mo::relaxed)) {
			if ((Word(d.__wrphase_futex).exchange(0, mo::relaxed) & futex_used) != 0)
				wake(&d.__wrphase_futex, INT_MAX, is_shared(lock(w)));
			return true;
		}
	return false;
}

// True: too many, and the registration is undone.
bool overflow(Wait *w, uint32_t r)
{
	while (r >= too_many_readers)
		if (Word(lock(w)->__data.__readers)
			    .compare_exchange_weak(r, r - one_reader, mo::relaxed)) {
			w->result = -EAGAIN;
			return true;
		}
	return false;
}

bool step_read(Wait *w)
{
	if (w->sync.stage == begun) {
		if (must_let_writer_pass(w))
			return false;
		uint32_t r = Word(lock(w)->__data.__readers).fetch_add(one_reader, mo::acquire) +
			     one_reader;
		if (overflow(w, r))
			return true;
		if ((r & write_phase) == 0 || started_read_phase(w, r))
			return success(w);
		w->sync.stage = for_phase;
	}
	return phase_handed_over(w, 0) && success(w);
}

bool withdraw_read(Wait *w)
{
	if (w->sync.stage == begun)
		return true;
	auto &d = lock(w)->__data;
	uint32_t r = Word(d.__readers).load(mo::relaxed);
	while ((r & write_phase) != 0)
		if (Word(d.__readers).compare_exchange_weak(r, r - one_reader, mo::relaxed))
			return true;
	std::atomic_thread_fence(mo::acquire);
	return false;
}

void adopt_read(Wait *w)
{
	locked(lock(w), true);
}

// ---- writers

// The place of the primary writer is this one's, and __readers was r.
bool become_primary(Wait *w, uint32_t r)
{
	auto &d = lock(w)->__data;
	// Others may sleep on the futex if this one may have.
	Word(d.__writers_futex).store(1 | (w->sync.position != 0 ? futex_used : 0), mo::relaxed);
	w->sync.stage = for_phase;
	if ((r & write_phase) != 0)
		return success(w);
	while ((r & write_phase) == 0 && r < one_reader)
		if (Word(d.__readers)
			    .compare_exchange_weak(r, r | write_phase, mo::acquire, mo::relaxed)) {
			Word(d.__wrphase_futex).store(1, mo::relaxed);
			return success(w);
		}
	return phase_handed_over(w, 1) && success(w);
}

bool begin_write(Wait *w, uint32_t *r)
{
	auto &d = lock(w)->__data;
	*r = Word(d.__readers).fetch_or(write_locked, mo::acquire);
	if ((*r & write_locked) == 0)
		return true;
	w->sync.stage = for_writer;
	if (d.__flags != prefer_readers) {
		w->sync.registered = true;
		Word(d.__writers).fetch_add(1, mo::relaxed);
	}
	return false;
}

// True: the place has been given to one of the registered, who is this one now.
bool taken_over(Wait *w, uint32_t *r)
{
	auto &d = lock(w)->__data;
	uint32_t n = Word(d.__writers).load(mo::relaxed);
	while (w->sync.registered && (n & hand_over) != 0)
		if (Word(d.__writers)
			    .compare_exchange_weak(n, n - hand_over - 1, mo::acquire,
						   mo::relaxed)) {
			w->sync.registered = false;
			*r = Word(d.__readers).load(mo::relaxed) | write_locked;
			return true;
		}
	return false;
}

// True: this one is the primary writer. False: it sleeps.
bool next_writer(Wait *w, uint32_t *r)
{
	auto &d = lock(w)->__data;
	for (;; relax()) {
		*r = Word(d.__readers).load(mo::relaxed);
		if ((*r & write_locked) == 0) {
			if (!Word(d.__readers)
				     .compare_exchange_weak(*r, *r | write_locked, mo::acquire,
							    mo::relaxed))
				continue;
			if (w->sync.registered)
				Word(d.__writers).fetch_sub(1, mo::relaxed);
			w->sync.registered = false;
			*r |= write_locked;
			return true;
		}
		if (taken_over(w, r))
			return true;
		uint32_t f = Word(d.__writers_futex).load(mo::relaxed);
		if ((f & ~futex_used) == 1 &&
		    (f != 1 || Word(d.__writers_futex)
				       .compare_exchange_weak(f, 1 | futex_used, mo::relaxed))) {
			w->sync.position = 1; // shares the mark with others from now on
			return sleep_on(w, &d.__writers_futex, 1 | futex_used, is_shared(lock(w)));
		}
	}
}

bool step_write(Wait *w)
{
	uint32_t r = 0;
	if (w->sync.stage == begun && begin_write(w, &r))
		return become_primary(w, r);
	if (w->sync.stage == for_writer)
		return next_writer(w, &r) && become_primary(w, r);
	return phase_handed_over(w, 1) && success(w);
}

// Another writer is the primary one now.
bool passed_on(pthread_rwlock_t *l)
{
	auto &d = l->__data;
	uint32_t n = d.__flags != prefer_readers ? Word(d.__writers).load(mo::relaxed) : 0;
	if (n == 0)
		return false;
	uint32_t f = Word(d.__writers_futex).exchange(0, mo::relaxed);
	while (n != 0)
		if (Word(d.__writers)
			    .compare_exchange_weak(n, n | hand_over, mo::release, mo::relaxed)) {
			if ((f & futex_used) != 0)
				wake(&d.__writers_futex, 1, is_shared(l));
			return true;
		}
	Word(d.__writers_futex).store(f, mo::relaxed);
	return false;
}

// There is no primary writer any more, unless the write phase has begun.
bool stepped_down(pthread_rwlock_t *l)
{
	auto &d = l->__data;
	uint32_t r = Word(d.__readers).load(mo::relaxed);
	if ((r & write_phase) != 0)
		return false;
	uint32_t f = Word(d.__writers_futex).exchange(0, mo::relaxed);
	while ((r & write_phase) == 0)
		if (Word(d.__readers)
			    .compare_exchange_weak(r, (r ^ write_locked) & ~readers_wait,
						   mo::release, mo::relaxed)) {
			if ((f & futex_used) != 0)
				wake(&d.__writers_futex, 1, is_shared(l));
			if ((r & readers_wait) != 0)
				wake(&d.__readers, INT_MAX, is_shared(l));
			return true;
		}
	Word(d.__writers_futex).store(f, mo::relaxed);
	return false;
}

// False: it was the last of the registered, and has been given the place: it goes on as the primary
// writer.
bool unregistered(Wait *w)
{
	auto &d = lock(w)->__data;
	uint32_t n = Word(d.__writers).load(mo::relaxed);
	while (!Word(d.__writers)
			.compare_exchange_weak(n, n == hand_over + 1 ? 0 : n - 1, mo::acquire,
					       mo::relaxed))
		;
	w->sync.registered = false;
	return n != hand_over + 1;
}

bool withdraw_write(Wait *w)
{
	if (w->sync.stage == for_writer) {
		if (!w->sync.registered || unregistered(w)) {
			// The wake-up of the last unlock may have been ours: another one is to
			// look, and to mark the futex again.
			wake(&lock(w)->__data.__writers_futex, 1, is_shared(lock(w)));
			return true;
		}
		if (become_primary(w, Word(lock(w)->__data.__readers).load(mo::relaxed)))
			return false;
	}
	if (passed_on(lock(w)) || stepped_down(lock(w)))
		return true;
	std::atomic_thread_fence(mo::acquire);
	return false;
}

void adopt_write(Wait *w)
{
	lock(w)->__data.__cur_writer = this_thread();
	locked(lock(w));
}

void unlock(Wait *w)
{
	pthread_rwlock_unlock(lock(w));
}

} // namespace

const Protocol read_protocol = {step_read, withdraw_read, adopt_read, unlock, nullptr, false};
const Protocol write_protocol = {step_write, withdraw_write, adopt_write, unlock, nullptr, false};

} // namespace sigevec::source
