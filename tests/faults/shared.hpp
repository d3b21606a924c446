// SPDX-License-Identifier: MIT
//
// What tests/faults/inject and the scenarios tell each other: one page of memory, which the
// scenario gets as descriptor `shared_number` and maps at its start. Nothing of it is the
// library's.
#ifndef FAULTS_SHARED_HPP
#define FAULTS_SHARED_HPP

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace faults {

inline constexpr int shared_number = 900;

/// A call to the allocator, in the place of a system call's number.
inline constexpr int allocation = 10000;

/// Places in the library that allocate, as seen by the counting run.
struct Site {
	std::atomic<uintptr_t> offset; // of the return address, in the library; 0: none
	std::atomic<unsigned> count;
};

struct Shared {
	std::atomic<int>
		injecting; // between two marks of the scenario's: what the library calls may fail
	std::atomic<int>
		listener; // the filter's descriptor in the scenario's table, while it is there
	std::atomic<int> round;    // 0: with the fault; then without
	int error;                 // what is injected, 0 in a counting run
	int call;                  // the system call's number, or `allocation`
	bool onwards;              // not once, but from then on
	uintptr_t allocation_site; // which place's allocation fails, 0: none
	unsigned allocation_turn;  // and which of them, from 1
	std::atomic<unsigned> hits;
	uintptr_t library, library_end;       // the library's code
	uintptr_t executable, executable_end; // the scenario's own
	char stage[160];                      // what the scenario is doing, should it hang
	std::atomic<unsigned> length;
	char verdict[8000]; // one line for each thing that is wrong
	Site sites[512];
	char left[2000]; // what is open at the end
	unsigned threads;
	// What may stay, kinds as in `left' and threads. More has the time that a thread takes for
	// what it is at, or to end when it is idle. A counting run has no such limits.
	bool limited;
	char may_be_left[2000];
	unsigned most_threads;
};

} // namespace faults

#endif
