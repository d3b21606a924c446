// SPDX-License-Identifier: MIT
//
// Whether one thread may do for another what is asked of the kernel.
//
// A thread of the library's has what its creator had: credentials, capabilities, namespaces. Threads of the program may differ in these.
// What has to wait for a right that the kernel checks is done by a thread with the same, or by one that the caller makes for it.
#pragma once

#include <cstdint>

namespace sigevec::rights {

// The same number for threads with the same effective identity and groups, capabilities and namespace of System V objects.
uint64_t of_caller();

} // namespace sigevec::rights
