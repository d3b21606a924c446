// SPDX-License-Identifier: MIT
//
// Which errors a system call may give.
#ifdef __x86_64__
#include "inject.hpp"

#include "shared.hpp"

#include <cerrno>
#include <sys/syscall.h>

namespace faults {

static const std::vector<int> general = {EINTR,  EAGAIN, ENOMEM, ENOBUFS,
					 EMFILE, ENFILE, EPERM,  ENOSYS};

#define BESIDE(name, ...)                                                                          \
	{                                                                                          \
		SYS_##name, #name, false, false,                                                   \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}
#define ONLY(name, ...)                                                                            \
	{                                                                                          \
		SYS_##name, #name, false, true,                                                    \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}
#define WAITS(name, ...)                                                                           \
	{                                                                                          \
		SYS_##name, #name, true, false,                                                    \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}
#define WAITS_ONLY(name, ...)                                                                      \
	{                                                                                          \
		SYS_##name, #name, true, true,                                                     \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

// A call of which there is no line here gives the general errors. `only': where the kernel cannot
// give others, because the call does nothing that takes memory, a descriptor or a right, or because
// the error is an answer; and a filter that refuses the call stops every program.
static const Call calls[] = {
	WAITS(read, EIO),
	WAITS(readv, EIO),
	WAITS(pread64, EIO),
	WAITS(preadv, EIO),
	WAITS(preadv2, EIO, EOPNOTSUPP),
	WAITS(write, EIO, ENOSPC, EDQUOT),
	WAITS(writev, EIO, ENOSPC),
	WAITS(pwrite64, EIO, ENOSPC),
	WAITS(pwritev, EIO, ENOSPC),
	WAITS(pwritev2, EIO, ENOSPC, EOPNOTSUPP),
	WAITS(fsync, EIO, ENOSPC),
	WAITS(fdatasync, EIO, ENOSPC),
	WAITS_ONLY(recvmsg, EINTR, EAGAIN, ENOMEM, ENOBUFS, ECONNRESET),
	WAITS_ONLY(recvfrom, EINTR, EAGAIN, ENOBUFS),
	WAITS(sendmsg, ECONNRESET, ETOOMANYREFS),
	WAITS(sendto, ECONNRESET),
	WAITS(accept4, ECONNABORTED),
	// EINTR: it has begun, which an injected one has not.
	ONLY(connect, EAGAIN, ENOMEM, ENOBUFS, EPERM, EADDRNOTAVAIL, ECONNREFUSED),
	WAITS_ONLY(poll, EINTR, ENOMEM),
	WAITS_ONLY(ppoll, EINTR, ENOMEM),
	WAITS_ONLY(epoll_wait, EINTR),
	WAITS_ONLY(epoll_pwait, EINTR),
	ONLY(epoll_ctl, ENOMEM, ENOSPC),
	ONLY(epoll_create1, EMFILE, ENFILE, ENOMEM),
	ONLY(eventfd2, EMFILE, ENFILE, ENOMEM, ENODEV),
	ONLY(fcntl, EMFILE, ENOMEM),
	ONLY(dup, EMFILE, ENOMEM),
	ONLY(socketpair, EMFILE, ENFILE, ENOMEM, ENOBUFS, EPERM),
	ONLY(getsockopt, ),
	ONLY(getsockname, ENOBUFS),
	ONLY(setsockopt, ENOMEM, ENOBUFS, ENOPROTOOPT, EPERM),
	ONLY(ioctl, ),
	ONLY(fstat, ),
	ONLY(rt_sigaction, ),
	ONLY(prctl, ),
	ONLY(sysinfo, ),
	ONLY(uname, ),
	ONLY(prlimit64, EPERM, ENOSYS),
	WAITS_ONLY(rt_sigqueueinfo, EAGAIN),
	ONLY(tgkill, ),
	WAITS_ONLY(rt_sigtimedwait, EINTR, EAGAIN),
	WAITS_ONLY(nanosleep, EINTR),
	WAITS_ONLY(clock_nanosleep, EINTR),
	// It says where the memory ends, never an errno: libc takes one for that. malloc fails by
	// itself.
	ONLY(brk, ),
	ONLY(mmap, ENOMEM, EAGAIN, EACCES, EPERM),
	ONLY(mprotect, ENOMEM, EACCES),
	ONLY(madvise, ENOMEM, EAGAIN, EINVAL),
	ONLY(mlock, ENOMEM, EAGAIN, EPERM),
	ONLY(munlock, ENOMEM),
	ONLY(clone, EAGAIN, ENOMEM, EPERM),
	ONLY(clone3, EAGAIN, ENOMEM, EPERM, ENOSYS),
	BESIDE(io_uring_setup, ),
	WAITS(io_uring_enter, EBUSY),
	BESIDE(io_uring_register, EINVAL, EOPNOTSUPP),
	BESIDE(io_setup, ),
	BESIDE(io_submit, EIO),
	WAITS(io_getevents, ),
	WAITS(io_pgetevents, ),
	BESIDE(io_cancel, EINVAL),
	WAITS_ONLY(futex, EINTR, EAGAIN),
	WAITS(futex_waitv, ),
	BESIDE(signalfd4, ENODEV),
	BESIDE(pidfd_open, ENODEV),
	BESIDE(pidfd_getfd, EACCES),
	BESIDE(socket, EACCES, EAFNOSUPPORT),
	BESIDE(statx, EACCES),
	BESIDE(openat, EACCES, ENOENT),
	BESIDE(unshare, EINVAL),
	BESIDE(kcmp, ),
	BESIDE(close_range, ),
	BESIDE(timer_create, ),
	ONLY(timer_settime, ),
	ONLY(timer_delete, ),
	WAITS(mq_notify, ),
	WAITS(msgrcv, ),
	WAITS(msgsnd, ),
	WAITS(semop, ),
	WAITS(semtimedop, ),
};

const Call *call_of(long number)
{
	for (const Call &c : calls)
		if (c.number == number)
			return &c;
	return nullptr;
}

std::string name_of(long number)
{
	if (number == allocation)
		return "malloc";
	const Call *const c = call_of(number);
	return c != nullptr ? c->name : "syscall" + std::to_string(number);
}

std::vector<int> errors_of(long number)
{
	if (number == allocation)
		return {ENOMEM};
	const Call *const c = call_of(number);
	std::vector<int> v = c != nullptr && c->only ? std::vector<int>{} : general;
	if (c != nullptr)
		v.insert(v.end(), c->errors.begin(), c->errors.end());
	return v;
}

} // namespace faults

#endif
