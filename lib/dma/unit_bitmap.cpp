// SPDX-License-Identifier: MIT
#include "dma/unit_bitmap.hpp"

#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "base/thread_number.hpp"

namespace sigevec::dma {

uint64_t UnitBitmap::ones(uint32_t n)
{
	return n >= word_bits ? ~uint64_t{0} : (uint64_t{1} << n) - 1;
}

// The bits at which a run of n free ones begins within a word.
uint64_t UnitBitmap::runs(uint64_t free, uint32_t n)
{
	for (uint32_t have = 1; have < n;) {
		uint32_t step = n - have < have ? n - have : have;
		free &= free >> step;
		have += step;
	}
	return free;
}

// The units that a run has in the word of its first one.
uint64_t UnitBitmap::mask_in_word(uint32_t first, uint32_t count)
{
	return ones(count) << (first % word_bits);
}

size_t UnitBitmap::memory(uint32_t count)
{
	return sizeof(Shared) + (count + word_bits - 1) / word_bits * sizeof(uint64_t);
}

void UnitBitmap::create(void *memory, const char *base, uint32_t count)
{
	base_ = base;
	count_ = count;
	words_ = (count + word_bits - 1) / word_bits;
	// Zero bytes are what all of this begins as.
	shared_ = static_cast<Shared *>(memory);
	bitmap_ = reinterpret_cast<std::atomic<uint64_t> *>(shared_ + 1);
	behind_end_ = count % word_bits != 0 ? ~ones(count % word_bits) : 0;
}

// Another process can clear any bit: what is behind the end is taken, whatever stands there.
uint64_t UnitBitmap::load(uint32_t word) const
{
	return bitmap_[word].load(mo::relaxed) | (word + 1 == words_ ? behind_end_ : 0);
}

uint64_t UnitBitmap::aligned(uint32_t step, uintptr_t from) const
{
	auto skew = static_cast<uint32_t>((reinterpret_cast<uintptr_t>(base_) - from) / unit) &
		    (step - 1);
	return ~uint64_t{0} / ones(step) << ((step - skew) & (step - 1));
}

// Calls f with each word that a run has units in, and their bits, until it says no. How many units
// come before that.
template <class F>
[[gnu::always_inline]] inline uint32_t UnitBitmap::each_word(uint32_t first, uint32_t count, F f)
{
	uint32_t n = 0;
	while (n < count) {
		uint32_t at = first + n;
		uint32_t here = word_bits - at % word_bits;
		if (here > count - n)
			here = count - n;
		if (!f(at / word_bits, mask_in_word(at, here)))
			break;
		n += here;
	}
	return n;
}

void UnitBitmap::give_back(uint32_t first, uint32_t count)
{
	if (first >= count_)
		return;
	if (count > count_ - first)
		count = count_ - first;
	each_word(first, count, [this](uint32_t word, uint64_t mask) {
		// seq_cst, as wait_for_room: either this sees that somebody waits, or that one's
		// second look sees the room.
		bitmap_[word].fetch_and(~mask, mo::seq_cst);
		return true;
	});
	if (shared_->starved.load(mo::seq_cst) != 0)
		wake_starved();
}

void UnitBitmap::wake_starved()
{
	shared_->starved.store(0, mo::seq_cst);
	shared_->given_back.fetch_add(1, mo::release);
	int saved = errno;
	syscall(SYS_futex, &shared_->given_back, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
	errno = saved;
	room_made();
}

bool UnitBitmap::sleep(uint32_t seen, const timespec &most) const
{
	return syscall(SYS_futex, &shared_->given_back, FUTEX_WAIT, seen, &most, nullptr, 0) == 0 ||
	       errno != EINTR;
}

// Up to `most' runs within a word, which do not overlap if that is more than one. The bits at which
// they begin.
[[gnu::always_inline]] inline uint64_t UnitBitmap::claim_in_word(uint32_t word, uint32_t count,
								 uint64_t allowed, uint32_t most)
{
	uint64_t w = bitmap_[word].load(mo::relaxed),
		 behind_end = word + 1 == words_ ? behind_end_ : 0;
	for (;;) {
		uint64_t at = 0, mask = w, taken = w | behind_end;
		uint64_t free = taken == ~uint64_t{0} ? 0 : runs(~taken, count) & allowed;
		for (uint32_t n = 0; free != 0 && n < most; free &= free - 1, n++) {
			at |= free & -free;
			mask |= ones(count) << __builtin_ctzll(free);
		}
		// Acquire: pairs with give_back, so that nothing of the piece before it is still on
		// its way.
		if (at == 0 ||
		    bitmap_[word].compare_exchange_weak(w, mask, mo::acquire, mo::relaxed))
			return at;
	}
}

// How many of count units from start on are free, without a gap.
uint32_t UnitBitmap::free_from(uint32_t start, uint32_t count) const
{
	uint32_t n = 0;
	while (n < count && start + n < count_) {
		uint32_t at = start + n;
		uint64_t w = load(at / word_bits) >> (at % word_bits);
		uint32_t left = word_bits - at % word_bits;
		uint32_t here = w == 0 ? left : static_cast<uint32_t>(__builtin_ctzll(w));
		n += here < left ? here : left;
		if (here < left)
			break;
	}
	return n < count ? n : count;
}

// All or nothing.
bool UnitBitmap::claim_all(uint32_t first, uint32_t count)
{
	uint32_t n = each_word(first, count, [this](uint32_t word, uint64_t mask) {
		uint64_t w = bitmap_[word].load(mo::relaxed);
		do {
			if ((w & mask) != 0)
				return false;
		} while (!bitmap_[word].compare_exchange_weak(w, w | mask, mo::acquire,
							      mo::relaxed));
		return true;
	});
	if (n != 0 && n != count)
		give_back(first, n);
	return n == count;
}

uint32_t UnitBitmap::claim_anywhere(uint32_t start, uint32_t count, uint64_t allowed)
{
	while (start < count_ && count_ - start >= count) {
		uint64_t here = allowed & ~load(start / word_bits) & ~ones(start % word_bits);
		if (here == 0) {
			start = (start / word_bits + 1) * word_bits;
			continue;
		}
		start = start / word_bits * word_bits +
			static_cast<uint32_t>(__builtin_ctzll(here));
		uint32_t n = free_from(start, count);
		if (n == count && claim_all(start, count))
			return start;
		start += n == 0 || n == count ? 1 : n;
	}
	return no_unit;
}

uint32_t UnitBitmap::begin_of_this_thread() const
{
	uint32_t number = thread_number() % hints;
	uint32_t begin = shared_->hint[number].word.load(mo::relaxed) - 1;
	// Threads begin apart, so that they share no cache line of the bitmap or of the records.
	return begin < words_ ? begin : static_cast<uint32_t>(uint64_t{number} * words_ / hints);
}

void UnitBitmap::remember(uint32_t word)
{
	shared_->hint[thread_number() % hints].word.store(word + 1, mo::relaxed);
}

void UnitBitmap::prefer(uint32_t at)
{
	std::atomic<uint32_t> &hint = shared_->hint[thread_number() % hints].word;
	if (at / word_bits + 1 < hint.load(mo::relaxed))
		hint.store(at / word_bits + 1, mo::relaxed);
}

// In one word, or across their borders; first where this thread found room before.
uint32_t UnitBitmap::claim(uint32_t count, uint64_t allowed)
{
	uint32_t begin = begin_of_this_thread();
	uint32_t at = no_unit;
	for (uint32_t i = 0, word = begin; i < words_ && at == no_unit && count <= word_bits; i++) {
		if (uint64_t bits = claim_in_word(word, count, allowed, 1); bits != 0)
			at = word * word_bits + static_cast<uint32_t>(__builtin_ctzll(bits));
		word = word + 1 == words_ ? 0 : word + 1;
	}
	if (at == no_unit && words_ > 1) {
		at = claim_anywhere(begin * word_bits, count, allowed);
		if (at == no_unit)
			at = claim_anywhere(0, count, allowed);
	}
	if (at != no_unit && at / word_bits != begin)
		remember(at / word_bits);
	return at;
}

uint32_t UnitBitmap::claim_close(uint32_t count)
{
	uint32_t begin = begin_of_this_thread();
	uint32_t at = claim_anywhere(begin * word_bits, count, ~uint64_t{0});
	if (at == no_unit && begin != 0)
		at = claim_anywhere(0, count, ~uint64_t{0});
	if (at != no_unit && at / word_bits != begin)
		remember(at / word_bits);
	return at;
}

uint32_t UnitBitmap::claim_runs(uint32_t count, uint64_t allowed, uint32_t most, uint32_t *first)
{
	uint32_t n = 0, begin = begin_of_this_thread(), last = begin;
	for (uint32_t i = 0, word = begin; i < words_ && n < most; i++) {
		for (uint64_t at = claim_in_word(word, count, allowed, most - n); at != 0;
		     at &= at - 1) {
			first[n++] = word * word_bits + static_cast<uint32_t>(__builtin_ctzll(at));
			last = word;
		}
		word = word + 1 == words_ ? 0 : word + 1;
	}
	if (last != begin)
		remember(last);
	// Those that lie across the border of two words.
	for (uint32_t at; n < most && (at = claim(count, allowed)) != no_unit;)
		first[n++] = at;
	return n;
}

uint32_t UnitBitmap::next_taken(uint32_t at) const
{
	while (at < count_) {
		uint64_t w = load(at / word_bits) & ~ones(at % word_bits);
		if (w != 0) {
			at = at / word_bits * word_bits + static_cast<uint32_t>(__builtin_ctzll(w));
			break;
		}
		at = (at / word_bits + 1) * word_bits;
	}
	return at < count_ ? at : count_;
}

uint32_t UnitBitmap::used() const
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < words_; i++)
		n += static_cast<uint32_t>(__builtin_popcountll(load(i)));
	return n - (words_ * word_bits - count_);
}

} // namespace sigevec::dma
