// SPDX-License-Identifier: MIT
//
// Memory of the program's that may not be there: where the kernel would say EFAULT, the library
// must not die.
//
// A look asks the kernel (rt_sigprocmask, which copies eight bytes and does nothing else; a futex
// operation that changes no bit of a word). What another thread unmaps after it is not seen.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sigevec::io {

// At least eight bytes, in reach of the caller's address space. Async-signal-safe; errno is kept.
bool readable(const void *p, size_t n);
// The same, and anything may be written there: eight bytes of each page are.
bool writable(void *p, size_t n);

// What one call has found out about the program's pages: neighbours need no look of their own.
class Pages {
public:
	// Can be read and written, and is what it was.
	bool changeable(const void *p, size_t n);
	// For n bytes that do not cross the border of a page.
	bool readable(const void *p, size_t n);

private:
	uintptr_t changeable_ = UINTPTR_MAX,
		  readable_ = UINTPTR_MAX; // the numbers of the last ones
};

// Whether the kernel would take the range for one of a program's at all; what is in it is another
// question.
bool in_reach(const void *p, size_t n);

} // namespace sigevec::io
