// SPDX-License-Identifier: MIT
//
// Which of two ways is the quicker one, found by comparison: the usual way or a worker.
//
// O_DIRECT writes of a file that come one at a time: the usual way is kernel AIO, which needs no
// other thread, but each write ends by way of a kernel worker that is bound to the processor of the
// interrupt: where that processor is wanted by others it waits for its turn there, while a thread
// that has made a blocking call is woken on whichever is free. So on a quiet machine kernel AIO is
// the quicker way, and on a busy one a worker is, by up to two times. Requests that come several at
// a time go to kernel AIO, which carries them out side by side.
//
// Small buffered writes of a thread that has several outstanding (engine/guess.hpp): the usual way
// is a copy within the call, where one processor does everything. A worker copies while the
// program goes on, which is the quicker way where a processor is idle, by up to two times, and the
// slower one elsewhere.
//
// Transfers with O_DIRECT of a thread that has several outstanding (engine/select.cpp): the usual
// way is kernel AIO, each begun in a call of its own; the other is the driver's ring, to which what
// has come meanwhile goes at once.
//
// Nothing tells the machines apart but the comparison, of the time from one submission to the next,
// the whole round with all that wakes the caller; what the program does in between is in both.
// After some rounds the other way is taken for a few, and the first of them, with threads that must
// be woken, do not count. While the other way is clearly the slower one it is tried less often.
//
// What is remembered is a hint, as in engine/attempts.hpp. Locks: none; what two threads change at
// once may lose one of the changes. Async-signal-safe.
#pragma once

#include "base/memory_order.hpp"

#include <atomic>
#include <cstdint>

namespace sigevec {

struct Request;

class Pace {
public:
	enum class Way : uint8_t { usual, worker };

	struct Rhythm {
		// So many rounds by the quicker way before the other is tried, at the least and at
		// the most; so many of the other; and so many of these, and of the quicker way
		// after them, that do not count.
		uint32_t least, most, probes, settling;
	};
	static constexpr Rhythm direct{56, 1016, 8, 1};
	// A worker that copies takes its time to become quick: its first write waits for a thread
	// and for the file, and of 192 that were tried none was quicker.
	static constexpr Rhythm buffered{3072, 98304, 1024, 256};

	// What is outstanding the one way holds up the first of the other, some dozens.
	static constexpr Rhythm several{1024, 32768, 256, 64};

	constexpr explicit Pace(const Rhythm &rhythm) : rhythm_(rhythm), interval_(rhythm.least) {}
	// A request begins at this time, in ns: the way that it is to go. Since the last one, if
	// interrupted() has not been called, nothing happened that is not to be measured.
	Way next(uint64_t now);
	void interrupted() { measured_.store(Measured::nothing, mo::relaxed); }
	void reset();

private:
	enum class Measured : uint8_t { nothing, not_this, usual, worker };
	struct Mean {
		std::atomic<uint64_t> sum{0};
		std::atomic<uint32_t> count{0};
		void add(uint64_t ns);
		void halve();
		uint64_t value() const;
	};
	Mean &mean(Way w) { return means_[static_cast<unsigned>(w)]; }
	Way by_turn(bool *counts);
	void compare();

	const Rhythm &rhythm_;
	std::atomic<uint64_t> begun_{0};
	Mean means_[2];
	std::atomic<uint32_t> turn_{0}, interval_;
	std::atomic<Way> quicker_{Way::usual};
	std::atomic<Measured> measured_{Measured::nothing}; // by the round that is under way
};

namespace pace {

// Which way r is to go, a write to a file with O_DIRECT. It counts as outstanding until left(),
// which may be called again.
Pace::Way choose(Request *r);
// The same of a read that is to wait for the device; it goes its way.
void count(Request *r);
void left(Request *r);

// What stands for a file in a table of hints.
constexpr uint64_t file_key(uint64_t dev, uint64_t ino)
{
	uint64_t h = (ino ^ dev << 32 ^ dev >> 32) * 0x9e3779b97f4a7c15ull;
	return h ^ h >> 29;
}

// How many that count are outstanding of a file. Of another one by chance, too.
uint32_t outstanding(uint64_t dev, uint64_t ino);

void after_fork();

} // namespace pace
} // namespace sigevec
