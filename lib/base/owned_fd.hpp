// SPDX-License-Identifier: MIT
//
// A descriptor that is closed at the end of its scope, unless it is released; errno is kept.
//
// For numbers that only their maker knows. What the program may have closed and used again is not
// owned: see identity checks where that is (same_file.hpp, channel/wakeup.hpp).
#pragma once

#include "base/syscalls.hpp"

#include <cerrno>
#include <utility>

namespace sigevec {

class OwnedFd {
public:
	explicit OwnedFd(int fd) : fd_(fd) {}
	~OwnedFd()
	{
		int saved = errno;
		if (fd_ >= 0)
			sys::close(fd_);
		errno = saved;
	}
	OwnedFd(const OwnedFd &) = delete;
	OwnedFd &operator=(const OwnedFd &) = delete;
	operator int() const { return fd_; }
	int get() const { return fd_; } // for what takes anything
	// The caller's from now on.
	int release() { return std::exchange(fd_, -1); }

private:
	int fd_;
};

} // namespace sigevec
