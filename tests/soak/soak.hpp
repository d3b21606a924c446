// SPDX-License-Identifier: MIT
//
// What the parent (soak.cpp) and its workers (worker.cpp, capabilities.cpp) share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>

namespace soak {

using Random = std::mt19937_64;

// Ends the process with status 1 unless it holds, and says what and where.
#define REQUIRE(holds) soak::require((holds), #holds, __FILE__, __LINE__)
void require(bool holds, const char *what, const char *file, int line);

// The log of a worker: records of this size, whose content follows from their number. What the
// parent has been told of is in the file, whatever becomes of the worker.
constexpr size_t record_size = 4096;
void make_record(unsigned char *to, uint64_t number, uint64_t seed);

struct Log {
	int fd;        // the file
	int told;      // a pipe to the parent: numbers of records that are synchronised
	uint64_t next; // number of the next one
	uint64_t seed;
};

// One use of a capability, from its beginning to its end: nothing of it is left.
struct Capability {
	const char *name;
	void (*use)(Random &random, Log &log);
};
extern const Capability capabilities[];
extern const unsigned capability_count;

// Until SIGTERM. Returns the exit status: whether everything is as it was at the beginning.
int work(Log log);

} // namespace soak
