// SPDX-License-Identifier: MIT
//
// What the files of engine/transfer.hpp share: transfer.cpp (calls that do not wait, and what is
// left of a request), blocking.cpp (calls that do), connect.cpp. Inline, for a read in the cache is
// little more than one of these calls.
#pragma once

#include "base/syscalls.hpp"
#include "engine/transfer.hpp"

#include <cerrno>
#include <sys/uio.h>

namespace sigevec::transfer {

inline ssize_t result(ssize_t r)
{
	return r < 0 ? -errno : r;
}

// At the offset where the file has one, else where it stands: Linux says ESPIPE where others ignore
// the offset.
inline ssize_t vector_call(bool read, int fd, const struct iovec *v, int n, off_t offset, int flags)
{
	ssize_t r = result(read ? sys::preadv2(fd, v, n, offset, flags)
				: sys::pwritev2(fd, v, n, offset, flags));
	if (r == -ESPIPE)
		r = result(read ? sys::preadv2(fd, v, n, -1, flags)
				: sys::pwritev2(fd, v, n, -1, flags));
	return r;
}

} // namespace sigevec::transfer
