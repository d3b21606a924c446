// SPDX-License-Identifier: MIT
//
// Sequences of calls that nobody has thought of: drawn from a seed, carried out by the library and
// judged by the system calls in their order and by a model of the contract. "bare" is glibc's own
// AIO before the same judge, where it is right.
//
// The seed of the day is printed; SIGEVEC_SEED=n is the first one, SIGEVEC_ROUNDS=n how many there
// are (1 if there is a seed), SIGEVEC_SECONDS=n how long they may take together. A sequence that
// fails is made as short as it can be and printed as a program in C.
#define BOOST_TEST_MODULE random_calls
#include "../contract/seed.hpp"
#include "report.hpp"
#include "runner.hpp"

#include <boost/test/unit_test.hpp>

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>

using namespace calls;
using contract::from_environment;

namespace {

constexpr uint64_t seconds_in_make_check = 4;
constexpr unsigned seconds_to_shrink = 90 * slowness;

/// As many descriptors as a sequence may have, and those that the bad number is not to be one of.
bool enough_descriptors()
{
	rlimit limit{};
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = std::max<rlim_t>(limit.rlim_cur, std::min<rlim_t>(limit.rlim_max, 1024));
	return setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= 1024;
}

void explain(uint64_t seed, const std::string &what)
{
	std::cout << "SIGEVEC_SEED=" << seed << ": " << what << std::endl;
	if (getenv("SIGEVEC_SEED") != nullptr)
		std::cout << c_program(what);
	const Sequence shortest = shrink(generate(seed), seconds_to_shrink);
	std::string again = what;
	for (unsigned i = 0; i < 50; ++i)
		if (const std::string now = run(shortest); !now.empty()) {
			again = now;
			break;
		}
	std::cout << "The shortest sequence that fails: " << again << "\n"
		  << c_program(again) << std::endl;
}

} // namespace

BOOST_AUTO_TEST_CASE(every_sequence_of_calls_ends_as_the_contract_says)
{
	signal(SIGPIPE, SIG_IGN);
	if (!enough_descriptors()) {
		std::cout << "skipped: a sequence needs up to a thousand descriptors" << std::endl;
		_exit(77);
	}
	const bool one = getenv("SIGEVEC_SEED") != nullptr;
	const uint64_t first = from_environment("SIGEVEC_SEED", contract::seed_of_the_day());
	const uint64_t rounds = from_environment("SIGEVEC_ROUNDS", one ? 1 : UINT64_MAX);
	const auto end = std::chrono::steady_clock::now() +
			 std::chrono::seconds(from_environment(
				 "SIGEVEC_SECONDS", one ? 1'000'000 : seconds_in_make_check));
	std::cout << "seeds from " << first << " on" << std::endl;
	uint64_t i = 0;
	for (; i < rounds && std::chrono::steady_clock::now() < end; ++i)
		if (const std::string what = run(generate(first + i)); !what.empty()) {
			explain(first + i, what);
			BOOST_FAIL("SIGEVEC_SEED=" << first + i << ": " << what);
		}
	BOOST_TEST(i != 0);
	std::cout << i << " sequences" << std::endl;
}
