// SPDX-License-Identifier: MIT
//
// Epoll instances of the library's own in the program's table, and how their numbers are known to
// be still theirs.
//
// All epoll instances share one inode, and a mark that can be set on an open file by anybody proves
// nothing. But an instance has parameters of its own for busy polling (Linux 6.9), which mean
// nothing as long as no socket is in it: they hold a number that no other instance has, and that
// nobody outside this process knows. To read them does no harm to any file. Older kernels have a
// mark (wakeup.hpp) only.
//
// Locks: none. Async-signal-safe but make(); errno is kept by is() and close().
#pragma once

#include <atomic>
#include <cstdint>

namespace sigevec::own_epoll {

// What tells an instance from all others. 0: the kernel has no place for it.
using Mark = uint64_t;

// Numbers 0, 1 and 2 are the program's, also while they are closed: moves fd to one above if it is
// one of them. -1: errno, fd is closed.
int above_standard(int fd, bool close_on_exec);

// A number that no other has: not 0, below 2 to the power of 31 in its low half.
Mark draw();

// A new instance, its number above 2; or -errno.
int make(bool close_on_exec, Mark *mark);

// What an instance is known by besides: a file in it that is nobody's but the helper's. Whoever has
// got the instance (a child of clone, a program that was executed and inherits it) can change its
// parameters, but cannot take this out, for that takes the file.
struct Anchor {
	int number;            // by which the instance watches it; it is another file's now
	std::atomic<int> copy; // in the table of the helper, or -1: there is none
};
// Not async-signal-safe. Without a helper there is none.
void anchor(int fd, Anchor *a);
void weigh(Anchor *a);
// is(), and if only the mark is not as it was, it is set again.
bool is_anchored(int fd, Mark mark, const Anchor &a);

// The same for an instance that is known otherwise.
void mark_again(int fd, Mark mark);

// Whether the number is the instance that was made with this mark.
bool is(int fd, Mark mark);

// Closes the number, if it still is the instance.
void close(int fd, Mark mark);

} // namespace sigevec::own_epoll
