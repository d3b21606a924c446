// SPDX-License-Identifier: MIT
#include "source/futex_words.hpp"

#include <cerrno>
#include <time.h>

namespace sigevec::watcher {

using source::Wait;

bool before(const struct __kernel_timespec &a, const struct __kernel_timespec &b)
{
	return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

uint32_t value_of(const Wait *w)
{
	return std::atomic_ref<uint32_t>(*static_cast<uint32_t *>(const_cast<void *>(w->sync.word))).load(std::memory_order_relaxed);
}

void FutexWords::sleep(Wait *w)
{
	if (w->sync.seated)
		return;
	Slot &s = slot_[w->sync.slot];
	w->sync.seated = true;
	w->sync.behind = nullptr;
	w->sync.before = s.last;
	(s.last != nullptr ? s.last->sync.behind : s.first) = w;
	s.last = w;
	s.timed += w->sync.timed;
}

void FutexWords::forget(Wait *w)
{
	if (!w->sync.seated)
		return;
	Slot &s = slot_[w->sync.slot];
	(w->sync.before != nullptr ? w->sync.before->sync.behind : s.first) = w->sync.behind;
	(w->sync.behind != nullptr ? w->sync.behind->sync.before : s.last) = w->sync.before;
	s.timed -= w->sync.timed;
	w->sync.seated = false;
}

void FutexWords::listen(const std::atomic<uint32_t> &word, uint32_t value)
{
	own_ = &word;
	own_value_ = value;
	own_told_ = false;
}

// How many words there are.
unsigned FutexWords::prepare(const struct __kernel_timespec **nearest)
{
	unsigned n = 0;
	words_[n++] = {own_value_, reinterpret_cast<uint64_t>(own_), FUTEX_32, 0}; // as it is woken
	for (const Slot &s : slot_) {
		if (s.first == nullptr)
			continue;
		const source::SyncCall &c = s.first->sync;
		words_[n++] = {c.value, reinterpret_cast<uint64_t>(c.word), FUTEX_32 | (c.shared ? 0u : unsigned{FUTEX_PRIVATE_FLAG}), 0};
		for (const Wait *w = s.timed != 0 ? s.first : nullptr; w != nullptr; w = w->sync.behind)
			if (w->sync.timed && (*nearest == nullptr || before(w->sync.deadline, **nearest)))
				*nearest = &w->sync.deadline;
	}
	return n;
}

void FutexWords::wait(int seconds)
{
	const struct __kernel_timespec *limit = nullptr;
	unsigned n = prepare(&limit);
	struct __kernel_timespec idle;
	timespec now;
	int clock = CLOCK_REALTIME;
	if (seconds >= 0) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		idle = {now.tv_sec + seconds, now.tv_nsec};
		limit = &idle;
		clock = CLOCK_MONOTONIC;
	}
	constexpr timespec moment{0, 1000000};
	if (syscall(SYS_futex_waitv, words_, n, 0, limit, clock) < 0 && errno != EAGAIN && errno != EINTR && errno != ETIMEDOUT)
		clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, nullptr); // a word is no memory any more: the others still go on
	clock_gettime(CLOCK_REALTIME, &now);
	now_ = {now.tv_sec, now.tv_nsec};
	looked_at_ = 0;
	told_ = nullptr;
}

// Of a slot one that has something to do, or nullptr.
Wait *FutexWords::due(const Slot &s) const
{
	if (s.first != nullptr && value_of(s.first) != s.first->sync.value)
		return s.first;
	Wait *w = s.timed != 0 ? s.first : nullptr;
	while (w != nullptr && !(w->sync.timed && !before(now_, w->sync.deadline)))
		w = w->sync.behind;
	return w;
}

bool FutexWords::next(Wait **w)
{
	if (!own_told_ && own_->load(std::memory_order_seq_cst) != own_value_) {
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

} // namespace sigevec::watcher
