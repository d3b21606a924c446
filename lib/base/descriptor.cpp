// SPDX-License-Identifier: MIT
#include "base/descriptor.hpp"

#include "base/proc.hpp"
#include "base/syscalls.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/ioctl.h>

namespace sigevec::sys {

namespace {

long call(int fd, int command, long argument)
{
#ifdef SYS_fcntl
	return syscall(SYS_fcntl, fd, command, argument);
#else
	return fcntl(fd, command, argument);
#endif
}

// The flags of the file and O_CLOEXEC of the number.
int flags_by_proc(int fd)
{
	char text[256];
	if (!read_fdinfo(fd, text, sizeof text)) {
		// A number that is not there is not in /proc, either.
		struct stat st;
		int error = errno;
		errno = sys::fstat(fd, &st) != 0 && errno == EBADF ? EBADF : error;
		return -1;
	}
	const char *flags = strstr(text, "flags:");
	errno = ENOSYS;
	return flags != nullptr ? static_cast<int>(strtol(flags + 6, nullptr, 8)) : -1;
}

// The lower ones are held until there is one that is high enough.
int duplicate_by_dup(int fd, int from)
{
	auto other = static_cast<int>(syscall(SYS_dup, fd));
	if (other < 0 || other >= from)
		return other;
	int higher = duplicate_by_dup(fd, from);
	int error = errno;
	close(other);
	errno = error;
	return higher;
}

} // namespace

bool read_fdinfo(int fd, char *text, size_t size)
{
	char path[48];
	snprintf(path, sizeof path, "thread-self/fdinfo/%d", fd);
	return proc::read(path, text, size) >= 0;
}

int status_flags(int fd)
{
	auto flags = static_cast<int>(call(fd, F_GETFL, 0));
	if (flags >= 0 || !is_refused())
		return flags;
	flags = flags_by_proc(fd);
	return flags < 0 ? flags : flags & ~O_CLOEXEC;
}

int closes_on_exec(int fd)
{
	auto flags = static_cast<int>(call(fd, F_GETFD, 0));
	if (flags >= 0 || !is_refused())
		return flags < 0 ? flags : (flags & FD_CLOEXEC) != 0;
	flags = flags_by_proc(fd);
	return flags < 0 ? flags : (flags & O_CLOEXEC) != 0;
}

int stay_open_on_exec(int fd)
{
	auto r = static_cast<int>(call(fd, F_SETFD, 0));
	return r >= 0 || !is_refused() ? r : static_cast<int>(syscall(SYS_ioctl, fd, FIONCLEX, 0));
}

int duplicate(int fd, int from, bool close_on_exec)
{
	auto other = static_cast<int>(call(fd, close_on_exec ? F_DUPFD_CLOEXEC : F_DUPFD, from));
	// So many at once only to be high up: see own_number.hpp.
	constexpr int most = 8;
	if (other >= 0 || !is_refused() || from > most)
		return other;
	other = duplicate_by_dup(fd, from);
	if (other >= 0 && close_on_exec)
		syscall(SYS_ioctl, other, FIOCLEX, 0);
	return other;
}

} // namespace sigevec::sys
