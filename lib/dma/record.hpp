// SPDX-License-Identifier: MIT
//
// What stands at the first unit of a piece, for all processes that share the region.
//
// Any of them can write there what it likes, so a record is only ever a copy, read once: it says
// whose the piece is and how long, and never reaches beyond the region (units_within).
#pragma once

#include "dma/message.hpp"
#include "dma/unit_bitmap.hpp"

namespace sigevec::dma {

struct Record {
	static constexpr uint64_t in_use = uint64_t{1} << 63;
	static constexpr uint64_t busy = uint64_t{1} << 62; // the library is at work on it
	static constexpr uint64_t released = uint64_t{1}
					     << 61; // by the program, while something held it
	static constexpr uint64_t with_head = uint64_t{1} << 60;
	static constexpr uint64_t in_slot = uint64_t{1} << 59, in_large_slot = uint64_t{1} << 58,
				  any_slot = in_slot | in_large_slot;
	static constexpr uint64_t was_held = uint64_t{1} << 57; // something has held it, or does
	// An arrival in the memory that the kernel fills, such memory itself, and an arrival that
	// is to be given back to the kernel: with in_area alone, and nobody's.
	static constexpr uint64_t in_area = uint64_t{1} << 56, area = uint64_t{1} << 55,
				  returned = uint64_t{1} << 54;
	static constexpr unsigned owner_shift = 48;
	static constexpr uint64_t size_mask =
		(uint64_t{1} << 40) - 1; // bytes as the program knows them

	uint64_t word;

	static uint64_t of(uint32_t owner) { return uint64_t{owner} << owner_shift; }
	explicit operator bool() const { return word != 0; }
	bool has(uint64_t bits) const { return (word & bits) != 0; }
	// Whether it is a piece of the program's, and not released.
	bool is_programs() const { return (word & (in_use | busy | released)) == in_use; }
	uint32_t owner() const { return static_cast<uint32_t>(word >> owner_shift) & 63; }
	size_t size() const { return word & size_mask; }
	// With the head before the data.
	size_t bytes() const { return size() + (has(with_head) ? sizeof(MessageHead) : 0); }
	// Of one that begins so many units before the end of the region.
	uint32_t units_within(uint32_t left) const
	{
		size_t n = (bytes() + unit - 1) / unit;
		return n < left ? static_cast<uint32_t>(n) : left;
	}
	size_t slot_size() const { return has(in_slot) ? 2048 : 4096; }
};

} // namespace sigevec::dma
