// SPDX-License-Identifier: MIT
//
// System calls that fail as they do in a container.
#ifndef CONTRACT_REFUSAL_HPP
#define CONTRACT_REFUSAL_HPP

#include "support.hpp"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <iterator>
#include <vector>

namespace contract {

/// From now on these system calls have this end in this thread and what it makes; or in every
/// thread of the process, too.
inline bool filter(const std::vector<unsigned> &calls, unsigned end, bool everywhere)
{
	std::vector<sock_filter> code{
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
	for (unsigned call : calls) {
		code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
		code.push_back(BPF_STMT(BPF_RET | BPF_K, end));
	}
	code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
	const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		       everywhere ? SECCOMP_FILTER_FLAG_TSYNC : 0, &program) == 0;
}

/// They fail with `error`.
inline bool refuse(const std::vector<unsigned> &calls, unsigned error, bool everywhere = false)
{
	return filter(calls, SECCOMP_RET_ERRNO | error, everywhere);
}

/// Nor may it leave its table of descriptors, or make a thread with one of its own.
inline bool refuse_tables()
{
	constexpr unsigned close_range_number = 436;
	constexpr unsigned refused = SECCOMP_RET_ERRNO | EPERM;
	constexpr unsigned first_argument = offsetof(seccomp_data, args);
	sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, first_argument),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, CLONE_VM | CLONE_FILES),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CLONE_VM, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, refused),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const sock_fprog program{static_cast<unsigned short>(std::size(code)), code};
	return refuse({close_range_number, SYS_unshare}, EPERM) &&
	       syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

/// SIGSYS in this thread instead.
inline bool trap(const std::vector<unsigned> &calls)
{
	return filter(calls, SECCOMP_RET_TRAP, false);
}

/// A program that runs itself again says so which of the calls that compare and fetch files fail
/// there.
inline constexpr char refused_name[] = "CONTRACT_REFUSED";

/// Does it, as a global fixture: before the library asks.
struct RefuseAsTold {
	RefuseAsTold()
	{
		const char *const what = getenv(refused_name);
		if (what == nullptr)
			return;
		std::vector<unsigned> calls{SYS_kcmp};
		if (what == std::string("files"))
			calls.push_back(SYS_pidfd_getfd);
		if (!refuse(calls, EPERM))
			skip_program("no seccomp filters");
	}
};

} // namespace contract

#endif
