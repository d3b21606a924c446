// SPDX-License-Identifier: MIT
//
// Counters. Each thread adds to one of a few copies, so that counting shares no cache line between busy threads.
#pragma once

#include "runtime/thread_number.hpp"

#include <atomic>
#include <cstdint>

namespace sigevec::stats {

enum Counter : unsigned {
	requests, // accepted
	completions,
	cancelled,
	refused, // -1 from the call
	inline_done,
	kaio_done,
	uring_done,
	threads_done,
	inline_cold,       // not in the page cache: passed on
	inline_unsupported, // the file system has no RWF_NOWAIT
	inline_large,      // too large to be copied in the call
	inline_queued,     // requests before it on the stream
	kaio_would_block,  // the kernel would have had to block at submission
	kaio_full,         // no slot in the context, or no context
	uring_unavailable, // refused by the kernel or switched off
	helper_restarts,
	notify_signal,
	notify_signal_lost, // the queue of signals was full (RLIMIT_SIGPENDING)
	notify_thread,
	notify_thread_shared, // no thread of its own could be made
	notify_channel,
	counters
};

extern const char *const names[counters];

constexpr unsigned copies = 16;

struct alignas(64) Copy {
	std::atomic<uint64_t> value[counters];
};

// In the library's memory, or in the file of SIGEVEC_STATS.
extern std::atomic<Copy *> table;

inline void count(Counter c, uint64_t n = 1)
{
	table.load(std::memory_order_relaxed)[thread_number() % copies].value[c].fetch_add(n, std::memory_order_relaxed);
}

uint64_t sum(unsigned counter);

void open();
void after_fork();

} // namespace sigevec::stats
