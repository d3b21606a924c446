// SPDX-License-Identifier: MIT
//
// The size of this machine's pages, which is 4 KiB on x86-64 and may be 16 or 64 KiB elsewhere.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <sys/syscall.h>
#include <unistd.h>

namespace sigevec {

// No system call: the kernel has told the program at its start.
inline size_t page_size()
{
	return static_cast<size_t>(getpagesize());
}

inline size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

inline uintptr_t page_of(const void *p)
{
	return reinterpret_cast<uintptr_t>(p) / page_size() * page_size();
}

// Whether a buffer ends where no memory can be, which read(2) and write(2) look at for the whole of
// it before they move a byte. mincore(2) looks at the same, and after that at a place for its
// answer, where none can be either. errno is not kept.
inline bool ends_nowhere(const void *p, size_t len)
{
	uintptr_t first = page_of(p);
	size_t whole = len + (reinterpret_cast<uintptr_t>(p) - first);
	return syscall(SYS_mincore, first, whole, -1L) != 0 && errno == ENOMEM;
}

} // namespace sigevec
