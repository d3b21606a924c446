// SPDX-License-Identifier: MIT
//
// glibc's clone, for children that share the caller's memory and thread-local data.
//
// ThreadSanitizer has a clone of its own, which takes every child for one of fork's: it has the
// child's thread see nothing more. Where memory is shared that thread is the caller, whose reads,
// writes and hand-overs are then overlooked for good; who takes over from it seems to race.
#pragma once

#include <sched.h>

#ifdef __SANITIZE_THREAD__
extern "C" int __clone(int (*)(void *), void *, int, void *, ...);
#endif

namespace sigevec::libc {

#ifdef __SANITIZE_THREAD__
inline constexpr auto clone = __clone;
#else
inline constexpr auto clone = ::clone;
#endif

} // namespace sigevec::libc
