// SPDX-License-Identifier: MIT
//
// The units of a region: which of them are taken.
//
// A bitmap with a bit for each 128 bytes, in memory that is shared with children. Everything is
// changed by compare-exchange: no lock, so a process that dies holds nobody up. Whoever has set a
// bit owns the unit until it clears it. A child may write anything there: then units have two
// owners or none, but no unit is ever one that the region has not got.
#pragma once

#include "base/memory_order.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>

namespace sigevec::dma {

constexpr size_t unit = 128;
constexpr uint32_t no_unit = ~uint32_t{0};

class UnitBitmap {
public:
	// How much memory that takes; it begins as zero bytes, at a multiple of 64.
	static size_t memory(uint32_t count);
	// For memory of a region that begins at base.
	void create(void *memory, const char *base, uint32_t count);

	// The bits, the same in every word, of units whose address is a multiple of step units
	// behind `from'. step: a power of two below 64.
	uint64_t aligned(uint32_t step, uintptr_t from) const;

	// Takes that many, one after the other, that begin at one of the bits `allowed'. The first
	// of them, or no_unit.
	uint32_t claim(uint32_t count, uint64_t allowed);
	// The same wherever they begin, as close to the last ones as can be.
	uint32_t claim_close(uint32_t count);
	// Up to `most' such runs; how many. At least one if there is one.
	uint32_t claim_runs(uint32_t count, uint64_t allowed, uint32_t most, uint32_t *first);
	void give_back(uint32_t first, uint32_t count);
	// The caller's next ones are to be looked for from here on, if that is further to the front
	// than they would be.
	void prefer(uint32_t at);

	// Acquire: with what its owner has written before.
	bool taken(uint32_t at) const
	{
		return (bitmap_[at / word_bits].load(mo::acquire) >> (at % word_bits) & 1) != 0;
	}
	uint32_t used() const;
	// The first that is taken from `at' on; count(): there is none.
	uint32_t next_taken(uint32_t at) const;
	uint32_t count() const { return count_; }

	// Set by who found no room, and looks once more then; give_back() tells after that.
	void wait_for_room() { shared_->starved.store(1, mo::seq_cst); }
	// Sleeps until something has been given back since `seen', at most for so long. False: a
	// signal came.
	uint32_t given_back() const { return shared_->given_back.load(mo::acquire); }
	bool sleep(uint32_t seen, const timespec &most) const;
	// Those who sleep look once more.
	void disturb()
	{
		if (shared_->starved.load(mo::seq_cst) != 0)
			wake_starved();
	}

private:
	struct alignas(64) Hint {
		std::atomic<uint32_t> word; // 1 + where this thread found room last; 0: nowhere yet
	};
	static constexpr uint32_t word_bits = 64;
	static constexpr unsigned hints = 16;
	struct Shared {
		std::atomic<uint32_t> starved;
		std::atomic<uint32_t> given_back; // changes; a futex between processes
		Hint hint[hints];
	};

	uint64_t load(uint32_t word) const;
	static uint64_t ones(uint32_t n);
	static uint64_t runs(uint64_t free, uint32_t n);
	static uint64_t mask_in_word(uint32_t first, uint32_t count);
	template <class F> static uint32_t each_word(uint32_t first, uint32_t count, F f);
	uint32_t begin_of_this_thread() const;
	void remember(uint32_t word);
	uint64_t claim_in_word(uint32_t word, uint32_t count, uint64_t allowed, uint32_t most);
	uint32_t claim_anywhere(uint32_t start, uint32_t count, uint64_t allowed);
	uint32_t free_from(uint32_t start, uint32_t count) const;
	bool claim_all(uint32_t first, uint32_t count);
	void wake_starved();

	const char *base_;
	uint32_t count_, words_;
	uint64_t behind_end_; // the bits of the last word that are no units
	Shared *shared_;
	std::atomic<uint64_t> *bitmap_;
};

// By who gives units back while somebody waits for room: defined by the receiver
// (dma/receiver.cpp).
void room_made();

} // namespace sigevec::dma
