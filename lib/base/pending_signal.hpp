// SPDX-License-Identifier: MIT
//
// Taking a signal that is blocked and pending, for the calling thread or for the process, also
// where a filter refuses rt_sigtimedwait: then by a signalfd.
//
// Async-signal-safe; no cancellation point.
#pragma once

#include <csignal>
#include <cstdint>

namespace sigevec::sys {

// What is pending of the kernel's set of signals: its number, or 0. Where it needs a descriptor,
// that is there for the length of the call.
int take_signal(uint64_t set, siginfo_t *info);
// The same for a thread that waits. Where it needs a descriptor it looks by the clock: a number
// that it waited at could be another file's. 0: look again.
int wait_for_signal(uint64_t set, siginfo_t *info);

constexpr uint64_t set_of(int signal)
{
	return uint64_t{1} << (signal - 1);
}

} // namespace sigevec::sys
