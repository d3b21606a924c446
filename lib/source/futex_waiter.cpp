// SPDX-License-Identifier: MIT
//
// Places for waits, and the calls of a waiter's thread by those who begin and cancel waits.
#include "source/futex_waiter_impl.hpp"

#include "base/memory_order.hpp"
#include "nptl.hpp"
#include "source/sync.hpp"

#include <cerrno>

namespace sigevec::futex_waiter {

namespace {

// As a word that processes might share: the kernel keeps these apart from the words of all the
// waits, among which it would look.
void call(FutexWaiter &one)
{
	one.control.fetch_add(1, mo::seq_cst);
	nptl::wake(&one.control, 1, true);
}

// Its waiter is to look at it, unless it is settled.
void call_for(Wait *w)
{
	FutexWaiter &one = waiters[w->sync.at.waiter];
	bool first;
	{
		Guard<Mutex> g(lock);
		if ((w->flags.load(mo::acquire) & source::settled) != 0)
			return;
		source::hold(w);
		first = one.called.push(w);
	}
	if (first)
		call(one);
}

// It is over: nobody else tells its end. Its thread is to be called: true. With the turn.
bool take_from_thread(FutexWaiter &one, Wait *w)
{
	w->sync.at.over = true;
	if (!w->sync.at.begun) {
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
	FutexWaiter &one = waiters[w->sync.at.waiter];
	bool to_call;
	{
		Guard<Mutex> turn(one.turn);
		if (w->sync.at.over)
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

} // namespace

bool works()
{
	return syscall(SYS_futex_waitv, nullptr, 0, 0, nullptr, 0) != 0 && errno != ENOSYS &&
	       errno != EPERM;
}

namespace {

int place(unsigned waiter, unsigned slot)
{
	return static_cast<int>(waiter * 256 + slot);
}

// With the lock held: a slot where waits for this object are, or which is free.
int take_seat(FutexWaiter &one, const void *object)
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

bool uses_words(const FutexWaiter &one)
{
	return one.running && one.means.load(mo::relaxed) == by_words;
}

// With the lock held: beside others that wait for the same object.
int reserve_beside(const void *object)
{
	for (unsigned i = 0; object != nullptr && i < most_waiters; i++)
		if (uses_words(waiters[i]))
			if (int slot = take_seat(waiters[i], object); slot != nowhere)
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
	for (unsigned n = 0; n < most_waiters; n++) {
		unsigned i = ring_last ? most_waiters - 1 - n : n;
		FutexWaiter &one = waiters[i];
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
	free_place(waiters[place / 256], static_cast<unsigned>(place % 256));
}

void enter(int place, Wait *w)
{
	FutexWaiter &one = waiters[place / 256];
	w->sync.at.waiter = static_cast<uint8_t>(place / 256);
	w->sync.at.slot = static_cast<uint8_t>(place % 256);
	bool first;
	{
		Guard<Mutex> g(lock);
		first = one.entered.push(w);
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
	for (FutexWaiter &one : waiters) {
		one.turn.reset();
		one.ring = nullptr;
		one.words = nullptr;
		one.begun = 0;
		one.running = false;
		one.taken = 0;
		one.entered = {};
		one.called = {};
		for (Seat &s : one.seats)
			s = {};
	}
}

} // namespace sigevec::futex_waiter
