// SPDX-License-Identifier: MIT
//
// The few primitives that everything else is built on: system calls, futex words, locks, blocked
// signals.
//
// No function here allocates, and none but Mutex may be used while another thread's progress
// depends on this one's.
#pragma once

#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace sigevec {

// The mask of the calling thread, as the kernel has it. libc's pthread_sigmask lets in libc's own
// two signals whatever it sets, also the mask that it has told of itself: one of them would be
// handled that a caller, further out, has blocked until it sleeps (iocontext/sleep.hpp) or has its
// own rights again (engine/carrier_attempt.cpp), and be lost. errno is not touched.
inline void change_signal_mask(int how, const sigset_t *set, sigset_t *before)
{
	constexpr size_t size_of_mask = 8;
	int saved = errno;
	if (before != nullptr)
		sigemptyset(before);
	syscall(SYS_rt_sigprocmask, how, set, before, size_of_mask);
	errno = saved;
}

// All signals held off for a scope, libc's own two excepted (setuid and cancellation need them):
// they stay as they are.
class BlockSignals {
public:
	BlockSignals()
	{
		sigset_t all;
		sigfillset(&all); // without libc's two
		change_signal_mask(SIG_BLOCK, &all, &saved_);
	}
	// Another mask for a scope: how and set as for sigprocmask.
	BlockSignals(int how, const sigset_t &set) { change_signal_mask(how, &set, &saved_); }
	~BlockSignals() { change_signal_mask(SIG_SETMASK, &saved_, nullptr); }
	BlockSignals(const BlockSignals &) = delete;
	BlockSignals &operator=(const BlockSignals &) = delete;
	const sigset_t &saved() const { return saved_; }

private:
	sigset_t saved_;
};

class Mutex {
public:
	void lock() { pthread_mutex_lock(&m_); }
	void unlock() { pthread_mutex_unlock(&m_); }
	// After fork in the child, where the owner may not exist any more.
	void reset() { m_ = PTHREAD_MUTEX_INITIALIZER; }

private:
	pthread_mutex_t m_ = PTHREAD_MUTEX_INITIALIZER;
};

template <class Lockable> class Guard {
public:
	explicit Guard(Lockable &l) : l_(l) { l_.lock(); }
	~Guard() { l_.unlock(); }
	Guard(const Guard &) = delete;
	Guard &operator=(const Guard &) = delete;

private:
	Lockable &l_;
};

// Waits while word == value. timeout is relative. Returns 0, EAGAIN (the value differs), EINTR or
// ETIMEDOUT.
inline int futex_wait(const std::atomic<uint32_t> &word, uint32_t value, const timespec *timeout)
{
	long r = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, timeout, nullptr, 0);
	return r == 0 ? 0 : errno;
}

// whom: of those that wait with a mask (io_uring's), only these; others are always meant.
inline void futex_wake(const std::atomic<uint32_t> &word, int count,
		       uint32_t whom = FUTEX_BITSET_MATCH_ANY)
{
	int saved = errno;
	syscall(SYS_futex, &word, FUTEX_WAKE_BITSET_PRIVATE, count, nullptr, nullptr, whom);
	errno = saved;
}

// For loops that look at a word until it changes.
inline void relax()
{
#if defined __x86_64__ || defined __i386__
	__builtin_ia32_pause();
#elif defined __aarch64__
	asm volatile("yield");
#endif
}

inline timespec monotonic_now()
{
	timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t;
}

inline uint64_t monotonic_ns()
{
	timespec t = monotonic_now();
	return static_cast<uint64_t>(t.tv_sec) * 1000000000 + static_cast<uint64_t>(t.tv_nsec);
}

// A point in time, or never. Relative time-outs become one once, so that restarts do not stretch
// them.
struct Deadline {
	bool never = true;
	timespec at{};

	static Deadline after(const timespec *relative)
	{
		Deadline d;
		if (relative == nullptr)
			return d;
		d.never = false;
		d.at = monotonic_now();
		if (relative->tv_sec < 0)
			return d;
		// Past the end of time is as good as never.
		if (relative->tv_sec > (time_t{1} << 40)) {
			d.never = true;
			return d;
		}
		d.at.tv_sec += relative->tv_sec;
		d.at.tv_nsec += relative->tv_nsec;
		if (d.at.tv_nsec >= 1000000000) {
			d.at.tv_nsec -= 1000000000;
			d.at.tv_sec++;
		}
		return d;
	}

	// Stores what is left in rest; false when nothing is.
	bool left(timespec &rest) const
	{
		timespec now = monotonic_now();
		rest.tv_sec = at.tv_sec - now.tv_sec;
		rest.tv_nsec = at.tv_nsec - now.tv_nsec;
		if (rest.tv_nsec < 0) {
			rest.tv_nsec += 1000000000;
			rest.tv_sec--;
		}
		return rest.tv_sec >= 0 && (rest.tv_sec > 0 || rest.tv_nsec > 0);
	}
};

} // namespace sigevec
