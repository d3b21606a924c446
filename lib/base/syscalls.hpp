// SPDX-License-Identifier: MIT
//
// System calls that are no cancellation points.
//
// libc's read, sendmsg, close and their like are: a thread with a cancellation pending would end
// inside aio_read, with a request half submitted. Of the library's functions only aio_suspend is a
// cancellation point. Names and arguments are the kernel's; results are libc's (-1 and errno). The
// helper's descriptors are closed this way, too: the thread sanitizer takes its numbers for the
// program's.
#pragma once

#include <cerrno>
#include <climits>
#include <ctime>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

namespace sigevec::sys {

// Emulators and filters may not know preadv2 and pwritev2, and say ENOSYS or EPERM. The older calls
// do the same without flags, and can say EPERM themselves, of a sealed file. With flags nothing
// can: EOPNOTSUPP, as of a file for which the kernel cannot.
inline bool try_without_flags(ssize_t result, int flags)
{
	if (result >= 0 || (errno != ENOSYS && errno != EPERM))
		return false;
	if (flags != 0)
		errno = EOPNOTSUPP;
	return flags == 0;
}

inline ssize_t preadv2(int fd, const struct iovec *v, int n, off_t offset, int flags)
{
	ssize_t r = syscall(SYS_preadv2, fd, v, n, offset, 0L, flags);
	if (try_without_flags(r, flags))
		r = offset == -1 ? syscall(SYS_readv, fd, v, n)
				 : syscall(SYS_preadv, fd, v, n, offset, 0L);
	return r;
}

inline ssize_t pwritev2(int fd, const struct iovec *v, int n, off_t offset, int flags)
{
	ssize_t r = syscall(SYS_pwritev2, fd, v, n, offset, 0L, flags);
	if (try_without_flags(r, flags))
		r = offset == -1 ? syscall(SYS_writev, fd, v, n)
				 : syscall(SYS_pwritev, fd, v, n, offset, 0L);
	return r;
}

inline ssize_t pread(int fd, void *buf, size_t len, off_t offset)
{
	return syscall(SYS_pread64, fd, buf, len, offset);
}

inline ssize_t pwrite(int fd, const void *buf, size_t len, off_t offset)
{
	return syscall(SYS_pwrite64, fd, buf, len, offset);
}

// Whether a call has failed because a filter or an emulator does not know it; or for a reason that
// another call for the same would have, too.
inline bool is_refused()
{
	return errno == ENOSYS || errno == EPERM;
}

// There are three calls for the same, and two; a filter may know one of them. ms: -1 for ever.
inline int epoll_wait(int fd, struct epoll_event *v, int n, int ms)
{
	long r = syscall(SYS_epoll_pwait, fd, v, n, ms, nullptr, 0);
#ifdef SYS_epoll_wait
	if (r < 0 && is_refused())
		r = syscall(SYS_epoll_wait, fd, v, n, ms);
#endif
#ifdef SYS_epoll_pwait2
	if (r < 0 && is_refused()) {
		struct timespec t = {ms / 1000, (ms % 1000) * 1000000l};
		r = syscall(SYS_epoll_pwait2, fd, v, n, ms >= 0 ? &t : nullptr, nullptr, 0);
	}
#endif
	return static_cast<int>(r);
}

// In whole milliseconds, rounded up.
inline int milliseconds(const struct timespec &t)
{
	return t.tv_sec >= INT_MAX / 1000 - 1
		       ? INT_MAX
		       : static_cast<int>(t.tv_sec * 1000 + (t.tv_nsec + 999999) / 1000000);
}

// time: at most; nullptr: for ever. What is left of it is not told.
inline int poll(struct pollfd *p, unsigned n, const struct timespec *time)
{
	struct timespec t = time != nullptr ? *time : timespec{};
	long r = syscall(SYS_ppoll, p, n, time != nullptr ? &t : nullptr, nullptr, 0);
#ifdef SYS_poll
	if (r < 0 && is_refused())
		r = syscall(SYS_poll, p, n, time != nullptr ? milliseconds(*time) : -1);
#endif
	return static_cast<int>(r);
}

// What there is now of one descriptor. Where poll() cannot say, select() does: it says EINVAL of
// whatever it is asked where RLIMIT_NOFILE is 0, and its page has ENOMEM. -1: neither can.
int poll_now(struct pollfd *p);

// Nothing but the time, with another mask: the kernel's, of 64 signals. -1 and EINTR: a handler has
// run, also where the time is none.
inline int sleep_with_mask(const struct timespec &time, const void *mask)
{
	constexpr size_t size = 8;
	struct timespec t = time;
	long r = syscall(SYS_ppoll, nullptr, 0, &t, mask, size);
	if (r < 0 && is_refused()) {
		struct {
			const void *mask;
			size_t size;
		} both = {mask, size};
		t = time;
		r = syscall(SYS_pselect6, 0, nullptr, nullptr, nullptr, &t, &both);
	}
	return static_cast<int>(r);
}

inline ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	return syscall(SYS_recvmsg, fd, m, flags);
}

inline ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	return syscall(SYS_sendmsg, fd, m, flags);
}

inline int statx(int fd, const char *path, int flags, unsigned mask, struct statx *x)
{
	return static_cast<int>(syscall(SYS_statx, fd, path, flags, mask, x));
}

inline int fstat(int fd, struct stat *st)
{
	return static_cast<int>(syscall(SYS_fstat, fd, st));
}

inline int close(int fd)
{
	return static_cast<int>(syscall(SYS_close, fd));
}

} // namespace sigevec::sys
