// SPDX-License-Identifier: MIT
#include "base/pending_signal.hpp"

#include "base/syscalls.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/signalfd.h>

namespace sigevec::sys {

namespace {

constexpr size_t mask_size = 8;
constexpr struct timespec none = {};

// wait: for ever, else not at all.
int ask(uint64_t set, siginfo_t *info, bool wait)
{
	return static_cast<int>(
		syscall(SYS_rt_sigtimedwait, &set, info, wait ? nullptr : &none, mask_size));
}

int open_descriptor(uint64_t set)
{
	return static_cast<int>(
		syscall(SYS_signalfd4, -1, &set, mask_size, SFD_CLOEXEC | SFD_NONBLOCK));
}

// As the kernel tells it otherwise: what is where depends on where it comes from.
void describe(const struct signalfd_siginfo &from, siginfo_t *to)
{
	memset(to, 0, sizeof *to);
	to->si_signo = static_cast<int>(from.ssi_signo);
	to->si_code = from.ssi_code;
	if (from.ssi_code == SI_TIMER) {
		to->si_timerid = static_cast<int>(from.ssi_tid);
		to->si_overrun = static_cast<int>(from.ssi_overrun);
	} else {
		to->si_pid = static_cast<pid_t>(from.ssi_pid);
		to->si_uid = from.ssi_uid;
	}
	if (from.ssi_code > SI_USER && from.ssi_signo == SIGCHLD)
		to->si_status = from.ssi_status;
	else
		to->si_value.sival_ptr = reinterpret_cast<void *>(from.ssi_ptr);
}

int read_one(int descriptor, siginfo_t *info)
{
	struct signalfd_siginfo from;
	if (syscall(SYS_read, descriptor, &from, sizeof from) != sizeof from)
		return 0;
	describe(from, info);
	return info->si_signo;
}

} // namespace

int take_signal(uint64_t set, siginfo_t *info)
{
	int signal = ask(set, info, false);
	if (signal > 0 || !is_refused())
		return signal > 0 ? signal : 0;
	int descriptor = open_descriptor(set);
	if (descriptor < 0)
		return 0;
	signal = read_one(descriptor, info);
	close(descriptor);
	return signal;
}

int wait_for_signal(uint64_t set, siginfo_t *info)
{
	constexpr struct timespec moment = {0, 5000000};
	int signal = ask(set, info, true);
	if (signal > 0 || !is_refused())
		return signal > 0 ? signal : 0;
	if ((signal = take_signal(set, info)) == 0)
		syscall(SYS_nanosleep, &moment, nullptr);
	return signal;
}

} // namespace sigevec::sys
