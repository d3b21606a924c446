// SPDX-License-Identifier: MIT
//
// Which attempts pay, learned for each file.
//
// An attempt is the cheapest way if it succeeds, and is paid for in vain if not. What makes it fail
// stays so for a while: the file is not in the cache, the kernel has the file's times to change,
// the device's queue is full. So after a failure the next attempts are left out: one, then three,
// seven, up to 63; the one after that is made and tells whether it still is so. A success forgets
// all of it: a file that turns warm is noticed within some dozens of requests.
//
//   way           what is tried               a failure costs (Linux 6.18, ext4)
//   read          a buffered read in the      the device's read is started in the call: 25 µs,
//                 call, RWF_NOWAIT            which is lost only where others are under way
//   write         a buffered write in the     it has waited; for it there is no RWF_NOWAIT on
//                 call                        ext4, so it is timed
//   direct_read   kernel AIO with RWF_NOWAIT  3 µs, and then the hand-over all the same
//   direct_write  the same
//
// A read that is alone is always attempted: the device is at it while it is handed over, and often
// has it within the call. So is the second where the driver's ring takes those that fail: it begins
// more of them with less ado (reads of 4 KiB that are not in the cache, two to eight, depth 2 / 4 /
// 8 / 32: 0.9 / 0.93 / 1.58 / 1.62; without a ring 1.0 for one, and 0.7 at depth 8 if all were
// attempted).
//
// What is remembered is a hint: a place may be another file's, of the same inode number later or by
// chance. That costs an attempt, never a result.
//
// Locks: none; two threads that change the same word lose one of the changes. Async-signal-safe.
#pragma once

#include <cstdint>

namespace sigevec::attempts {

enum class Way : uint8_t { read, write, direct_read, direct_write };
constexpr unsigned ways = 4;

// Whether it is to be made now. False: it is left out, and one fewer is to be.
bool pays(uint64_t dev, uint64_t ino, Way way);
// How it ended.
void note(uint64_t dev, uint64_t ino, Way way, bool success);

} // namespace sigevec::attempts
