// SPDX-License-Identifier: MIT
//
// Whether one thread may do for another what is asked of the kernel.
//
// A thread of the library's has what its creator had: credentials, capabilities, namespaces, root.
// Threads of the program may differ in these. What a helper thread does in the caller's place is
// done by one with the same, or by one that the caller makes for it.
#pragma once

#include <cstdint>

namespace sigevec::rights {

// The same number for threads with the same effective identity and groups, capabilities, and
// namespace of System V objects.
uint64_t to_objects();
// The same for the network and the files by which names are looked up: with their namespaces, and
// the root directory.
uint64_t to_names();

} // namespace sigevec::rights
