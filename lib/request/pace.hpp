// SPDX-License-Identifier: MIT
//
// Which of two ways is the quicker one for the O_DIRECT writes of a file that come one at a time.
//
// Kernel AIO needs no other thread, but each write ends by way of a kernel worker that is bound to
// the processor of the interrupt: where that processor is wanted by others it waits for its turn
// there, while a thread that has made a blocking call is woken on whichever is free. So on a quiet
// machine kernel AIO is the quicker way, and on a busy one a worker is, by up to two times. Nothing
// tells the two machines apart but the comparison.
//
// What is compared is the time from one submission to the next, the whole round with all that wakes
// the caller; what the program does in between is in both. It counts only if nothing else was
// outstanding all the while. After some dozens of rounds the other way is taken for eight, and the
// first of them, with threads that must be woken, does not count. While the other way is clearly
// the slower one it is tried less often.
//
// Requests that come several at a time go to kernel AIO, which carries them out side by side.
//
// What is remembered is a hint, as in engine/attempts.hpp, and of the open files of one inode
// together. Locks: none; what two threads change at once may lose one of the changes.
// Async-signal-safe.
#pragma once

#include "base/memory_order.hpp"

#include <atomic>
#include <cstdint>

namespace sigevec {

struct Request;

class Pace {
public:
	enum class Way : uint8_t { kernel, worker };

	// A write begins at this time, in ns, and nothing else is outstanding: the way that it is
	// to go.
	Way alone(uint64_t now);
	// Another one is outstanding: what has been begun is no measure.
	void crowded() { measured_.store(Measured::nothing, mo::relaxed); }
	void reset();

	// So many rounds by the quicker way before the other is tried, at the least and at the
	// most; and so many of the other.
	static constexpr uint32_t least = 56, most = 1016, probes = 8;

private:
	enum class Measured : uint8_t { nothing, not_this, kernel, worker };
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

	std::atomic<uint64_t> begun_{0};
	Mean means_[2];
	std::atomic<uint32_t> turn_{0}, interval_{least};
	std::atomic<Way> quicker_{Way::kernel};
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
