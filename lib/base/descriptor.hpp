// SPDX-License-Identifier: MIT
//
// What fcntl says and does of a descriptor, also where a filter refuses that call.
//
// Then /proc tells the flags, ioctl changes close-on-exec, and dup makes duplicates, of which those
// below `from' are closed again. Names are of what is asked; results are libc's (-1 and errno).
// None is a cancellation point, and all are async-signal-safe.
#pragma once

#include <cstddef>

namespace sigevec::sys {

// O_RDWR, O_NONBLOCK, O_APPEND and their like. -1: errno, EBADF or why they cannot be had.
int status_flags(int fd);
// Whether fd is closed by exec; -1: errno.
int closes_on_exec(int fd);
int stay_open_on_exec(int fd);
// The lowest free number from `from' on, close-on-exec or not.
int duplicate(int fd, int from, bool close_on_exec = true);

// What the kernel tells of the descriptor in /proc, as a string. False: errno.
bool read_fdinfo(int fd, char *text, size_t size);

} // namespace sigevec::sys
