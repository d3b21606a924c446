// SPDX-License-Identifier: MIT
//
// The processes that share a region: who they are, and whether they live.
//
// A process enters itself when it makes a region, and in a child of fork when the library first
// runs there. Its place in the table is what the records of pieces name as their owner, so that the
// living can take back what a dead one had. The table is memory that all of them write, a hostile
// child too: what stands there decides whose pieces come back, never which memory is touched.
//
// A process is dead when its number is nobody's or another process's, when it is a zombie, or when
// it has executed another program. Of a process in another PID namespace nothing is known: it
// counts as alive. Nobody is told of a death: it is looked for where room is missing.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace sigevec::dma {

class Members {
public:
	// Place 0 is nobody's: for processes that find no other. They cannot hold pieces, and
	// theirs are not taken back.
	static constexpr uint32_t most = 48;

	// How much memory that takes; it begins as zero bytes, at a multiple of 64.
	static size_t memory();
	void create(void *memory);
	// In a child of fork. Async-signal-safe.
	void join();

	uint32_t me() const { return me_; }

	// For a moment, in which this thread changes records and units: what a process that dies in
	// it has taken is nobody's.
	class Transit {
	public:
		explicit Transit(const Members &m);
		~Transit();
		Transit(const Transit &) = delete;
		Transit &operator=(const Transit &) = delete;

	private:
		struct Counters;
		friend class Members;
		Counters *c_;
		bool alone_; // no other thread uses the counters
	};
	// Who lives, a bit for each place.
	uint64_t living() const;
	// Whether none of those is in such a moment, and the sum of all that they have counted:
	// equal before and after, nothing has been changed in between. A process that has entered
	// since changes nothing of what is nobody's.
	bool quiet(uint64_t living, uint64_t *sum) const;

	// Bytes that this process has lent to rings; by all of those that live.
	void add_lent(int64_t bytes);
	uint64_t lent() const;

	// The process lets go of the region: as if it were dead.
	void leave();

	// The first place after that one whose owner is dead and has left something, to be cleared
	// by the caller alone until end_reaping(). 0: there is none. theirs: also what the program
	// had there.
	uint32_t begin_reaping(uint32_t after, bool theirs);
	// Whether a living process may have got memory of dead's by fork.
	bool has_heirs(uint32_t dead) const;
	// Whether dead died in the middle of something.
	bool died_in_transit(uint32_t dead) const;
	// Others may reap. The place is free, unless something of its owner's is left: what the
	// program had there, or more.
	enum class Left : uint8_t { nothing, to_heirs, more };
	void end_reaping(uint32_t dead, Left left);

private:
	struct Member;
	struct Table;

	bool is_dead(uint32_t at) const;

	Table *table_;
	uint32_t me_;
	uint32_t my_process_; // what stood there for this process when it entered
};

} // namespace sigevec::dma
