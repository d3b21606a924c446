// SPDX-License-Identifier: MIT
//
// Operations of a run's threads: each is a step, and atomic.
#include "scheduler_impl.hpp"

#include <cerrno>
#include <cstring>

namespace schedules {

void commit(const Store &w)
{
	memcpy(w.where, &w.value, w.size);
}

namespace {

uint64_t look(const void *where, unsigned size)
{
	if (s.current != nullptr)
		for (auto i = s.current->late.rbegin(); i != s.current->late.rend(); i++)
			if (i->where == where)
				return i->value;
	uint64_t v = 0;
	memcpy(&v, where, size);
	return v;
}

bool releases(std::memory_order o)
{
	return o == std::memory_order_release || o == std::memory_order_acq_rel ||
	       o == std::memory_order_seq_cst;
}

} // namespace

bool inside()
{
	return s.current != nullptr;
}

void point(const char *what, const void *where)
{
	if (inside())
		s.point(what, where);
}

uint64_t load(const void *where, unsigned size)
{
	point("load", where);
	return look(where, size);
}

void store(void *where, unsigned size, uint64_t value, std::memory_order order)
{
	Store w{where, size, value, releases(order)};
	if (!inside())
		return commit(w);
	s.point("store", where);
	bool held = order == std::memory_order_seq_cst && s.error != Error::late_stores;
	if (!held && s.may_be_late()) {
		s.current->late.push_back(w);
		return;
	}
	s.flush(w.release ? nullptr : where);
	commit(w);
}

uint64_t change(void *where, unsigned size, std::memory_order order, Change f, const void *argument)
{
	point("change", where);
	bool late = s.error == Error::late_changes;
	if (inside())
		s.flush(releases(order) && !late ? nullptr : where);
	uint64_t old = look(where, size), now = 0;
	if (!f(old, argument, &now))
		return old;
	if (inside() && s.error == Error::split_changes)
		s.point("second half of change", where);
	Store w{where, size, now, false};
	if (inside() && late && s.may_be_late())
		s.current->late.push_back(w);
	else
		commit(w);
	return old;
}

bool same(uint64_t a, uint64_t b)
{
	uint64_t mask = s.error == Error::low_halves  ? 0xffffffff
			: s.error == Error::low_bytes ? 0xff
						      : ~uint64_t{0};
	return ((a ^ b) & (inside() ? mask : ~uint64_t{0})) == 0;
}

void fence(std::memory_order)
{
	point("fence", nullptr);
	if (inside())
		s.flush();
}

void yield()
{
	if (!inside())
		return;
	s.current->yielded = true;
	s.point("yield", nullptr);
}

namespace {

void wait_for(const void *what, bool limited)
{
	s.current->waits_for = what;
	s.current->limited = limited;
	s.current->since = ++s.clock;
	s.point("woken", what);
}

} // namespace

int futex_wait(const void *word, uint32_t value, bool limited)
{
	s.point("futex wait", word);
	s.flush();
	uint32_t is;
	memcpy(&is, word, sizeof is);
	if (is != value)
		return EAGAIN;
	if (s.error == Error::early_looks)
		s.point("sleep", word);
	wait_for(word, limited);
	bool by_time = s.current->timed_out;
	s.current->timed_out = false;
	return by_time ? ETIMEDOUT : 0;
}

int futex_wake(const void *word, int count)
{
	if (!inside())
		return 0;
	s.point("futex wake", word);
	s.flush();
	int n = 0;
	for (; n < count; n++) {
		Fiber *first = nullptr;
		for (auto &f : s.fibers)
			if (!f->ended && f->waits_for == word &&
			    (first == nullptr || f->since < first->since))
				first = f.get();
		if (first == nullptr)
			break;
		first->waits_for = nullptr;
	}
	return n;
}

void lock(void *mutex)
{
	if (!inside())
		return;
	s.point("lock", mutex);
	while (s.locked[mutex])
		wait_for(mutex, false);
	s.locked[mutex] = true;
}

void unlock(void *mutex)
{
	if (!inside())
		return;
	s.point("unlock", mutex);
	s.flush();
	s.locked[mutex] = false;
	for (auto &f : s.fibers)
		if (f->waits_for == mutex)
			f->waits_for = nullptr;
}

} // namespace schedules
