// SPDX-License-Identifier: MIT
//
// The calls of a pidfd, for which older libc's have neither functions nor numbers. Locks: none.
#pragma once

#include <cerrno>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

namespace sigevec::sys {

// -1: errno.
inline int pidfd_open(pid_t id, unsigned flags)
{
	return static_cast<int>(syscall(SYS_pidfd_open, id, flags));
}

// The file's number in the caller's table, or -errno.
inline int pidfd_getfd(int process, int number)
{
	int fd = static_cast<int>(syscall(SYS_pidfd_getfd, process, number, 0));
	return fd >= 0 ? fd : -errno;
}

} // namespace sigevec::sys
