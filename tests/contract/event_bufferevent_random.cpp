// SPDX-License-Identifier: MIT
//
// One program twice: on libevent's own bufferevents and on those of bufferevent_sigevec_new. It
// makes bufferevents with every option and does with them, in random order, whatever can be done;
// each callback, each result and each byte is written down, and the two records are the same.
//
// The seeds are printed: always the same ones, unless SIGEVEC_SEED=n names the first and
// SIGEVEC_ROUNDS=n says how many.
#define BOOST_TEST_MODULE event_bufferevent_random
#include "event_bufferevent_program.hpp"
#include "seed.hpp"

#include <chrono>

using namespace contract;

namespace {

constexpr int programs_in_make_check = 100;

/// In which order the two ends of a socket are told of depends on when: how long a quiet turn waits
/// for them. Longer with each attempt at the same program.
constexpr std::chrono::microseconds moments[] = {
	std::chrono::microseconds(0), std::chrono::microseconds(500),
	std::chrono::microseconds(2000), std::chrono::microseconds(8000)};

/// The same actor's event, of which one side is told at once and the other one in parts: libevent
/// joins the deferred events of one turn, and the ends of both directions may come in one turn or
/// in two.
bool in_parts(const std::string &theirs, const std::string &ours)
{
	const size_t begin = theirs.find(" event ");
	if (begin == std::string::npos || ours.compare(0, begin + 7, theirs, 0, begin + 7) != 0)
		return false;
	const int a = std::stoi(theirs.substr(begin + 7)), b = std::stoi(ours.substr(begin + 7));
	return a != b && ((a & b) == a || (a & b) == b);
}

/// False after printing where they part. From an event in parts on they go ways of their own.
bool the_same(unsigned seed)
{
	const Course model = Program(kinds[0], seed, nullptr).run();
	const auto theirs = model.lines(), ours = Program(kinds[1], seed, &model).run().lines();
	size_t at = 0;
	while (at < theirs.size() && at < ours.size() && theirs[at] == ours[at])
		++at;
	if (at == theirs.size() && at == ours.size())
		return true;
	if (at < theirs.size() && at < ours.size() && in_parts(theirs[at], ours[at]))
		return true;
	const size_t before = getenv("SIGEVEC_SEED") != nullptr ? at : std::min<size_t>(at, 12);
	for (size_t i = at - before; i < at; ++i)
		BOOST_TEST_MESSAGE("       " << theirs[i]);
	std::string const none = "(nothing)";
	BOOST_TEST_MESSAGE("theirs " << (at < theirs.size() ? theirs[at] : none) << "\nours   "
				     << (at < ours.size() ? ours[at] : none));
	return false;
}

} // namespace

BOOST_AUTO_TEST_CASE(every_program_sees_the_same_on_both)
{
	boost::unit_test::unit_test_log.set_threshold_level(boost::unit_test::log_messages);
	signal(SIGPIPE, SIG_IGN);
	const bool one = getenv("SIGEVEC_SEED") != nullptr;
	const auto first = unsigned(from_environment("SIGEVEC_SEED", 1));
	const auto rounds =
		unsigned(from_environment("SIGEVEC_ROUNDS", one ? 1 : programs_in_make_check));
	BOOST_TEST_MESSAGE("seeds from " << first << " on");
	// In which turn of the loop something comes depends on the kernel and on what else runs,
	// for either kind: what differs is what differs each time.
	for (unsigned i = 0; i < rounds; ++i) {
		bool same = false;
		for (const auto m : moments)
			if (moment = m; (same = the_same(first + i)))
				break;
		BOOST_TEST_REQUIRE(same, "SIGEVEC_SEED=" << first + i << " differs");
	}
}
