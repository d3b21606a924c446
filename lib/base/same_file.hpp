// SPDX-License-Identifier: MIT
//
// Whether a number is still the file that it was.
//
// A number is not a file: the program may close it and use it again at any time. Inode numbers do
// not tell, for many open files share one (all eventfds, all terminals opened by /dev/ptmx, the
// files of some file systems), and a mark on the open file travels with it to whoever gets a
// duplicate. The kernel compares the open files themselves: kcmp(2). Threads may have tables of
// their own, so each number goes with a thread.
//
// Locks: none. Async-signal-safe; errno is kept.
#pragma once

#include <cstdint>
#include <sys/types.h>

namespace sigevec {

enum class Same : uint8_t {
	no,
	yes,
	unknown, // one of the numbers is closed, or the kernel (a seccomp filter) does not say: see
		 // can_compare()
};

// Whether number a in the table of thread ta, and b in that of tb, both of this process, are the
// same open file.
Same same_file(pid_t ta, int a, pid_t tb, int b);

// Whether two threads of this process have one table of descriptors. Unknown also: one of them has
// ended.
Same same_table(pid_t ta, pid_t tb);

// Whether number epoll of the calling thread is an epoll instance that watches the open file which
// is number b in the table of tb, by the number watched. It is only looked at: whatever is there
// now comes to no harm.
Same epoll_watches(int epoll, int watched, pid_t tb, int b);

// Whether the kernel compares files here. Asked once for each process.
bool can_compare();

} // namespace sigevec
