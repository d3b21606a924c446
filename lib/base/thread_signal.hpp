// SPDX-License-Identifier: MIT
//
// Wakes one of the library's threads by a signal that it has blocked, so that whoever wakes it
// needs no descriptor. The thread watches a signalfd, for changes only (EPOLLET, or a multishot
// poll), and takes its signal before it sleeps again.
//
// The program may use the same signal. One that is sent to the process is pending for each of its
// threads, and who takes a signal gets the process's when there is none of his own. So the thread
// takes none unless one of its own may be there, which the kernel gives out first, and what is not
// its own it sends back. Nor does one that the program leaves pending keep the thread awake, since
// nothing changes by it.
//
// Why no signal is missed: one that finds the last one still pending changes nothing. That one was
// counted in `begun' before it was sent, so that the thread, which is awake because of it, takes it
// before it sleeps; and one that is sent after that is a change.
#pragma once

#include "base/memory_order.hpp"
#include "base/pending_signal.hpp"
#include "base/sync.hpp"
#include "base/thread_id.hpp"

#include <sys/signalfd.h>

namespace sigevec {

class ThreadSignal {
public:
	// What programs use least of those that do no harm where nobody has asked for them.
	static constexpr int number = SIGURG;

	// The descriptor to be watched. -1: errno.
	static int descriptor()
	{
		sigset_t s;
		sigemptyset(&s);
		sigaddset(&s, number);
		return signalfd(-1, &s, SFD_CLOEXEC | SFD_NONBLOCK);
	}

	// While nobody sends.
	void reset()
	{
		begun_.store(0, mo::relaxed);
		sent_.store(0, mo::relaxed);
		taken_ = 0;
	}

	// Any thread. Async-signal-safe; errno is not kept.
	void send(pid_t process, pid_t thread)
	{
		begun_.fetch_add(1, mo::seq_cst);
		syscall(SYS_tgkill, process, thread, number);
		sent_.fetch_add(1, mo::seq_cst);
	}

	// By the thread, before it says that it sleeps. errno is not kept.
	void take()
	{
		uint32_t sent = sent_.load(mo::seq_cst), begun = begun_.load(mo::seq_cst);
		if (begun == taken_)
			return;
		siginfo_t info;
		if (sys::take_signal(sys::set_of(number), &info) > 0 && info.si_code != SI_TKILL)
			give_back(&info);
		if (sent == begun)
			taken_ = begun;
	}

private:
	// To the process. The kernel lets a thread send what looks like its own signals only by the
	// thread's number, which stands for the process as well.
	static void give_back(siginfo_t *info)
	{
		if (syscall(SYS_rt_sigqueueinfo, ask_thread_id(), number, info) != 0)
			syscall(SYS_kill, getpid(), number);
	}

	std::atomic<uint32_t> begun_{0}, sent_{0};
	uint32_t taken_ = 0; // the thread's own
};

} // namespace sigevec
