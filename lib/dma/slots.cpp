// SPDX-License-Identifier: MIT
#include "dma/slots.hpp"

#include "dma/message.hpp"
#include "runtime/sync.hpp"
#include "runtime/thread_number.hpp"

#include <sys/mman.h>

namespace sigevec::dma {

namespace {

constexpr uint32_t word_bits = 64;
constexpr size_t page = 4096;

size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

uint64_t ones(uint32_t n)
{
	return n >= word_bits ? ~uint64_t{0} : (uint64_t{1} << n) - 1;
}

// The bits at which a run of n free ones begins within a word.
uint64_t runs(uint64_t free, uint32_t n)
{
	for (uint32_t have = 1; have < n;) {
		uint32_t step = n - have < have ? n - have : have;
		free &= free >> step;
		have += step;
	}
	return free;
}

// The units that a run has in the word of its first one.
uint64_t mask_in_word(uint32_t first, uint32_t count)
{
	return ones(count) << (first % word_bits);
}

} // namespace

bool Slots::create(const char *base, uint32_t units)
{
	uint32_t words = (units + word_bits - 1) / word_bits;
	size_t header = round_up(sizeof(Shared), 64);
	size_t inner = round_up(header + words * sizeof(uint64_t) + units * sizeof(uint64_t), page);
	void *m = mmap(nullptr, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m == MAP_FAILED)
		return false;
	char *at = static_cast<char *>(m) + page;
	if (mmap(at, inner, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED) {
		munmap(m, inner + 2 * page);
		return false;
	}
	base_ = base;
	units_ = units;
	words_ = words;
	mapping_ = static_cast<char *>(m);
	mapped_ = inner + 2 * page;
	// Zero pages are what all of this begins as, but for the units behind the end.
	shared_ = reinterpret_cast<Shared *>(at);
	bitmap_ = reinterpret_cast<std::atomic<uint64_t> *>(at + header);
	record_ = bitmap_ + words;
	if (units % word_bits != 0)
		bitmap_[words - 1].store(~ones(units % word_bits), std::memory_order_relaxed);
	return true;
}

void Slots::destroy()
{
	munmap(mapping_, mapped_);
}

[[gnu::always_inline]] inline void Slots::give_back(uint32_t first, uint32_t count)
{
	for (uint32_t n = 0; n < count;) {
		uint32_t at = first + n;
		uint32_t here = word_bits - at % word_bits;
		if (here > count - n)
			here = count - n;
		// seq_cst, as wait_for_room: either this sees that somebody waits, or that one's second look sees the room.
		bitmap_[at / word_bits].fetch_and(~mask_in_word(at, here), std::memory_order_seq_cst);
		n += here;
	}
	if (shared_->starved.load(std::memory_order_seq_cst) != 0)
		tell_starved();
}

// Where a piece of this size may begin, as bits of every word: by address.
uint64_t Slots::starts(size_t size) const
{
	uint32_t step = size % 4096 == 0 ? 4096 / unit : size % 512 == 0 ? 512 / unit : 1;
	if (step == 1)
		return ~uint64_t{0};
	auto skew = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(base_) / unit % step);
	uint64_t bits = step == 4096 / unit ? 0x0000000100000001ull : 0x1111111111111111ull;
	return bits << ((step - skew) % step);
}

[[gnu::always_inline]] inline uint32_t Slots::claim_in_word(uint32_t word, uint32_t count, uint64_t allowed)
{
	uint64_t w = bitmap_[word].load(std::memory_order_relaxed);
	for (;;) {
		uint64_t at = w == ~uint64_t{0} ? 0 : runs(~w, count) & allowed;
		if (at == 0)
			return no_unit;
		auto bit = static_cast<uint32_t>(__builtin_ctzll(at));
		// Acquire: pairs with give_back, so that nothing of the piece before it is still on its way.
		if (bitmap_[word].compare_exchange_weak(w, w | ones(count) << bit, std::memory_order_acquire, std::memory_order_relaxed))
			return word * word_bits + bit;
	}
}

// How many of count units from start on are free, without a gap.
uint32_t Slots::free_from(uint32_t start, uint32_t count) const
{
	uint32_t n = 0;
	while (n < count && start + n < units_) {
		uint32_t at = start + n;
		uint64_t w = bitmap_[at / word_bits].load(std::memory_order_relaxed) >> (at % word_bits);
		uint32_t left = word_bits - at % word_bits;
		uint32_t here = w == 0 ? left : static_cast<uint32_t>(__builtin_ctzll(w));
		n += here < left ? here : left;
		if (here < left)
			break;
	}
	return n < count ? n : count;
}

// All or nothing.
bool Slots::claim(uint32_t first, uint32_t count)
{
	for (uint32_t n = 0; n < count;) {
		uint32_t at = first + n;
		uint32_t here = word_bits - at % word_bits;
		if (here > count - n)
			here = count - n;
		uint64_t mask = mask_in_word(at, here);
		uint64_t w = bitmap_[at / word_bits].load(std::memory_order_relaxed);
		do {
			if ((w & mask) != 0) {
				if (n != 0)
					give_back(first, n);
				return false;
			}
		} while (!bitmap_[at / word_bits].compare_exchange_weak(w, w | mask, std::memory_order_acquire,
									std::memory_order_relaxed));
		n += here;
	}
	return true;
}

uint32_t Slots::claim_anywhere(uint32_t start, uint32_t count, uint64_t allowed)
{
	while (start < units_ && units_ - start >= count) {
		uint64_t here = allowed & ~bitmap_[start / word_bits].load(std::memory_order_relaxed) & ~ones(start % word_bits);
		if (here == 0) {
			start = (start / word_bits + 1) * word_bits;
			continue;
		}
		start = start / word_bits * word_bits + static_cast<uint32_t>(__builtin_ctzll(here));
		uint32_t n = free_from(start, count);
		if (n == count && claim(start, count))
			return start;
		start += n == 0 || n == count ? 1 : n;
	}
	return no_unit;
}

uint32_t Slots::begin_of_this_thread() const
{
	uint32_t number = thread_number() % hints;
	uint32_t begin = shared_->hint[number].word.load(std::memory_order_relaxed) - 1;
	// Threads begin apart, so that they share no cache line of the bitmap or of the records.
	return begin < words_ ? begin : static_cast<uint32_t>(uint64_t{number} * words_ / hints);
}

void Slots::remember(uint32_t at)
{
	shared_->hint[thread_number() % hints].word.store(at / word_bits + 1, std::memory_order_relaxed);
}

// In one word, or across their borders; first where this thread found room before.
uint32_t Slots::claim_some(uint32_t count, uint64_t allowed)
{
	uint32_t begin = begin_of_this_thread();
	uint32_t at = no_unit;
	if (count <= word_bits)
		for (uint32_t i = 0, word = begin; i < words_ && at == no_unit; i++) {
			at = claim_in_word(word, count, allowed);
			word = word + 1 == words_ ? 0 : word + 1;
		}
	if (at == no_unit && words_ > 1) {
		at = claim_anywhere(begin * word_bits, count, allowed);
		if (at == no_unit)
			at = claim_anywhere(0, count, allowed);
	}
	if (at != no_unit && at / word_bits != begin)
		remember(at);
	return at;
}

char *Slots::reserve_for_arrival(size_t size)
{
	if (size > units_ * unit)
		return nullptr;
	uint32_t begin = begin_of_this_thread();
	uint32_t at = claim_anywhere(begin * word_bits, units_of(size), ~uint64_t{0});
	if (at == no_unit && begin != 0)
		at = claim_anywhere(0, units_of(size), ~uint64_t{0});
	if (at == no_unit)
		return nullptr;
	if (at / word_bits != begin)
		remember(at);
	record_[at].store(in_use | busy | size, std::memory_order_relaxed);
	return const_cast<char *>(base_) + at * unit;
}

char *Slots::reserve_as(uint64_t state, size_t size)
{
	if (size > units_ * unit)
		return nullptr;
	uint32_t at = claim_some(units_of(size), starts(size));
	if (at == no_unit)
		return nullptr;
	// Release: whoever is told of the piece may give it back.
	record_[at].store(state | size, std::memory_order_release);
	return const_cast<char *>(base_) + at * unit;
}

char *Slots::reserve(size_t size)
{
	return reserve_as(in_use | busy, size);
}

char *Slots::reserve_for_program(size_t size)
{
	return reserve_as(in_use, size);
}

// As many runs of one word as there are: the bits at which they begin, which are that far apart.
uint64_t Slots::claim_several(uint32_t word, uint32_t count, uint64_t allowed, uint32_t most)
{
	uint64_t w = bitmap_[word].load(std::memory_order_relaxed);
	for (;;) {
		uint64_t at = 0, taken = w;
		for (uint64_t free = w == ~uint64_t{0} ? 0 : runs(~w, count) & allowed; free != 0 && most != 0; free &= free - 1, most--) {
			at |= free & -free;
			taken |= ones(count) << __builtin_ctzll(free);
		}
		// Acquire: as in claim_in_word.
		if (at == 0 || bitmap_[word].compare_exchange_weak(w, taken, std::memory_order_acquire, std::memory_order_relaxed))
			return at;
		most += static_cast<uint32_t>(__builtin_popcountll(at));
	}
}

uint32_t Slots::reserve_slots(size_t size, const char *from, uint32_t most, char **slots)
{
	auto step = static_cast<uint32_t>(size / unit);
	auto skew = static_cast<uint32_t>((reinterpret_cast<uintptr_t>(base_) - reinterpret_cast<uintptr_t>(from)) / unit & (step - 1));
	uint64_t bits = size == 2048 ? 0x0001000100010001ull : 0x0000000100000001ull;
	uint64_t allowed = bits << ((step - skew) & (step - 1));
	uint32_t n = 0;
	auto add = [&](uint32_t at) {
		record_[at].store(in_use | busy | size, std::memory_order_relaxed);
		slots[n++] = const_cast<char *>(base_) + at * unit;
	};
	uint32_t begin = begin_of_this_thread(), last = begin;
	for (uint32_t i = 0, word = begin; i < words_ && n < most; i++) {
		for (uint64_t at = claim_several(word, step, allowed, most - n); at != 0; at &= at - 1) {
			add(word * word_bits + static_cast<uint32_t>(__builtin_ctzll(at)));
			last = word;
		}
		word = word + 1 == words_ ? 0 : word + 1;
	}
	if (last != begin)
		remember(last * word_bits);
	// Those that lie across the border of two words.
	for (uint32_t at; n < most && (at = claim_some(step, allowed)) != no_unit;)
		add(at);
	return n;
}

void Slots::open_slot(char *data, size_t size, size_t n)
{
	record_[index_of(data)].store(in_use | busy | (size == 2048 ? in_slot : in_large_slot) | n, std::memory_order_relaxed);
}

// The slot of a frame has a record of its own, at its beginning.
void Slots::end_slot(uint32_t first, uint64_t record)
{
	size_t size = (record & in_slot) != 0 ? 2048 : 4096;
	auto address = reinterpret_cast<uintptr_t>(base_) + first * unit;
	uint32_t at = first - static_cast<uint32_t>((address & (size - 1)) / unit);
	record_[at].store(0, std::memory_order_relaxed);
	give_back(at, units_of(size));
	// The kernel is to get the same slots again, not one after the other all of a large region, which no cache holds.
	std::atomic<uint32_t> &hint = shared_->hint[thread_number() % hints].word;
	if (at / word_bits + 1 < hint.load(std::memory_order_relaxed))
		hint.store(at / word_bits + 1, std::memory_order_relaxed);
}

void Slots::give(char *piece, size_t size, size_t n, bool message)
{
	uint32_t at = index_of(piece);
	if (uint64_t r = record_[at].load(std::memory_order_relaxed); (r & any_slot) != 0) {
		record_[at].store(in_use | (r & any_slot) | n, std::memory_order_release);
		return;
	}
	size_t keep = n + (message ? sizeof(MessageHead) : 0);
	uint32_t had = units_of(size), now = units_of(keep);
	if (now < had)
		give_back(at + now, had - now);
	// Release: whoever takes over the piece sees what was received into it.
	record_[at].store(in_use | (message ? with_head : 0) | n, std::memory_order_release);
}

size_t Slots::cut(char *piece, size_t size, size_t n)
{
	uint32_t at = index_of(piece);
	uint32_t had = units_of(size), now = units_of(n);
	if (now == had || (record_[at].load(std::memory_order_relaxed) & any_slot) != 0)
		return size;
	record_[at].store(in_use | busy | n, std::memory_order_relaxed);
	give_back(at + now, had - now);
	return n;
}

void Slots::discard(char *piece, size_t size)
{
	uint32_t at = index_of(piece);
	uint64_t r = record_[at].load(std::memory_order_relaxed);
	record_[at].store(0, std::memory_order_relaxed);
	if ((r & any_slot) != 0)
		end_slot(at, r);
	else
		give_back(at, units_of(size));
}

void Slots::drop_front(char *piece, char *rest, size_t size)
{
	uint32_t at = index_of(piece), keep = index_of(rest);
	record_[keep].store(in_use | busy | size, std::memory_order_relaxed);
	record_[at].store(0, std::memory_order_relaxed);
	give_back(at, keep - at);
}

uint32_t Slots::count_of(uint64_t record)
{
	return units_of((record & size_mask) + ((record & with_head) != 0 ? sizeof(MessageHead) : 0));
}

void Slots::tell_starved()
{
	shared_->starved.store(0, std::memory_order_seq_cst);
	shared_->given_back.fetch_add(1, std::memory_order_release);
	int saved = errno;
	syscall(SYS_futex, &shared_->given_back, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
	errno = saved;
	room_made();
}

bool Slots::sleep(uint32_t seen) const
{
	timespec moment{0, 1000000};
	return syscall(SYS_futex, &shared_->given_back, FUTEX_WAIT, seen, &moment, nullptr, 0) == 0 || errno != EINTR;
}

void Slots::end(uint32_t first, uint64_t record)
{
	if ((record & any_slot) != 0)
		end_slot(first, record);
	else
		give_back(first, count_of(record));
}

bool Slots::release(const void *piece, size_t size)
{
	auto *p = static_cast<const char *>(piece);
	if (p < base_ || p >= base_ + units_ * unit || static_cast<size_t>(p - base_) % unit != 0)
		return false;
	uint32_t at = index_of(p);
	uint64_t r = record_[at].load(std::memory_order_acquire);
	uint64_t next;
	do {
		bool size_fits = (r & size_mask) == size || ((r & with_head) != 0 && size == sizeof(struct msghdr));
		if ((r & (in_use | busy | released)) != in_use || !size_fits)
			return false;
		next = (r & hold_mask) != 0 ? r | released : 0;
		if (next != 0)
			shared_->returning.fetch_add(1, std::memory_order_relaxed);
		if (record_[at].compare_exchange_strong(r, next, std::memory_order_acq_rel, std::memory_order_acquire))
			break;
		if (next != 0)
			shared_->returning.fetch_sub(1, std::memory_order_relaxed);
	} while (true);
	if (next == 0)
		end(at, r);
	return true;
}

// The first unit of the piece that has this one.
uint32_t Slots::piece_around(uint32_t at, uint64_t *record) const
{
	if ((bitmap_[at / word_bits].load(std::memory_order_acquire) & mask_in_word(at, 1)) == 0)
		return no_unit;
	for (uint32_t first = at;; first--) {
		uint64_t r = record_[first].load(std::memory_order_acquire);
		if (r != 0) {
			*record = r;
			return at - first < count_of(r) ? first : no_unit;
		}
		if (first == 0)
			return no_unit;
	}
}

uint32_t Slots::hold(const void *p, size_t len)
{
	auto *from = static_cast<const char *>(p);
	if (from < base_ || len > units_ * unit || from > base_ + units_ * unit - len)
		return no_unit;
	uint64_t r;
	uint32_t first = piece_around(from == base_ + units_ * unit ? units_ - 1 : index_of(from), &r);
	if (first == no_unit)
		return no_unit;
	do {
		size_t size = (r & size_mask) + ((r & with_head) != 0 ? sizeof(MessageHead) : 0);
		bool whole = from + len <= base_ + first * unit + size;
		if ((r & (in_use | busy | released)) != in_use || !whole || (r & hold_mask) > hold_mask / 2) // the rest is for hold_again
			return no_unit;
	} while (!record_[first].compare_exchange_weak(r, r + one_hold, std::memory_order_acq_rel, std::memory_order_acquire));
	return first;
}

void Slots::unhold(uint32_t first)
{
	uint64_t r = record_[first].load(std::memory_order_acquire);
	uint64_t next;
	do
		next = (r & hold_mask) == one_hold && (r & released) != 0 ? 0 : r - one_hold;
	while (!record_[first].compare_exchange_weak(r, next, std::memory_order_acq_rel, std::memory_order_acquire));
	if (next != 0)
		return;
	end(first, r);
	shared_->returning.fetch_sub(1, std::memory_order_release);
}

size_t Slots::used() const
{
	size_t n = 0;
	for (uint32_t i = 0; i < words_; i++)
		n += static_cast<size_t>(__builtin_popcountll(bitmap_[i].load(std::memory_order_relaxed)));
	return (n - (words_ * word_bits - units_)) * unit;
}

} // namespace sigevec::dma
