// SPDX-License-Identifier: MIT
//
// Where statistics lie, and whom their names belong to: a folder for each user,
// /dev/shm/sigevec-UID. The library makes files there, sigevec(1) reads and removes them, and both
// ask these functions whether a folder or a file is what it seems.
//
// /dev/shm is everybody's, so a name in it says nothing: what counts is the owner and the mode of
// what has been opened. Only the owner of such a folder can put anything into it, and only the
// owner of such a file can write to it, cut it or give it another link.
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sigevec::stats_folder {

constexpr char shared_memory[] = "/dev/shm", prefix[] = "sigevec-", run_prefix[] = "run.";

// No cancellation point, as everything in the library.
inline int open_at(int folder, const char *name, int flags, mode_t permissions = 0)
{
	return static_cast<int>(
		syscall(SYS_openat, folder, name, O_CLOEXEC | O_NOFOLLOW | flags, permissions));
}

inline void close(int fd)
{
	int saved = errno;
	syscall(SYS_close, fd);
	errno = saved;
}

// The name of a process's file. Its number is its own only within its PID namespace, and containers
// may share a folder: outside of the system's first namespace its inode is part of the name. 0: it
// is not known.
struct FileName {
	char text[40];
};

constexpr uint64_t first_pid_namespace = 0xeffffffc; // PROC_PID_INIT_INO

inline FileName file_name(uint32_t pid, uint64_t pid_namespace)
{
	FileName n;
	if (pid_namespace == 0 || pid_namespace == first_pid_namespace)
		snprintf(n.text, sizeof n.text, "%u", pid);
	else
		snprintf(n.text, sizeof n.text, "%u@%llu", pid,
			 static_cast<unsigned long long>(pid_namespace));
	return n;
}

struct Name {
	char text[sizeof shared_memory + sizeof prefix + 16];
};

inline Name name_of(uid_t user)
{
	Name n;
	snprintf(n.text, sizeof n.text, "%s/%s%u", shared_memory, prefix,
		 static_cast<unsigned>(user));
	return n;
}

// Nobody but the user can have put anything into it.
inline bool is_folder_of(const struct stat &st, uid_t user)
{
	return S_ISDIR(st.st_mode) && st.st_uid == user && (st.st_mode & 077) == 0;
}

// Nobody but the user can change it, and it is no other file of his by another name.
inline bool is_file_of(const struct stat &st, uid_t user)
{
	return S_ISREG(st.st_mode) && st.st_uid == user && st.st_nlink == 1 &&
	       (st.st_mode & 022) == 0;
}

// The folder `name' in another one, when it is the user's alone; -1 with errno.
inline int open_folder(int in, const char *name, uid_t user)
{
	int fd = open_at(in, name, O_RDONLY | O_DIRECTORY);
	struct stat st;
	if (fd < 0 || (fstat(fd, &st) == 0 && is_folder_of(st, user)))
		return fd;
	close(fd);
	errno = EPERM;
	return -1;
}

inline int open_of(uid_t user)
{
	return open_folder(AT_FDCWD, name_of(user).text, user);
}

// That of the calling process's user, which is made if there is none.
inline int open_own()
{
	uid_t user = geteuid();
	if (mkdir(name_of(user).text, 0700) != 0 && errno != EEXIST)
		return -1;
	return open_of(user);
}

} // namespace sigevec::stats_folder
