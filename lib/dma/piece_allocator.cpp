// SPDX-License-Identifier: MIT
#include "dma/piece_allocator.hpp"

#include "base/memory_order.hpp"
#include "base/pages.hpp"

#include <sys/mman.h>

namespace sigevec::dma {

namespace {

size_t size_of_holds(uint32_t units)
{
	return round_up(units * sizeof(uint32_t), page_size());
}

} // namespace

bool PieceAllocator::map_holds()
{
	void *m = mmap(nullptr, size_of_holds(units_.count()), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	holds_ = m != MAP_FAILED ? static_cast<std::atomic<uint32_t> *>(m) : nullptr;
	return holds_ != nullptr;
}

bool PieceAllocator::create(const char *base, uint32_t units)
{
	size_t page = page_size();
	size_t header =
		sizeof(Shared) + Members::memory() + round_up(UnitBitmap::memory(units), 64);
	size_t groups = (units / group / 64 + 1) * sizeof(uint64_t);
	size_t inner = round_up(header + units * 2 * sizeof(uint64_t) + groups, page);
	void *m = mmap(nullptr, inner + 2 * page, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m == MAP_FAILED)
		return false;
	mapping_ = static_cast<char *>(m);
	mapped_ = inner + 2 * page;
	char *at = mapping_ + page;
	if (mmap(at, inner, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED) {
		munmap(mapping_, mapped_);
		return false;
	}
	base_ = base;
	// Zero pages are what all of this begins as.
	shared_ = reinterpret_cast<Shared *>(at);
	units_.create(at + sizeof(Shared) + Members::memory(), base, units);
	record_ = reinterpret_cast<std::atomic<uint64_t> *>(at + header);
	holders_ = record_ + units;
	returned_ = holders_ + units;
	if (!map_holds()) {
		munmap(mapping_, mapped_);
		return false;
	}
	members_.create(at + sizeof(Shared));
	return true;
}

void PieceAllocator::destroy()
{
	members_.leave();
	munmap(mapping_, mapped_);
	munmap(holds_, size_of_holds(units_.count()));
}

void PieceAllocator::after_fork()
{
	members_.join();
	// The pages are replaced where they are.
	mmap(holds_, size_of_holds(units_.count()), PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

// ---- taking pieces

char *PieceAllocator::begin_piece(uint32_t first, uint64_t state, size_t size)
{
	// Release: whoever is told of the piece may give it back.
	record_[first].store(state | mine() | size, mo::release);
	return const_cast<char *>(base_) + first * unit;
}

char *PieceAllocator::reserve_for_arrival(size_t size)
{
	if (size > units_.count() * unit)
		return nullptr;
	for (;;) {
		{
			Members::Transit t(members_);
			if (uint32_t at = units_.claim_close(units_of(size)); at != no_unit)
				return begin_piece(at, Record::busy, size);
		}
		if (!reap(true))
			return nullptr;
	}
}

char *PieceAllocator::reserve_as(uint64_t state, size_t size)
{
	if (size > units_.count() * unit)
		return nullptr;
	// Where O_DIRECT wants it, if it is of that size.
	uint32_t step = size % 4096 == 0 ? 4096 / unit : size % 512 == 0 ? 512 / unit : 1;
	for (;;) {
		{
			Members::Transit t(members_);
			if (uint32_t at = units_.claim(units_of(size), units_.aligned(step, 0));
			    at != no_unit)
				return begin_piece(at, state, size);
		}
		if (!reap(true))
			return nullptr;
	}
}

char *PieceAllocator::reserve(size_t size)
{
	return reserve_as(Record::busy, size);
}

char *PieceAllocator::reserve_for_program(size_t size)
{
	return reserve_as(0, size);
}

uint32_t PieceAllocator::reserve_slots(size_t size, const char *from, uint32_t most, char **slots)
{
	Members::Transit t(members_);
	uint32_t at[most_slots];
	uint32_t step = units_of(size);
	uint32_t n = units_.claim_runs(
		step, units_.aligned(step, reinterpret_cast<uintptr_t>(from)), most, at);
	for (uint32_t i = 0; i < n; i++)
		slots[i] = begin_piece(at[i], Record::busy, size);
	return n;
}

// The slot's own record goes first: never are there two for the same units.
void PieceAllocator::open_slot(char *data, size_t size, size_t n)
{
	Members::Transit t(members_);
	uint32_t at = index_of(data);
	uint64_t kind = size == 2048 ? Record::in_slot : Record::in_large_slot;
	record_[slot_of(at, {kind})].store(0, mo::relaxed);
	record_[at].store(mine() | Record::busy | kind | n, mo::release);
}

// The first unit of the slot that has a frame.
uint32_t PieceAllocator::slot_of(uint32_t first, Record r) const
{
	auto address = reinterpret_cast<uintptr_t>(base_) + first * unit;
	auto before = static_cast<uint32_t>((address & (r.slot_size() - 1)) / unit);
	return before <= first ? first - before : first;
}

// ---- giving them on, and back

void PieceAllocator::give(char *piece, size_t size, size_t n, bool message)
{
	uint32_t at = index_of(piece);
	if (Record r = read(at); r.has(Record::any_slot)) {
		record_[at].store(mine() | (r.word & Record::any_slot) | n, mo::release);
		return;
	}
	if (keep_in_area(at, mine() | Record::in_area | n)) {
		add_to_area((units_of(size) - units_of(n)) * unit);
		return;
	}
	size_t keep = n + (message ? sizeof(MessageHead) : 0);
	uint32_t had = units_of(size), now = units_of(keep);
	uint64_t record = mine() | (message ? Record::with_head : 0) | n;
	if (now >= had) {
		// Release: whoever takes over the piece sees what was received into it.
		record_[at].store(record, mo::release);
		return;
	}
	Members::Transit t(members_);
	record_[at].store(record, mo::release);
	units_.give_back(at + now, had - now);
}

size_t PieceAllocator::cut(char *piece, size_t size, size_t n)
{
	uint32_t at = index_of(piece);
	uint32_t had = units_of(size), now = units_of(n);
	if (now >= had || read(at).has(Record::any_slot | Record::in_area))
		return size;
	Members::Transit t(members_);
	record_[at].store(mine() | Record::busy | n, mo::relaxed);
	units_.give_back(at + now, had - now);
	return n;
}

void PieceAllocator::discard(char *piece, size_t size)
{
	Members::Transit t(members_);
	uint32_t at = index_of(piece);
	Record r = read(at);
	if (keep_in_area(at, Record::in_area | Record::returned)) {
		return_to_area(at, r);
		return;
	}
	record_[at].store(0, mo::relaxed);
	if (r.has(Record::any_slot))
		end(at, r);
	else
		units_.give_back(at, units_of(size));
}

void PieceAllocator::drop_front(char *piece, char *rest, size_t size)
{
	Members::Transit t(members_);
	uint32_t at = index_of(piece), keep = index_of(rest);
	// At no moment do two records have the same units.
	record_[at].store(mine() | Record::busy | ((keep - at) * unit), mo::relaxed);
	record_[keep].store(mine() | Record::busy | size, mo::release);
	record_[at].store(0, mo::release);
	units_.give_back(at, keep - at);
}

// The units of a piece whose record is cleared.
void PieceAllocator::end(uint32_t first, Record r)
{
	if (r.has(Record::in_area)) {
		return_to_area(first, r);
		return;
	}
	if (!r.has(Record::any_slot)) {
		units_.give_back(first, count_of(first, r));
		return;
	}
	uint32_t at = slot_of(first, r);
	units_.give_back(at, units_of(r.slot_size()));
	// The kernel is to get the same slots again, not one after the other all of a large region,
	// which no cache holds.
	units_.prefer(at);
}

bool PieceAllocator::release(const void *piece, size_t size)
{
	auto *p = static_cast<const char *>(piece);
	if (p < base_ || p >= base_ + units_.count() * unit ||
	    static_cast<size_t>(p - base_) % unit != 0)
		return false;
	Members::Transit t(members_);
	uint32_t at = index_of(p);
	for (;;) {
		Record r = read(at);
		bool size_fits = r.size() == size ||
				 (r.has(Record::with_head) && size == sizeof(struct msghdr));
		if (!r.is_programs() || !size_fits)
			return false;
		bool held = r.has(Record::was_held);
		if (!change(at, r, held ? r.word | Record::released : when_free(r)))
			continue;
		if (!held) {
			end(at, r);
			return true;
		}
		shared_->returning.fetch_add(1, mo::relaxed);
		free_released(at, {r.word | Record::released});
		return true;
	}
}

// If nobody holds it any more. False: somebody does, or somebody else has done it.
bool PieceAllocator::free_released(uint32_t first, Record r)
{
	if ((holders_[first].load(mo::seq_cst) & member_mask) != 0 ||
	    !change(first, r, when_free(r)))
		return false;
	end(first, r);
	shared_->returning.fetch_sub(1, mo::release);
	return true;
}

// ---- holding

// The first unit of the piece that has this one.
uint32_t PieceAllocator::piece_around(uint32_t at, Record *r) const
{
	if (!units_.taken(at))
		return no_unit;
	for (uint32_t first = at;; first--) {
		*r = read(first);
		if (*r)
			return at - first < count_of(first, *r) ? first : no_unit;
		if (first == 0)
			return no_unit;
	}
}

bool PieceAllocator::fits(const void *p, size_t len, uint32_t first, Record r) const
{
	return r.is_programs() &&
	       static_cast<const char *>(p) + len <= base_ + first * unit + r.bytes();
}

uint32_t PieceAllocator::hold(const void *p, size_t len)
{
	auto *from = static_cast<const char *>(p);
	if (!can_hold() || from < base_ || len > units_.count() * unit ||
	    from > base_ + units_.count() * unit - len)
		return no_unit;
	Record r;
	uint32_t first = piece_around(
		from == base_ + units_.count() * unit ? units_.count() - 1 : index_of(from), &r);
	if (first == no_unit || !fits(p, len, first, r))
		return no_unit;
	holds_[first].fetch_add(1, mo::seq_cst);
	uint64_t h = holders_[first].load(mo::relaxed);
	while (!holders_[first].compare_exchange_weak(h, (h | my_bit()) + one_version, mo::seq_cst))
		;
	for (r = read(first); fits(p, len, first, r); r = read(first))
		if (r.has(Record::was_held) || change(first, r, r.word | Record::was_held))
			return first;
	unhold(first);
	return no_unit;
}

// Clears a process's bit; its own only as long as `unless' is 0.
void PieceAllocator::drop_bit(uint32_t first, uint64_t bit, const std::atomic<uint32_t> *unless)
{
	uint64_t h = holders_[first].load(mo::seq_cst);
	while ((h & bit) != 0 && (unless == nullptr || unless->load(mo::seq_cst) == 0))
		if (holders_[first].compare_exchange_weak(h, h & ~bit, mo::seq_cst))
			return;
}

void PieceAllocator::unhold(uint32_t first)
{
	if (first >= units_.count() || holds_[first].fetch_sub(1, mo::seq_cst) != 1)
		return;
	Members::Transit t(members_);
	drop_bit(first, my_bit(), &holds_[first]);
	if (Record r = read(first); r.has(Record::released))
		free_released(first, r);
}

} // namespace sigevec::dma
