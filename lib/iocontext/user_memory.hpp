// SPDX-License-Identifier: MIT
//
// Memory of the program's that may not be there: where the kernel would say EFAULT, the library must not die.
//
// A look asks the kernel (rt_sigprocmask, which copies eight bytes and does nothing else). What another thread unmaps after it is not seen.
#pragma once

#include <cstddef>

namespace sigevec::io {

// At least eight bytes, in reach of the caller's address space. Async-signal-safe; errno is kept.
bool readable(const void *p, size_t n);
// The same, and anything may be written there: eight bytes of each page are.
bool writable(void *p, size_t n);

} // namespace sigevec::io
