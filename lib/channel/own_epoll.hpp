// SPDX-License-Identifier: MIT
//
// Epoll instances of the library's own in the program's table, and how their numbers are known to be still theirs.
//
// All epoll instances share one inode, and a mark that can be set on an open file by anybody proves nothing. But an instance has parameters of
// its own for busy polling (Linux 6.9), which mean nothing as long as no socket is in it: they hold a number that
// no other instance has, and that nobody outside this process knows. To read them does no harm to any file. Older kernels have a mark (bell.hpp) only.
//
// Locks: none. Async-signal-safe but make(); errno is kept by is() and close().
#pragma once

#include <cstdint>

namespace sigevec::own_epoll {

// What tells an instance from all others. 0: the kernel has no place for it.
using Mark = uint64_t;

// Numbers 0, 1 and 2 are the program's, also while they are closed: moves fd to one above if it is one of them. -1: errno, fd is closed.
int above_standard(int fd, bool close_on_exec);

// A number that no other has: not 0, below 2 to the power of 31 in its low half.
Mark draw();

// A new instance, its number above 2; or -errno.
int make(bool close_on_exec, Mark *mark);

// Whether the number is the instance that was made with this mark.
bool is(int fd, Mark mark);

// Closes the number, if it still is the instance.
void close(int fd, Mark mark);

} // namespace sigevec::own_epoll
