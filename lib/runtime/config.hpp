// SPDX-License-Identifier: MIT
//
// The limits and choices of the process, from the environment, aio_init and sigevec_set_limits.
#pragma once

#include <atomic>
#include <cstdint>

namespace sigevec::config {

// Which engine is asked for by SIGEVEC_ENGINE; automatic: the choice is made per request.
enum class Force : uint8_t { automatic, inline_, kaio, uring, threads };

constexpr unsigned most_requests = 1u << 22;
constexpr unsigned most_ring = 32768;

struct Limits {
	std::atomic<unsigned> threads{20}; // as many as glibc
	std::atomic<unsigned> requests{1u << 20};
	std::atomic<unsigned> ring{256};
	std::atomic<unsigned> idle{1};
	std::atomic<uint64_t> dma{0}; // bytes of all regions; set by read_environment
};

extern Limits limits;
extern Force force;
// A file for the statistics, or nullptr.
extern const char *stats_file;
// How many steps of requests are kept with them.
constexpr uint64_t most_trace_steps = 1u << 24;
extern uint64_t trace_steps;

// Once, before anything else. Values that are not numbers in range are ignored.
void read_environment();

} // namespace sigevec::config
