// SPDX-License-Identifier: MIT
//
// The pieces of a region: runs of units (dma/units.hpp), and whose they are.
//
// A record for each piece stands at its first unit. Records and bitmap are in a mapping of their own, between pages that cannot be touched, so
// that a write past the end of a piece cannot reach them; the mapping is shared with children, as the pieces are. Everything is changed
// by compare-exchange.
//
// Who owns what: a bit is claimed before the record is written (release), and the record is cleared before the bits are
// given back. Whoever changes the record to 0 owns the units until then. A piece that the library itself is at work on is `busy':
// the program cannot release it, whatever it passes.
#pragma once

#include "dma/units.hpp"

namespace sigevec::dma {

class Slots {
public:
	// For memory that begins at base; units may be claimed from the first one on. False: no memory.
	bool create(const char *base, uint32_t units);
	// Nobody may be using it.
	void destroy();

	// Takes a busy piece of size bytes (not 0); nullptr: there is no room for it.
	char *reserve(size_t size);
	// The same for what may arrive, most of which is likely to be given back: wherever there is room, close to the last one, so that
	// small arrivals that the program keeps do not take the room of large ones.
	char *reserve_for_arrival(size_t size);
	// The program's own from now on: of its size, cut to n bytes (not 0), which it must be released with. message: it
	// begins with a MessageHead, which is not counted in n.
	void give(char *piece, size_t size, size_t n, bool message);
	// reserve and give in one.
	char *reserve_for_program(size_t size);
	// Gives back what is behind the first n bytes of a busy piece; its new size.
	size_t cut(char *piece, size_t size, size_t n);
	// Gives a busy piece back.
	void discard(char *piece, size_t size);
	// Gives the units before `rest' back, which then begins a busy piece; size: of what stays.
	void drop_front(char *piece, char *rest, size_t size);

	// For Ethernet frames (ether/device.hpp): busy pieces of size bytes, 2048 or 4096, each at a multiple of that behind `from', a page's
	// beginning. How many of them there are, at most `most', which is at most most_slots.
	static constexpr uint32_t most_slots = 32;
	uint32_t reserve_slots(size_t size, const char *from, uint32_t most, char **slots);
	// n bytes at data, behind the first unit of such a piece, are a busy piece of their own from now on; the slot goes with it.
	void open_slot(char *data, size_t size, size_t n);

	// By the program. False: it is none of its pieces, or not of this size.
	bool release(const void *piece, size_t size);

	// A request works on [p, p + len): the piece that holds it all is not used again before unhold. no_unit: there is none.
	uint32_t hold(const void *p, size_t len);
	// One more, by who has one.
	void hold_again(uint32_t first) { record_[first].fetch_add(one_hold, std::memory_order_relaxed); }
	void unhold(uint32_t first);

	// Whether a piece will come back without the program's doing: released, but held.
	bool some_return() const { return shared_->returning.load(std::memory_order_acquire) != 0; }
	// As those of the units.
	void wait_for_room() { units_.wait_for_room(); }
	uint32_t given_back() const { return units_.given_back(); }
	bool sleep(uint32_t seen) const { return units_.sleep(seen); }

	size_t used() const { return units_.used() * unit; }
	uint32_t units() const { return units_.count(); }
	static uint32_t units_of(size_t size) { return static_cast<uint32_t>((size + unit - 1) / unit); }

private:
	struct alignas(64) Shared {
		std::atomic<uint32_t> returning; // pieces that are released, but held
	};

	// A record. size: bytes as the program knows them.
	static constexpr uint64_t in_use = uint64_t{1} << 63, busy = uint64_t{1} << 62, released = uint64_t{1} << 61,
				  with_head = uint64_t{1} << 60, in_slot = uint64_t{1} << 59, in_large_slot = uint64_t{1} << 58, one_hold = uint64_t{1} << 40, size_mask = one_hold - 1,
				  hold_mask = uint64_t{0xffff} << 40, any_slot = in_slot | in_large_slot;

	uint32_t index_of(const void *p) const
	{
		return static_cast<uint32_t>((static_cast<const char *>(p) - base_) / static_cast<ptrdiff_t>(unit));
	}
	char *begin_piece(uint32_t first, uint64_t state, size_t size);
	char *reserve_as(uint64_t state, size_t size);
	uint32_t piece_around(uint32_t at, uint64_t *record) const;
	void end(uint32_t first, uint64_t record);
	void end_slot(uint32_t first, uint64_t record);
	static uint32_t count_of(uint64_t record);

	const char *base_;
	Units units_;
	Shared *shared_;
	std::atomic<uint64_t> *record_;
	char *mapping_;
	size_t mapped_;
};

} // namespace sigevec::dma
