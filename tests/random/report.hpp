// SPDX-License-Identifier: MIT
//
// What a sequence did, as lines of a C program, and what was wrong: in memory shared with the
// parent, which reads it however the process of the sequence ended.
#ifndef RANDOM_REPORT_HPP
#define RANDOM_REPORT_HPP

#include <atomic>
#include <cstddef>

namespace calls {

inline constexpr unsigned most_threads = 4;

struct Report {
	static constexpr size_t room = size_t{1} << 20;
	std::atomic<bool> failed;
	std::atomic<size_t> used[most_threads];
	char fault[1024];
	char lines[most_threads][room];
};

/// Mapped once; emptied before each sequence.
Report &report();
void empty_report();

/// Which thread of the sequence calls.
extern thread_local unsigned this_thread;

/// A line of this thread's C program.
[[gnu::format(printf, 1, 2)]] void say(const char *format, ...);
/// The sequence has failed: the process ends.
[[noreturn, gnu::format(printf, 1, 2)]] void fault(const char *format, ...);

} // namespace calls

#endif
