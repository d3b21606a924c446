// SPDX-License-Identifier: MIT
//
// What a test of schedules is made of. Behind Boost.Test's header and checked.hpp.
#pragma once

#include "checked.hpp"

#include <cstdio>
#include <unistd.h>

namespace schedules {

// One thread with many stacks is beyond the sanitizers.
struct SkippedWithSanitizers {
	SkippedWithSanitizers()
	{
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__ || defined SIGEVEC_SANITIZER
		puts("skipped: a sanitizer follows no change of stacks");
		fflush(stdout);
		_exit(77);
#endif
	}
};
BOOST_TEST_GLOBAL_FIXTURE(SkippedWithSanitizers);

inline void holds(const std::function<Run()> &make, Bounds bounds = {})
{
	Outcome o = try_all(make, bounds);
	BOOST_TEST(o.fault == "");
	BOOST_TEST(o.all);
	BOOST_TEST(o.tried > 100);
	BOOST_TEST_MESSAGE(o.tried << " schedules");
}

inline void finds(const std::function<Run()> &make, Error error, Bounds bounds = {})
{
	Outcome o = try_all(make, bounds, error);
	BOOST_TEST(o.fault != "");
	BOOST_TEST_MESSAGE("found by schedule " << o.tried << ": " << o.fault);
}

} // namespace schedules
