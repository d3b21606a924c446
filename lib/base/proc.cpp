// SPDX-License-Identifier: MIT
#include "base/proc.hpp"

#include "base/owned_fd.hpp"
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

} // namespace

int root()
{
	OwnedFd fd(static_cast<int>(
		syscall(SYS_openat, AT_FDCWD, "/proc", O_PATH | O_DIRECTORY | O_CLOEXEC)));
	if (fd >= 0 && is_root(fd))
		return fd.release();
	if (fd >= 0 || errno == ENOENT || errno == ENOTDIR)
		errno = ENOSYS;
	return -1;
}

int open(const char *name, int flags)
{
	OwnedFd r(root());
	return r < 0 ? -1 : static_cast<int>(syscall(SYS_openat, r.get(), name, flags | O_CLOEXEC));
}

ssize_t read(const char *name, char *text, size_t room)
{
	OwnedFd fd(open(name, O_RDONLY));
	if (fd < 0)
		return -1;
	ssize_t n = syscall(SYS_read, fd.get(), text, room - 1);
	text[n > 0 ? n : 0] = '\0';
	return n;
}

ssize_t name_of(int fd, char *name, size_t room)
{
	char path[40];
	snprintf(path, sizeof path, "%s/%d", own_files, fd);
	OwnedFd r(root());
	ssize_t n = r < 0 ? -1 : syscall(SYS_readlinkat, r.get(), path, name, room - 1);
	name[n > 0 ? n : 0] = '\0';
	return n;
}

uint64_t name_space(const char *name)
{
	struct stat st;
	OwnedFd r(root());
	bool known = r >= 0 && syscall(SYS_newfstatat, r.get(), name, &st, 0) == 0;
	return known ? st.st_ino : 0;
}

} // namespace sigevec::proc
