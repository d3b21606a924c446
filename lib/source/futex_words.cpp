// SPDX-License-Identifier: MIT
#include "source/futex_words.hpp"

#include "base/memory_order.hpp"

#include <cerrno>
#include <time.h>

namespace sigevec::futex_waiter {

using source::Wait;

bool before(const struct __kernel_timespec &a, const struct __kernel_timespec &b)
{
	return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

uint32_t value_of(const Wait *w)
{
	return std::atomic_ref<uint32_t>(*static_cast<uint32_t *>(const_cast<void *>(w->sync.word)))
		.load(mo::relaxed);
}

void FutexWords::sleep(Wait *w)
{
	if (w->sync.at.seated)
		return;
	Slot &s = slot_[w->sync.at.slot];
	w->sync.at.seated = true;
	s.waits.push(w);
	s.timed += w->sync.timed;
}

void FutexWords::forget(Wait *w)
{
	if (!w->sync.at.seated)
		return;
	Slot &s = slot_[w->sync.at.slot];
	s.waits.remove(w);
	s.timed -= w->sync.timed;
	w->sync.at.seated = false;
}

bool FutexWords::leave(Wait *w)
{
	forget(w);
	return false;
}

// Each slot's word, and the nearest deadline.
void FutexWords::add_words()
{
	for (const Slot &s : slot_) {
		if (s.waits.empty())
			continue;
		const source::SyncCall &c = s.waits.first()->sync;
		slot_of_[count_] = c.at.slot;
		words_[count_++] = {c.value, reinterpret_cast<uint64_t>(c.word),
				    FUTEX_32 | (c.shared ? 0u : unsigned{FUTEX_PRIVATE_FLAG}), 0};
		for (const Wait *w = s.timed != 0 ? s.waits.first() : nullptr; w != nullptr;
		     w = s.waits.after(w))
			if (w->sync.timed && (!limited_ || before(w->sync.deadline, limit_))) {
				limit_ = w->sync.deadline;
				limited_ = true;
			}
	}
}

void FutexWords::limit_sleep(int seconds)
{
	timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	limit_ = {now.tv_sec + seconds, now.tv_nsec};
	limited_ = true;
	clock_ = CLOCK_MONOTONIC;
}

void FutexWords::listen(const std::atomic<uint32_t> &word, uint32_t value, int seconds)
{
	own_ = &word;
	own_value_ = value;
	own_told_ = false;
	words_[0] = {value, reinterpret_cast<uint64_t>(&word), FUTEX_32, 0}; // as it is woken
	count_ = 1;
	limited_ = false;
	clock_ = CLOCK_REALTIME;
	add_words();
	if (seconds >= 0)
		limit_sleep(seconds);
}

void FutexWords::wait()
{
	constexpr timespec moment{0, 1000000};
	long n = syscall(SYS_futex_waitv, words_, count_, 0, limited_ ? &limit_ : nullptr, clock_);
	if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ETIMEDOUT)
		clock_nanosleep(CLOCK_MONOTONIC, 0, &moment,
				nullptr); // a word is no memory any more: the others still go on
	woken_ = n >= 0;
}

// Of several words that were woken the kernel tells one.
void FutexWords::pass_on()
{
	for (unsigned i = 1; i < count_; i++)
		if (slot_[slot_of_[i]].waits.empty())
			nptl::wake(reinterpret_cast<const void *>(words_[i].uaddr), 1, false);
}

void FutexWords::awake()
{
	if (woken_)
		pass_on();
	timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	now_ = {now.tv_sec, now.tv_nsec};
	looked_at_ = 0;
	told_ = nullptr;
}

// Of a slot one that has something to do, or nullptr.
Wait *FutexWords::due(const Slot &s) const
{
	Wait *w = s.waits.first();
	if (w != nullptr && value_of(w) != w->sync.value)
		return w;
	w = s.timed != 0 ? w : nullptr;
	while (w != nullptr && !(w->sync.timed && !before(now_, w->sync.deadline)))
		w = s.waits.after(w);
	return w;
}

bool FutexWords::next(Wait **w)
{
	if (!own_told_ && own_->load(mo::seq_cst) != own_value_) {
		own_told_ = true;
		*w = nullptr;
		return true;
	}
	// A slot is looked at until nothing is due there, or what was just told of has not got on.
	for (; looked_at_ < slots; looked_at_++) {
		Wait *one = due(slot_[looked_at_]);
		if (one == nullptr || one == told_)
			continue;
		told_ = *w = one;
		return true;
	}
	return false;
}

} // namespace sigevec::futex_waiter
