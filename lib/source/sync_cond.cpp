// SPDX-License-Identifier: MIT
//
// The protocol of condition variables (glibc 2.25 to 2.41).
//
// A waiter has a position in the sequence and belongs to the group that was the newer one when it
// came (the lowest bit of its position). Signals are counted in the group and taken from there; a
// group that has been signalled whole is closed, and its words are used again. Before glibc 2.41
// that is once no reference to it is left: so who sleeps on a group's word holds a reference, and
// gives it up before anything else. Since then it is at once: signals are counted from the start of
// the older group, which never goes back, so that signals of an earlier use are none.
#include "base/memory_order.hpp"
#include "nptl.hpp"
#include "source/sync.hpp"

#include <cerrno>

namespace sigevec::source {

using namespace nptl;

namespace {

enum Stage : uint8_t { for_signal, asleep_in_group, for_mutex };

constexpr uint32_t most_in_group = 1u << 29;

pthread_cond_t *condition(const Wait *w)
{
	return static_cast<pthread_cond_t *>(w->sync.object);
}

// Found out once, by whoever is first or by several.
enum class Form { unknown, with_references, without };
std::atomic<Form> form{Form::unknown};

bool with_references()
{
	Form f = form.load(mo::relaxed);
	if (f == Form::unknown) {
		f = condition_with_references() ? Form::with_references : Form::without;
		form.store(f, mo::relaxed);
	}
	return f == Form::with_references;
}

Condition *counters(const Wait *w)
{
	return layout(condition(w));
}

ConditionWords *words(const Wait *w)
{
	return nptl::words(counters(w), with_references());
}

// By references, of groups.
uint32_t &references(const Wait *w)
{
	return counters(w)->more[w->sync.position & 1];
}

bool shared(const ConditionWords *c)
{
	return (Word(const_cast<uint32_t &>(c->waiters)).load(mo::relaxed) & 1) != 0;
}

uint32_t group(const Wait *w)
{
	return static_cast<uint32_t>(w->sync.position & 1);
}

uint64_t start_of_first(const Wait *w)
{
	return Wide(counters(w)->first_start).load(mo::relaxed);
}

// Of the older group, as a place in the sequence.
uint64_t first_place(const Wait *w)
{
	return with_references() ? start_of_first(w) >> 1 : start_of_first(w);
}

bool group_is_past(const Wait *w)
{
	return w->sync.position >> 1 < first_place(w);
}

// Out of the group's word; a signaller may wait for that.
void drop_reference(Wait *w)
{
	uint32_t &count = references(w);
	w->sync.stage = for_signal;
	if (Word(count).fetch_sub(2, mo::release) != 3)
		return;
	Word(count).fetch_and(~1u, mo::relaxed);
	wake(&count, INT_MAX, shared(words(w)));
}

// No longer a waiter; the last one wakes pthread_cond_destroy.
void confirm(Wait *w)
{
	ConditionWords *c = words(w);
	bool between_processes = shared(c);
	if (Word(c->waiters).fetch_sub(8, mo::release) >> 2 == 3)
		wake(&c->waiters, INT_MAX, between_processes);
}

// The signal may have been one for a later group in the same words: then it is put back, at worst
// one too many.
void undo_theft(Wait *w)
{
	ConditionWords *c = words(w);
	uint32_t g = group(w);
	uint64_t start = start_of_first(w);
	if (w->sync.position >> 1 >= start >> 1 || ((start & 1) ^ 1) != g)
		return;
	uint32_t s = Word(c->signals[g]).load(mo::relaxed);
	while (start_of_first(w) == start)
		if ((s & 1) != 0 ||
		    Word(c->signals[g]).compare_exchange_weak(s, s + 2, mo::relaxed)) {
			wake(&c->signals[g], 1, shared(c));
			return;
		}
}

// True: signalled. False: it sleeps in its group, with a reference.
bool take_with_reference(Wait *w)
{
	ConditionWords *c = words(w);
	uint32_t &signals = c->signals[group(w)];
	if (w->sync.stage == asleep_in_group)
		drop_reference(w);
	uint32_t s = Word(signals).load(mo::acquire);
	while ((s & 1) == 0 && s != 0)
		if (Word(signals).compare_exchange_weak(s, s - 2, mo::acquire, mo::relaxed)) {
			undo_theft(w);
			return true;
		}
	if ((s & 1) != 0)
		return true;
	// Acquire: either the signaller that closes the group sees the reference, or this sees the
	// group closed.
	Word(references(w)).fetch_add(2, mo::acquire);
	w->sync.stage = asleep_in_group;
	if ((Word(signals).load(mo::acquire) & 1) != 0 || group_is_past(w)) {
		drop_reference(w);
		return true;
	}
	return sleep_on(w, &signals, 0, shared(c));
}

// The same of glibc 2.41.
bool take_from_start(Wait *w)
{
	ConditionWords *c = words(w);
	Word signals(c->signals[group(w)]);
	for (;;) {
		// Acquire: who sees the signals of the words' next use sees where that starts.
		uint32_t s = signals.load(mo::acquire);
		uint64_t start = start_of_first(w);
		// Past: there have been signals for all of its group.
		if (w->sync.position >> 1 < start)
			return true;
		if (static_cast<int32_t>(s - static_cast<uint32_t>(start)) <= 0)
			return sleep_on(w, &c->signals[group(w)], s, shared(c));
		if (signals.compare_exchange_weak(s, s - 1, mo::acquire, mo::relaxed))
			return true;
	}
}

bool take_signal(Wait *w)
{
	return with_references() ? take_with_reference(w) : take_from_start(w);
}

// With the inner lock, a mutex in the lowest two bits of a word.
void lock_inside(ConditionWords *c)
{
	Word word(c->first_size);
	uint32_t s = word.load(mo::relaxed);
	while ((s & 3) == 0)
		if (word.compare_exchange_weak(s, s | 1, mo::acquire, mo::relaxed))
			return;
	for (;;) {
		while ((s & 3) != 2)
			if (word.compare_exchange_weak(s, (s & ~3u) | 2, mo::acquire,
						       mo::relaxed)) {
				if ((s & 3) == 0)
					return;
				s = (s & ~3u) | 2;
			}
		syscall(SYS_futex, &c->first_size, shared(c) ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE, s,
			nullptr, nullptr, 0);
		s = word.load(mo::relaxed);
	}
}

void unlock_inside(ConditionWords *c)
{
	if ((Word(c->first_size).fetch_and(~3u, mo::release) & 3) == 2)
		wake(&c->first_size, 1, shared(c));
}

enum class Left { group, with_signal, overflow };

// Its group becomes smaller, if that still can be; otherwise it has a signal that was meant for
// somebody.
Left leave_group(Wait *w)
{
	ConditionWords *c = words(w);
	uint64_t position = w->sync.position >> 1, start = first_place(w);
	uint32_t &size = c->size[group(w)];
	if (start > position)
		return Left::with_signal;
	bool newer = start + (c->first_size >> 2) <= position;
	if (newer ? size + most_in_group == 0 : size == 0)
		return newer ? Left::overflow : Left::with_signal;
	size--;
	return Left::group;
}

void cancel_waiting(Wait *w)
{
	ConditionWords *c = words(w);
	lock_inside(c);
	Left left = leave_group(w);
	unlock_inside(c);
	if (left == Left::with_signal)
		pthread_cond_signal(condition(w));
	else if (left == Left::overflow)
		pthread_cond_broadcast(condition(w));
}

// By the submitter, who has the mutex. 0 or the error of unlocking it.
int enter(Wait *w)
{
	w->sync.position = Wide(counters(w)->sequence).fetch_add(2, mo::acquire);
	Word(words(w)->waiters).fetch_add(8, mo::relaxed);
	w->sync.registered = true;
	// Not before: a signal that follows must find the waiter.
	int error = pthread_mutex_unlock(w->sync.mutex);
	if (error != 0) {
		cancel_waiting(w);
		confirm(w);
	}
	return error;
}

bool step(Wait *w)
{
	if (!w->sync.registered)
		if (int error = enter(w); error != 0) {
			w->result = -error;
			return true;
		}
	if (w->sync.stage != for_mutex) {
		if (!take_signal(w))
			return false;
		// Before the mutex: who has that may destroy the condition variable.
		confirm(w);
		w->sync.stage = for_mutex;
	}
	return lock_again(w);
}

bool withdraw(Wait *w)
{
	if (w->sync.stage == for_mutex)
		return withdraw_lock(w);
	if (w->sync.stage == asleep_in_group)
		drop_reference(w);
	w->sync.at.leaves = true;
	return true;
}

// The lock inside may be a signaller's, who waits there for the references of a group: those of
// other waits of the same waiter.
void leave(Wait *w)
{
	ConditionWords *c = words(w);
	cancel_waiting(w);
	// Another waiter's wake-up may have been ours.
	wake(&c->signals[group(w)], 1, shared(c));
	confirm(w);
}

void adopt(Wait *w)
{
	adopt_mutex(w->sync.mutex);
}

void unlock(Wait *w)
{
	pthread_mutex_unlock(w->sync.mutex);
}

} // namespace

const Protocol condition_protocol = {step, withdraw, adopt, unlock, leave, false};

} // namespace sigevec::source
