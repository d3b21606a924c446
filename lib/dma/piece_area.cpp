// SPDX-License-Identifier: MIT
//
// Pieces in memory that the kernel fills: whole pages of the region, whose record stands in a page
// before them. An arrival has a record at its first unit, wherever the kernel has put it. Given
// back it is no unit of the bitmap's, but `returned', and the bit of its group says where to look:
// whoever has the area collects it, and gives it back to the kernel. Any process that shares the
// region may do the first, only one the second.
#include "dma/piece_allocator.hpp"

#include "base/memory_order.hpp"
#include "base/pages.hpp"

namespace sigevec::dma {

char *PieceAllocator::reserve_area(size_t pages)
{
	size_t page = page_size(), size = (pages + 1) * page;
	// It may be a dead process's.
	if (has_area())
		reap(true);
	if (has_area() || size > units_.count() * unit)
		return nullptr;
	char *piece = reserve(size);
	if (piece == nullptr)
		return nullptr;
	uint32_t first = index_of(piece);
	uint32_t none = 0;
	if (!shared_->area_units.compare_exchange_strong(none, units_of(size), mo::seq_cst)) {
		discard(piece, size);
		return nullptr;
	}
	shared_->area_first.store(first, mo::seq_cst);
	record_[first].store(mine() | Record::busy | Record::area | size, mo::release);
	shared_->area_free.store(units_of(size) * unit, mo::relaxed);
	return reinterpret_cast<char *>(page_of(piece + page));
}

void PieceAllocator::open_arrival(char *data, size_t n)
{
	Members::Transit t(members_);
	shared_->area_free.fetch_sub(units_of(n) * unit, mo::relaxed);
	record_[index_of(data)].store(mine() | Record::busy | Record::in_area | n, mo::release);
}

bool PieceAllocator::is_of_area(uint32_t at) const
{
	uint32_t first = shared_->area_first.load(mo::relaxed);
	return at >= first && at - first < shared_->area_units.load(mo::relaxed);
}

// If the piece still is in an area, what stands there now. Its owner calls; the area may just end.
bool PieceAllocator::keep_in_area(uint32_t at, uint64_t state)
{
	for (Record r = read(at); r.has(Record::in_area); r = read(at))
		if (change(at, r, state))
			return true;
	return false;
}

void PieceAllocator::return_to_area(uint32_t first, Record r)
{
	add_to_area(units_of(r.bytes()) * unit);
	uint32_t g = first / group;
	returned_[g / 64].fetch_or(uint64_t{1} << (g % 64), mo::seq_cst);
	shared_->area_returns.store(1, mo::seq_cst);
	// Who waits for room may have some there.
	units_.disturb();
}

// The units of the piece at `at' that stay taken, as an ordinary one; 0: there is none.
uint32_t PieceAllocator::leave_area(uint32_t at)
{
	for (Record r = read(at); r; r = read(at)) {
		bool stays = !r.has(Record::returned) && r.has(Record::in_area);
		if (change(at, r, stays ? r.word & ~Record::in_area : 0))
			return stays ? count_of(at, r) : 0;
	}
	return 0;
}

void PieceAllocator::end_area()
{
	Members::Transit t(members_);
	uint32_t first = shared_->area_first.load(mo::seq_cst);
	uint32_t n = shared_->area_units.load(mo::seq_cst);
	if (n == 0 || first >= units_.count() || n > units_.count() - first)
		return;
	record_[first].store(0, mo::seq_cst);
	uint32_t from = first;
	for (uint32_t at = first; at < first + n; at++) {
		uint32_t stays = leave_area(at);
		if (stays == 0)
			continue;
		units_.give_back(from, at - from);
		from = at + stays;
		at = from - 1;
	}
	if (from < first + n)
		units_.give_back(from, first + n - from);
	shared_->area_free.store(0, mo::relaxed);
	shared_->area_units.store(0, mo::seq_cst);
}

} // namespace sigevec::dma
