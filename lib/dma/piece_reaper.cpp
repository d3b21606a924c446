// SPDX-License-Identifier: MIT
//
// What others leave behind in a region: the pieces of processes that have died, and units that were
// nobody's at that moment.
#include "dma/piece_allocator.hpp"

#include "base/memory_order.hpp"

#include <algorithm>

namespace sigevec::dma {

bool PieceAllocator::some_return()
{
	if (shared_->returning.load(mo::acquire) == 0)
		return false;
	reap(false);
	for (uint32_t at = units_.next_taken(0); at < units_.count();) {
		Record r = read(at);
		if (r.has(Record::released) && (holders_[at].load(mo::seq_cst) & member_mask) != 0)
			return true;
		bool step_over = r && !r.has(Record::area);
		at = units_.next_taken(at + (step_over ? std::max(count_of(at, r), 1u) : 1));
	}
	return false;
}

// The pieces that a dead process had; theirs: the program's, too.
bool PieceAllocator::reap_pieces(uint32_t dead, bool theirs)
{
	bool some = false, of_area = false;
	for (uint32_t at = units_.next_taken(0); at < units_.count();
	     at = units_.next_taken(at + 1)) {
		Record r = read(at);
		if ((holders_[at].load(mo::relaxed) >> dead & 1) != 0)
			drop_bit(at, uint64_t{1} << dead, nullptr);
		bool its = r && r.owner() == dead &&
			   (r.has(Record::busy) || (theirs && r.is_programs()));
		if (its && r.has(Record::area)) {
			of_area = true; // after what lies in it
			continue;
		}
		Members::Transit t(members_);
		if (its && r.has(Record::was_held) && r.is_programs()) {
			// Somebody else may be sending it.
			if (change(at, r, r.word | Record::released)) {
				shared_->returning.fetch_add(1, mo::relaxed);
				some = free_released(at, {r.word | Record::released}) || some;
			}
		} else if (its && change(at, r, when_free(r))) {
			end(at, r);
			some = true;
		} else if (r.has(Record::released))
			some = free_released(at, r) || some;
	}
	if (of_area)
		end_area();
	return some || of_area;
}

// Whether a unit that is taken belongs to no piece.
bool PieceAllocator::is_lost(uint32_t at) const
{
	if (!units_.taken(at) || is_of_area(at))
		return false;
	uint32_t first = at;
	while (first != 0 && !read(first))
		first--;
	Record r = read(first);
	if (r && at - first < count_of(first, r))
		return false;
	// Of a slot the frame's record stands behind the beginning; the frame may be shorter than
	// the slot.
	constexpr uint32_t longest = 4096 / unit;
	for (uint32_t i = at < longest ? 0 : at - longest; i < at + longest && i < units_.count();
	     i++)
		if (r = read(i); r.has(Record::any_slot)) {
			uint32_t slot = slot_of(i, r);
			if (at >= slot && at - slot < units_of(r.slot_size()))
				return false;
		}
	return true;
}

// UnitBitmap that were claimed, and not yet or no longer a piece's, when their process died. Each
// is only given back if nobody alive has changed anything while it was looked at: then nobody can
// have it. all: there is no more of that.
bool PieceAllocator::reap_lost(uint64_t living, bool *all)
{
	constexpr int attempts = 100;
	bool some = false;
	*all = true;
	uint32_t next;
	for (uint32_t at = units_.next_taken(0); at < units_.count();
	     at = units_.next_taken(next)) {
		Record r = read(at);
		next = at + (r ? std::max(count_of(at, r), 1u) : 1);
		if (r || !is_lost(at))
			continue;
		bool done = false;
		for (int i = 0; i < attempts && !done; i++) {
			uint64_t before, after;
			bool quiet = members_.quiet(living, &before);
			bool lost = is_lost(at);
			done = !lost ||
			       (quiet && members_.quiet(living, &after) && after == before);
			if (done && lost) {
				units_.give_back(at, 1);
				some = true;
			}
		}
		*all = *all && done;
	}
	return some;
}

bool PieceAllocator::reap(bool theirs)
{
	bool some = false;
	for (uint32_t dead = 0; (dead = members_.begin_reaping(dead, theirs)) != 0;) {
		bool no_heirs = theirs && !members_.has_heirs(dead), all = true;
		some = reap_pieces(dead, no_heirs) || some;
		if (members_.died_in_transit(dead))
			some = reap_lost(members_.living(), &all) || some;
		members_.end_reaping(dead, !all       ? Members::Left::more
					   : no_heirs ? Members::Left::nothing
						      : Members::Left::to_heirs);
	}
	return some;
}

} // namespace sigevec::dma
