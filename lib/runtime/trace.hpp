// SPDX-License-Identifier: MIT
//
// The last steps of requests, in a ring behind the statistics of the process
// (runtime/stats_file.hpp), when SIGEVEC_TRACE asks for it. `sigevec trace' reads it while the
// program runs.
//
// Where a step is taken the statistics are on already, or a pointer has been tested: without
// SIGEVEC_TRACE a step costs nothing more than that. Everything here is async-signal-safe and takes
// no lock. Nothing in the ring is read back but how many steps have been numbered, of which only
// the remainder is used: a child could write to it.
#pragma once

#include "base/memory_order.hpp"
#include "runtime/stats_file.hpp"

#include <atomic>
#include <cstdint>

namespace sigevec::trace {

using stats_file::Step;

extern std::atomic<stats_file::Trace *> ring; // nullptr: off
inline bool on()
{
	return __builtin_expect(ring.load(mo::relaxed) != nullptr, 0);
}

// How many steps the ring has, and how many bytes of the statistics file; 0: there is none.
uint64_t steps();
uint64_t size();
// The memory behind the statistics is the ring's from here on.
void use(stats_file::Trace *memory);

// The time in nanoseconds, which is no other request's in this process: it names one.
uint64_t new_id();

struct Fields {
	Step step;
	uint64_t id; // of the request; 0: it has none, and nothing is kept
	uint8_t operation, kind, detail;
	int fd;
	int64_t value;
	int64_t offset;
	const void *aiocb;
};
void put(const Fields &f);

} // namespace sigevec::trace
