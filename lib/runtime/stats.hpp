// SPDX-License-Identifier: MIT
//
// Counters, and the file in which they are kept when SIGEVEC_STATS asks for it. What is counted
// only then is in request/stats_detail.hpp.
//
// Each of the first threads has a row of counters of its own, so that counting takes one ordinary
// instruction and shares no cache line. Only that thread writes to it, its signal handlers
// included.
#pragma once

#include "base/memory_order.hpp"
#include "base/thread_number.hpp"
#include "runtime/stats_file.hpp"

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
	inline_cold,        // not in the page cache: passed on
	inline_unsupported, // the file system has no RWF_NOWAIT
	inline_large,       // too large to be copied in the call
	inline_queued,      // requests before it on the stream, or the file
	kaio_would_block,   // the kernel would have had to block at submission
	kaio_full,          // no slot in the context, or no context
	uring_unavailable,  // refused by the kernel or switched off
	notify_signal,
	notify_signal_lost, // the queue of signals was full (RLIMIT_SIGPENDING)
	notify_thread,
	notify_thread_shared, // no thread of its own could be made
	notify_channel,
	inline_left_out, // the last attempts in the call have failed: it was not made
	inline_slow,     // a write in the call has taken as long as a hand-over
	kaio_left_out,   // the last submissions were refused: it was not made
	kaio_slower,     // a worker is, or may be, the quicker way; or the ring
	inline_slower,   // the same, of a write that could be copied in the call
	counters
};

extern const char *const names[counters];

using stats_file::Word;

// Where the calling thread counts.
struct Place {
	unsigned row;
	bool own; // nobody else writes to the row
};

// 0 while other processes count in the same file.
extern unsigned own_rows;

inline Place place()
{
	unsigned n = thread_number();
	constexpr unsigned others = stats_file::rows - stats_file::own_rows;
	return {n < stats_file::own_rows ? n : stats_file::own_rows + n % others, n < own_rows};
}

inline void add(Word &w, uint64_t n, bool own)
{
#if defined __x86_64__
	// One instruction, so that a signal handler comes before it or after it.
	if (own) {
		asm("addq %1, %0" : "+m"(w) : "er"(n) : "cc");
		return;
	}
#else
	(void)own;
#endif
	w.fetch_add(n, mo::relaxed);
}

// In the library's memory, or in the file.
extern std::atomic<stats_file::Row *> table;

inline void count(Counter c, uint64_t n = 1)
{
	Place p = place();
	add(table.load(mo::relaxed)[p.row].counter[c], n, p.own);
}

uint64_t sum(unsigned counter);

// The file itself, for what is counted there only; nullptr: off.
extern std::atomic<stats_file::File *> file;
inline stats_file::File *on()
{
	return file.load(mo::relaxed);
}

// At set-up: makes the file that the environment asks for.
void open();
void after_fork();

} // namespace sigevec::stats
