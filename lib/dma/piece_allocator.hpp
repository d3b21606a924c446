// SPDX-License-Identifier: MIT
//
// The pieces of a region: runs of units (dma/unit_bitmap.hpp), and whose they are.
//
// A record for each piece (dma/record.hpp) stands at its first unit, and which processes hold it.
// Records, holders and bitmap are in a mapping of their own, between pages that cannot be touched,
// so that a write past the end of a piece cannot reach them; the mapping is shared with children,
// as the pieces are. Everything is changed by compare-exchange.
//
// Who owns what: a bit is claimed before the record is written (release), and the record is cleared
// before the bits are given back. Whoever changes the record to 0 owns the units until then. A
// piece that the library itself is at work on is `busy': the program cannot release it, whatever it
// passes.
//
// Holding: how often this process holds a piece is counted in memory of its own. What the others
// must know is a bit in the piece's word of holders, set with each hold and cleared with the last
// unhold. The word has a version, which each hold changes, so that an unhold that has seen no hold
// clears no bit of a later one. A released piece is free when nobody holds it: release sets
// `released', then looks at the holders; unhold clears its bit, then looks at the record. Both are
// seq_cst, so at least one of them sees both.
//
// Processes that die: their busy pieces, what they held, and the pieces that no living process can
// have got of them by fork come back when room is missing (dma/members.hpp). What was nobody's when
// they died is found by reap_lost().
#pragma once

#include "base/memory_order.hpp"
#include "dma/members.hpp"
#include "dma/record.hpp"

namespace sigevec::dma {

class PieceAllocator {
public:
	// For memory that begins at base; units may be claimed from the first one on. False: no
	// memory.
	bool create(const char *base, uint32_t units);
	// Nobody may be using it.
	void destroy();
	// In a child of fork: what its parent holds is not the child's.
	void after_fork();

	// Takes a busy piece of size bytes (not 0); nullptr: there is no room for it.
	char *reserve(size_t size);
	// The same for what may arrive, most of which is likely to be given back: wherever there is
	// room, close to the last one, so that small arrivals that the program keeps do not take
	// the room of large ones.
	char *reserve_for_arrival(size_t size);
	// The program's own from now on: of its size, cut to n bytes (not 0), which it must be
	// released with. message: it begins with a MessageHead, which is not counted in n.
	void give(char *piece, size_t size, size_t n, bool message);
	// reserve and give in one.
	char *reserve_for_program(size_t size);
	// Gives back what is behind the first n bytes of a busy piece; its new size.
	size_t cut(char *piece, size_t size, size_t n);
	// Gives a busy piece back.
	void discard(char *piece, size_t size);
	// Gives the units before `rest' back, which then begins a busy piece; size: of what stays.
	void drop_front(char *piece, char *rest, size_t size);

	// For Ethernet frames (ether/device.hpp): busy pieces of size bytes, 2048 or 4096, each at
	// a multiple of that behind `from', a page's beginning. How many of them there are, at most
	// `most', which is at most most_slots.
	static constexpr uint32_t most_slots = 32;
	uint32_t reserve_slots(size_t size, const char *from, uint32_t most, char **slots);
	// n bytes at data, behind the first unit of such a piece, are a busy piece of their own
	// from now on; the slot goes with it.
	void open_slot(char *data, size_t size, size_t n);

	// For memory that the kernel fills (dma/attachment.hpp): whole pages in a row, at least
	// `pages' of them, of which arrivals are pieces of their own wherever they lie. nullptr:
	// there is no room, or the region has such an area already. In piece_area.cpp, as the rest.
	char *reserve_area(size_t pages);
	// n bytes at data, a unit's beginning in the area, are a busy piece from now on.
	void open_arrival(char *data, size_t n);
	// Calls f(first) for what has been given back since, first being the unit that it began
	// with, until f returns false: that one is found again.
	template <class F> void collect(F f);
	// Whether there is something to be collected, or has been.
	bool any_returned() const { return shared_->area_returns.load(mo::relaxed) != 0; }
	// The area is no more: what lies in it is ordinary pieces, the rest is free. The kernel
	// writes there no longer.
	void end_area();
	bool has_area() const { return shared_->area_units.load(mo::relaxed) != 0; }

	// By the program. False: it is none of its pieces, or not of this size.
	bool release(const void *piece, size_t size);

	// A request works on [p, p + len): the piece that holds it all is not used again before
	// unhold. no_unit: there is none.
	uint32_t hold(const void *p, size_t len);
	// Whether this process can: more share the region than can be told apart.
	bool can_hold() const { return members_.me() != 0; }
	// One more, by who has one.
	void hold_again(uint32_t first) { holds_[first].fetch_add(1, mo::relaxed); }
	void unhold(uint32_t first);

	// Whether a piece will come back without the program's doing: released, but held by a
	// process that lives.
	bool some_return();
	// Gives back what the library had in dead processes, and what these processes themselves
	// had, if that is wanted (theirs). True: something came back. Async-signal-safe.
	bool reap(bool theirs);
	// Whether other processes share the region, whose death nobody tells of.
	bool is_shared() const
	{
		return (members_.living() & ~uint64_t{1} & ~(uint64_t{1} << members_.me())) != 0;
	}
	// Bytes of pieces that rings have for what may arrive.
	void add_lent(int64_t bytes) { members_.add_lent(bytes); }
	size_t lent() const { return members_.lent() + shared_->area_free.load(mo::relaxed); }

	// As those of the units.
	void wait_for_room() { units_.wait_for_room(); }
	uint32_t given_back() const { return units_.given_back(); }
	bool sleep(uint32_t seen, const timespec &most) const { return units_.sleep(seen, most); }
	void disturb() { units_.disturb(); }

	size_t used() const { return units_.used() * unit; }
	uint32_t units() const { return units_.count(); }
	static uint32_t units_of(size_t size)
	{
		return static_cast<uint32_t>((size + unit - 1) / unit);
	}

private:
	struct alignas(64) Shared {
		std::atomic<uint32_t>
			returning; // about how many pieces are released, but held: 0 is believed
		// The area: its first unit, which has its record, and how many there are; 0: there
		// is none.
		std::atomic<uint32_t> area_first, area_units;
		std::atomic<uint32_t> area_returns; // something has been given back to it
		std::atomic<uint64_t> area_free;    // bytes of it that are no pieces
	};
	static constexpr uint32_t group =
		64; // units for which a bit says that some were given back
	static constexpr uint64_t member_mask = (uint64_t{1} << Members::most) - 1,
				  one_version = uint64_t{1} << Members::most;

	uint32_t index_of(const void *p) const
	{
		return static_cast<uint32_t>((static_cast<const char *>(p) - base_) /
					     static_cast<ptrdiff_t>(unit));
	}
	Record read(uint32_t at) const { return {record_[at].load(mo::seq_cst)}; }
	bool change(uint32_t at, Record from, uint64_t to)
	{
		return record_[at].compare_exchange_strong(from.word, to, mo::seq_cst);
	}
	uint64_t mine() const { return Record::in_use | Record::of(members_.me()); }
	uint64_t my_bit() const { return uint64_t{1} << members_.me(); }
	uint32_t count_of(uint32_t first, Record r) const
	{
		return r.units_within(units_.count() - first);
	}
	char *begin_piece(uint32_t first, uint64_t state, size_t size);
	char *reserve_as(uint64_t state, size_t size);
	bool fits(const void *p, size_t len, uint32_t first, Record r) const;
	uint32_t piece_around(uint32_t at, Record *r) const;
	void end(uint32_t first, Record r);
	uint32_t slot_of(uint32_t first, Record r) const;
	bool free_released(uint32_t first, Record r);
	void drop_bit(uint32_t first, uint64_t bit, const std::atomic<uint32_t> *unless);
	bool reap_pieces(uint32_t dead, bool theirs);
	bool is_lost(uint32_t at) const;
	bool reap_lost(uint64_t living, bool *all);
	bool map_holds();
	// What takes the place of the record of a piece that is free.
	static uint64_t when_free(Record r)
	{
		return r.has(Record::in_area) ? Record::in_area | Record::returned : 0;
	}
	bool is_of_area(uint32_t at) const;
	void add_to_area(size_t bytes) { shared_->area_free.fetch_add(bytes, mo::relaxed); }
	void return_to_area(uint32_t first, Record r);
	bool keep_in_area(uint32_t at, uint64_t state);
	uint32_t leave_area(uint32_t at);

	const char *base_;
	UnitBitmap units_;
	Members members_;
	Shared *shared_;
	std::atomic<uint64_t> *record_, *holders_;
	std::atomic<uint64_t> *returned_; // a bit for each group of units
	std::atomic<uint32_t> *holds_;    // this process's own
	char *mapping_;
	size_t mapped_;
};

template <class F> void PieceAllocator::collect(F f)
{
	shared_->area_returns.store(0, mo::seq_cst);
	uint32_t groups = (units_.count() + group - 1) / group;
	for (uint32_t word = 0; word < (groups + 63) / 64; word++) {
		if (returned_[word].load(mo::relaxed) == 0)
			continue;
		for (uint64_t left = returned_[word].exchange(0, mo::seq_cst); left != 0;
		     left &= left - 1) {
			uint32_t from =
				(word * 64 + static_cast<uint32_t>(__builtin_ctzll(left))) * group;
			for (uint32_t at = from; at < from + group && at < units_.count(); at++) {
				Record r = read(at);
				if (r.word != (Record::in_area | Record::returned) ||
				    !change(at, r, 0) || f(at))
					continue;
				// No room for it now.
				record_[at].store(r.word, mo::seq_cst);
				returned_[word].fetch_or(left, mo::seq_cst);
				shared_->area_returns.store(1, mo::seq_cst);
				return;
			}
		}
	}
}

} // namespace sigevec::dma
