// SPDX-License-Identifier: MIT
//
// The size of this machine's pages, which is 4 KiB on x86-64 and may be 16 or 64 KiB elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>
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

} // namespace sigevec
