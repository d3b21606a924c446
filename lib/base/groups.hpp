// SPDX-License-Identifier: MIT
//
// The supplementary groups of the calling thread, as one number to compare.
//
// They are a thread's own, as its user is: libc changes those of all threads, a raw system call
// those of its caller.
#pragma once

#include <cstdint>

namespace sigevec {

// Another number for other groups. Async-signal-safe up to 64 of them.
uint64_t supplementary_groups();

} // namespace sigevec
