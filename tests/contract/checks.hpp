// SPDX-License-Identifier: MIT
//
// What every contract test has: limits that only catch hangs, descriptors that close themselves,
// checks for any thread, bytes and names to try with. The other headers stand on this one; a
// program includes support.hpp.
#ifndef CONTRACT_CHECKS_HPP
#define CONTRACT_CHECKS_HPP

#include <boost/test/unit_test.hpp>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

/// Marks a case where glibc is known to be wrong; --run_test='!@better_than_glibc' leaves what
/// glibc passes too.
#define BETTER_THAN_GLIBC *boost::unit_test::label("better_than_glibc")

namespace contract {

// ---------------------------------------------------------------- time limits

#ifdef __SANITIZE_THREAD__
inline constexpr bool thread_sanitizer = true;
#else
inline constexpr bool thread_sanitizer = false;
#endif
#ifdef __SANITIZE_ADDRESS__
inline constexpr bool address_sanitizer = true;
#else
inline constexpr bool address_sanitizer = false;
#endif
/// In a clean-up handler: what cancellation has left behind on the stack. AddressSanitizer has its
/// marks there yet, and finds them when the thread goes on with its end.
[[gnu::noinline]] inline void forget_frames_that_were_left()
{
#ifdef __SANITIZE_ADDRESS__
	constexpr size_t deep = 32768;
	char *const here = static_cast<char *>(__builtin_frame_address(0));
	__asan_unpoison_memory_region(here - deep, deep);
#endif
}
inline constexpr unsigned slowness = thread_sanitizer || address_sanitizer ? 4 : 1;

#ifndef CONTRACT_HANG_SECONDS
#define CONTRACT_HANG_SECONDS 60
#endif
inline constexpr std::chrono::seconds hang_limit{CONTRACT_HANG_SECONDS * slowness};
inline constexpr unsigned case_limit = 150 * slowness; // seconds one test case may take

/// Processor time of the process's other threads, and of the kernel's that work for it.
inline std::chrono::nanoseconds work_of_others()
{
	std::chrono::nanoseconds time[2];
	for (clockid_t clock : {CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID}) {
		timespec t{};
		clock_gettime(clock, &t);
		time[clock == CLOCK_THREAD_CPUTIME_ID] =
			std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
	}
	return time[0] - time[1];
}

/// True as soon as `condition` holds; false only when something hangs. Others that are at work do
/// not hang: gigabytes take their time where many share the processors. The limit of the case
/// stays.
template <class Condition> bool eventually(Condition condition)
{
	auto end = std::chrono::steady_clock::now() + hang_limit;
	auto work = work_of_others();
	for (unsigned spins = 0; !condition(); ++spins) {
		if (std::chrono::steady_clock::now() > end) {
			const auto before = std::exchange(work, work_of_others());
			if (work - before < hang_limit / 20)
				return false;
			end += hang_limit;
		}
		if (spins < 50)
			sched_yield();
		else
			usleep(200);
	}
	return true;
}

/// Ends the program, naming the test case, when a case hangs.
class Watchdog : public boost::unit_test::test_observer {
public:
	void test_unit_start(const boost::unit_test::test_unit &unit) override
	{
		if (unit.p_type != boost::unit_test::TUT_CASE)
			return;
		snprintf(name_, sizeof name_, "hang in %s\n", unit.p_name.get().c_str());
		signal(SIGALRM, bark);
		alarm(case_limit * slowness_of_machine());
	}
	void test_unit_finish(const boost::unit_test::test_unit &, unsigned long) override
	{
		alarm(0);
	}

private:
	/// A guest whose kernel checks all it does is slower by a factor, which it tells.
	static unsigned slowness_of_machine()
	{
		const char *const text = getenv("SIGEVEC_TEST_SLOWNESS");
		return text != nullptr && atoi(text) > 0 ? unsigned(atoi(text)) : 1;
	}
	static void bark(int)
	{
		if (write(STDERR_FILENO, name_, strlen(name_)) < 0)
			_exit(3);
		_exit(2);
	}
	static inline char name_[256];
};

struct InstallWatchdog {
	InstallWatchdog()
	{
		boost::unit_test::framework::register_observer(watchdog_);
		signal(SIGPIPE, SIG_IGN); // a failed check must not end the program; r06 looks at
					  // SIGPIPE itself
	}
	~InstallWatchdog() { boost::unit_test::framework::deregister_observer(watchdog_); }
	static inline Watchdog watchdog_;
};
BOOST_TEST_GLOBAL_FIXTURE(InstallWatchdog);

/// The machine lacks what the whole program needs.
[[noreturn]] inline void skip_program(const char *reason)
{
	printf("skipped: %s\n", reason);
	fflush(stdout);
	_exit(77);
}

// ---------------------------------------------------------------- descriptors

class Fd {
public:
	Fd() = default;
	explicit Fd(int fd) : fd_(fd) {}
	Fd(Fd &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
	Fd &operator=(Fd &&other) noexcept
	{
		if (this != &other)
			reset(std::exchange(other.fd_, -1));
		return *this;
	}
	~Fd() { reset(); }

	operator int() const { return fd_; }
	int release() { return std::exchange(fd_, -1); }
	void reset(int fd = -1)
	{
		if (fd_ >= 0)
			close(fd_);
		fd_ = fd;
	}

private:
	int fd_ = -1;
};

// --------------------------------------------------------------------- checks

/// What several threads call may not use Boost's checks, which write down where each of them was
/// although it holds, and are for one thread at a time. This one touches nothing of theirs then.
#define REQUIRE_ON_ANY_THREAD(condition)                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			BOOST_FAIL(#condition << ", errno " << errno);                             \
	} while (0)

// ------------------------------------------------------------ bytes and names

/// Bytes that differ from place to place, so that a misplaced piece shows.
inline std::string pattern(size_t bytes, unsigned seed = 1)
{
	std::string text(bytes, '\0');
	for (char &c : text) {
		seed = seed * 1103515245u + 12345u;
		c = static_cast<char>('a' + (seed >> 16) % 26);
	}
	return text;
}

/// Process numbers come again, and children leave their files behind: the time does not.
inline std::string temp_name(const std::string &directory)
{
	static std::atomic<unsigned> count;
	timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return directory + "/contract-" + std::to_string(getpid()) + "-" + std::to_string(count++) +
	       "-" + std::to_string(now.tv_sec) + "." + std::to_string(now.tv_nsec);
}

} // namespace contract

#endif
