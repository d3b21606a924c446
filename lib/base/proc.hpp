// SPDX-License-Identifier: MIT
//
// What /proc says of the calling process, where it is the kernel's.
//
// What is called /proc need not be: in a root of somebody else's making it can be any folder, with
// links to other processes' files, or FIFOs, in it, and another one at the next look. So the folder
// is opened, and asked whether it is the root of a procfs; what lies below that is the kernel's.
// Where it is none, there is no /proc (ENOSYS).
//
// Names are relative to /proc. Locks: none. Async-signal-safe; two descriptors are needed for a
// moment. Results are libc's (-1 and errno).
#pragma once

#include <cstddef>
#include <cstdint>
#include <sys/types.h>

namespace sigevec::proc {

// Its root, by O_PATH.
int root();
// A file in it.
int open(const char *name, int flags);
// What reading such a file once gives; a character is added that ends it, so room is one more.
ssize_t read(const char *name, char *text, size_t room);
// What the number stands for in the caller's table, as readlink says it; ended as above.
ssize_t name_of(int fd, char *name, size_t room);

// The inode of a namespace, by its name there ("self/ns/pid"); 0: it is not known.
uint64_t name_space(const char *name);

// The folder of the calling thread's open files: their numbers are names in it.
constexpr char own_files[] = "thread-self/fd";

} // namespace sigevec::proc
