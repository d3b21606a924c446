// SPDX-License-Identifier: MIT
//
// What the files of engine/transfer.hpp share: transfer.cpp (calls that do not wait, and what is
// left of a request), blocking.cpp (calls that do), connect.cpp.
#pragma once

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
ssize_t vector_call(bool read, int fd, const struct iovec *v, int n, off_t offset, int flags);

} // namespace sigevec::transfer
