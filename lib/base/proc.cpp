// SPDX-License-Identifier: MIT
#include "base/proc.hpp"

#include "base/syscalls.hpp"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>

namespace sigevec::proc {

namespace {

constexpr uint64_t root_inode = 1; // whatever the name space of processes

bool is_root(int fd)
{
	struct statfs f;
	struct stat st;
	return syscall(SYS_fstatfs, fd, &f) == 0 && f.f_type == PROC_SUPER_MAGIC &&
	       sys::fstat(fd, &st) == 0 && st.st_ino == root_inode;
}

void close_keeping_errno(int fd)
{
	int error = errno;
	sys::close(fd);
	errno = error;
}

// Does with the root what f does, and lets go of it.
template <class F> auto in_root(F f) -> decltype(f(0))
{
	int r = root();
	if (r < 0)
		return -1;
	auto result = f(r);
	close_keeping_errno(r);
	return result;
}

} // namespace

int root()
{
	auto fd = static_cast<int>(
		syscall(SYS_openat, AT_FDCWD, "/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
	if (fd >= 0 && is_root(fd))
		return fd;
	if (fd >= 0)
		sys::close(fd);
	if (fd >= 0 || errno == ENOENT || errno == ENOTDIR)
		errno = ENOSYS;
	return -1;
}

int open(const char *name, int flags)
{
	return in_root([=](int r) {
		return static_cast<int>(syscall(SYS_openat, r, name, flags | O_CLOEXEC));
	});
}

ssize_t read(const char *name, char *text, size_t room)
{
	int fd = open(name, O_RDONLY);
	if (fd < 0)
		return -1;
	ssize_t n = syscall(SYS_read, fd, text, room - 1);
	close_keeping_errno(fd);
	text[n > 0 ? n : 0] = '\0';
	return n;
}

ssize_t name_of(int fd, char *name, size_t room)
{
	char path[40];
	snprintf(path, sizeof path, "%s/%d", own_files, fd);
	ssize_t n = in_root(
		[&](int r) -> ssize_t { return syscall(SYS_readlinkat, r, path, name, room - 1); });
	name[n > 0 ? n : 0] = '\0';
	return n;
}

} // namespace sigevec::proc
