// SPDX-License-Identifier: MIT
//
// Where the library's own descriptors are in the program's table, if they must be there.
//
// High: 0 to 2 are the program's even while it has closed them, and a program that counts on the
// lowest free number, or opens a file for each that it closes, finds what it would find without the
// library.
#pragma once

#include "base/descriptor.hpp"
#include "base/syscalls.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/resource.h>

namespace sigevec {

// fd's file at such a number, close-on-exec; fd is closed. -1: errno.
inline int own_number(int fd)
{
	constexpr int usual = 1000, below_limit = 64;
	if (fd < 0)
		return fd;
	struct rlimit r;
	int from = getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < usual + below_limit
			   ? static_cast<int>(r.rlim_cur) - below_limit
			   : usual;
	int other = sys::duplicate(fd, from > 3 ? from : 3);
	if (other < 0 && fd > 2)
		return fd;
	if (other < 0)
		other = sys::duplicate(fd, 3);
	int error = errno;
	sys::close(fd);
	errno = error;
	return other;
}

} // namespace sigevec
