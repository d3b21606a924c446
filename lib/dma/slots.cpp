// SPDX-License-Identifier: MIT
#include "dma/slots.hpp"

#include "dma/message.hpp"
#include "runtime/pages.hpp"

#include <sys/mman.h>

namespace sigevec::dma {

bool Slots::create(const char *base, uint32_t units)
{
	size_t page = page_size();
	size_t header = sizeof(Shared) + round_up(Units::memory(units), 64);
	size_t inner = round_up(header + units * sizeof(uint64_t), page);
	void *m = mmap(nullptr, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m == MAP_FAILED)
		return false;
	char *at = static_cast<char *>(m) + page;
	if (mmap(at, inner, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED) {
		munmap(m, inner + 2 * page);
		return false;
	}
	base_ = base;
	mapping_ = static_cast<char *>(m);
	mapped_ = inner + 2 * page;
	// Zero pages are what all of this begins as.
	shared_ = reinterpret_cast<Shared *>(at);
	units_.create(at + sizeof(Shared), base, units);
	record_ = reinterpret_cast<std::atomic<uint64_t> *>(at + header);
	return true;
}

void Slots::destroy()
{
	munmap(mapping_, mapped_);
}

char *Slots::begin_piece(uint32_t first, uint64_t state, size_t size)
{
	// Release: whoever is told of the piece may give it back.
	record_[first].store(state | size, std::memory_order_release);
	return const_cast<char *>(base_) + first * unit;
}

char *Slots::reserve_for_arrival(size_t size)
{
	uint32_t at = size > units_.count() * unit ? no_unit : units_.claim_close(units_of(size));
	return at == no_unit ? nullptr : begin_piece(at, in_use | busy, size);
}

char *Slots::reserve_as(uint64_t state, size_t size)
{
	if (size > units_.count() * unit)
		return nullptr;
	// Where O_DIRECT wants it, if it is of that size.
	uint32_t step = size % 4096 == 0 ? 4096 / unit : size % 512 == 0 ? 512 / unit : 1;
	uint32_t at = units_.claim(units_of(size), units_.aligned(step, 0));
	return at == no_unit ? nullptr : begin_piece(at, state, size);
}

char *Slots::reserve(size_t size)
{
	return reserve_as(in_use | busy, size);
}

char *Slots::reserve_for_program(size_t size)
{
	return reserve_as(in_use, size);
}

uint32_t Slots::reserve_slots(size_t size, const char *from, uint32_t most, char **slots)
{
	uint32_t at[most_slots];
	uint32_t step = units_of(size);
	uint32_t n = units_.claim_runs(step, units_.aligned(step, reinterpret_cast<uintptr_t>(from)), most, at);
	for (uint32_t i = 0; i < n; i++)
		slots[i] = begin_piece(at[i], in_use | busy, size);
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
	units_.give_back(at, units_of(size));
	// The kernel is to get the same slots again, not one after the other all of a large region, which no cache holds.
	units_.prefer(at);
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
		units_.give_back(at + now, had - now);
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
	units_.give_back(at + now, had - now);
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
		units_.give_back(at, units_of(size));
}

void Slots::drop_front(char *piece, char *rest, size_t size)
{
	uint32_t at = index_of(piece), keep = index_of(rest);
	record_[keep].store(in_use | busy | size, std::memory_order_relaxed);
	record_[at].store(0, std::memory_order_relaxed);
	units_.give_back(at, keep - at);
}

uint32_t Slots::count_of(uint64_t record)
{
	return units_of((record & size_mask) + ((record & with_head) != 0 ? sizeof(MessageHead) : 0));
}

void Slots::end(uint32_t first, uint64_t record)
{
	if ((record & any_slot) != 0)
		end_slot(first, record);
	else
		units_.give_back(first, count_of(record));
}

bool Slots::release(const void *piece, size_t size)
{
	auto *p = static_cast<const char *>(piece);
	if (p < base_ || p >= base_ + units_.count() * unit || static_cast<size_t>(p - base_) % unit != 0)
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
	if (!units_.taken(at))
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
	if (from < base_ || len > units_.count() * unit || from > base_ + units_.count() * unit - len)
		return no_unit;
	uint64_t r;
	uint32_t first = piece_around(from == base_ + units_.count() * unit ? units_.count() - 1 : index_of(from), &r);
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

} // namespace sigevec::dma
