// SPDX-License-Identifier: MIT
//
// What holds signals off for a scope leaves libc's own two as they are: a thread that has blocked
// the one of cancellation, to be woken by it out of a sleep and not before, goes through such
// scopes on its way there.
#define BOOST_TEST_MODULE signal_mask
#include "base/sync.hpp"

#include <boost/test/unit_test.hpp>
#include <thread>

using namespace sigevec;

namespace {

constexpr uint64_t of_libc = uint64_t{3} << 31, user = uint64_t{1} << (SIGUSR1 - 1);

uint64_t mask()
{
	uint64_t now = 0;
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, nullptr, &now, sizeof now);
	return now;
}

/// On a thread of its own, whose mask ends with it.
template <class Body> void with_mask(uint64_t first, Body body)
{
	std::thread([&] {
		syscall(SYS_rt_sigprocmask, SIG_SETMASK, &first, nullptr, sizeof first);
		body();
	}).join();
}

} // namespace

BOOST_AUTO_TEST_CASE(libcs_signals_stay_blocked_inside_and_afterwards)
{
	for (const uint64_t first : {of_libc, of_libc | user, ~uint64_t{0}})
		with_mask(first, [&] {
			const uint64_t before = mask();
			{
				BlockSignals outer;
				BOOST_TEST((mask() & of_libc) == of_libc);
				{
					BlockSignals inner;
					BOOST_TEST((mask() & of_libc) == of_libc);
				}
				BOOST_TEST((mask() & of_libc) == of_libc);
			}
			BOOST_TEST(mask() == before);
		});
}

BOOST_AUTO_TEST_CASE(libcs_signals_stay_let_in_and_all_others_are_held_off)
{
	for (const uint64_t first : {uint64_t{0}, user})
		with_mask(first, [&] {
			{
				BlockSignals blocked;
				BOOST_TEST((mask() & of_libc) == 0u);
				sigset_t inside;
				pthread_sigmask(SIG_SETMASK, nullptr, &inside);
				for (int s = 1; s < SIGRTMAX; s++)
					if (s != SIGKILL && s != SIGSTOP &&
					    (s < 32 || s >= SIGRTMIN))
						BOOST_TEST(sigismember(&inside, s) == 1);
			}
			BOOST_TEST(mask() == first);
		});
}

BOOST_AUTO_TEST_CASE(errno_is_not_touched)
{
	errno = EXDEV;
	change_signal_mask(-1, nullptr, nullptr);
	sigset_t some;
	sigemptyset(&some);
	change_signal_mask(-1, &some, nullptr);
	BOOST_TEST(errno == EXDEV);
}
