// SPDX-License-Identifier: MIT
//
// Tries every order in which a few threads can take their steps, up to a bound. The threads are
// fibers of one thread; a step ends before each operation on an atomic, a futex or a lock
// (checked.hpp puts these in the place of std::atomic, the system call and libc's lock, so that
// what is tried is the library's own code).
//
// A schedule is a list of choices: who goes on, and which of a thread's stores the others see
// later. All lists are tried, depth first, in which no more than `preemptions' threads are
// interrupted and no more than `delays' stores are late. Most faults need one or two of either.
//
// Stores: one that is not seq_cst may stay with its thread for a while, as in a store buffer, and
// be overtaken by whatever does not have to come after it. Loads are never early: that, and data
// races, are ThreadSanitizer's.
//
// Not checked: what depends on time.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace schedules {

// A deliberate error, of everything that is tried: that the checker finds one shows that it would
// find it in the library.
enum class Error {
	none,
	split_changes, // a read-modify-write is a load and a store
	late_stores,   // seq_cst stores are release stores
	late_changes,  // a read-modify-write holds up no store, and may be late itself
	low_halves,    // a compare-exchange compares the low half only
	low_bytes,     // the same with the low byte
	early_looks,   // a futex compares its word before it sleeps, and not when
};

// Made anew for each schedule.
struct Run {
	std::vector<std::function<void()>> threads;
	std::function<void()> at_the_end; // when all have ended; by no thread
	bool numbers = false;             // a thread_number for each, and not one for all
	bool time_passes = true;          // a wait with a limit ends when nobody else can go on
};

struct Bounds {
	unsigned preemptions = 2, delays = 1;
	unsigned long most = 3000000; // schedules
};

struct Outcome {
	unsigned long tried = 0;
	bool all = false;  // the bounds have been reached without a failure
	std::string fault; // of the first schedule that failed: what, and its steps
};

Outcome try_all(const std::function<Run()> &make, Bounds bounds = {}, Error error = Error::none);

// In a thread, or at the end: the schedule has failed unless it holds.
void require(bool holds, const char *what);

// ---- for checked.hpp

// Whether a thread of a run calls. If not, operations are what they are.
bool inside();
void point(const char *what, const void *where);
uint64_t load(const void *where, unsigned size);
void store(void *where, unsigned size, uint64_t value, std::memory_order order);
// f: the new value, or nothing to be stored. Returns the old one.
using Change = bool (*)(uint64_t old, const void *argument, uint64_t *now);
uint64_t change(void *where, unsigned size, std::memory_order order, Change f,
		const void *argument);
bool same(uint64_t a, uint64_t b); // as far as a compare-exchange looks
void fence(std::memory_order order);
void yield();
// Within a loop that ends by itself.
inline void pause()
{
}
int futex_wait(const void *word, uint32_t value, bool limited);
int futex_wake(const void *word, int count);
void lock(void *mutex);
void unlock(void *mutex);

} // namespace schedules
