// SPDX-License-Identifier: MIT
//
// request/pace.hpp: of two ways the quicker one is taken, the other tried now and then; with times
// that are made up.
#define BOOST_TEST_MODULE pace
#include "request/pace.hpp"

#include <boost/test/unit_test.hpp>

using sigevec::Pace;
using Way = Pace::Way;

namespace {

constexpr uint64_t us = 1000;

/// A program that writes one block after the other, each as long as its way takes.
struct Writer {
	Pace pace{Pace::direct};
	uint64_t now = 1;
	uint64_t by_kernel, by_worker;

	/// How many of so many went to the kernel.
	unsigned write(unsigned count)
	{
		unsigned kernel = 0;
		for (unsigned i = 0; i < count; i++) {
			const Way way = pace.next(now);
			kernel += way == Way::usual;
			now += way == Way::usual ? by_kernel : by_worker;
		}
		return kernel;
	}
};

constexpr unsigned round_length = Pace::direct.least + Pace::direct.probes;

} // namespace

BOOST_AUTO_TEST_CASE(the_other_way_is_tried_after_some_dozens)
{
	Writer w{Pace{Pace::direct}, 1, 60 * us, 60 * us};
	BOOST_TEST(w.write(Pace::direct.least + 1) == Pace::direct.least + 1);
	BOOST_TEST(w.write(Pace::direct.probes) == 0u);
}

BOOST_AUTO_TEST_CASE(the_quicker_way_is_taken)
{
	Writer w{Pace{Pace::direct}, 1, 400 * us, 100 * us};
	w.write(2 * round_length);
	constexpr unsigned many = 20000;
	BOOST_TEST(w.write(many) < many / 50);
}

BOOST_AUTO_TEST_CASE(a_way_that_is_clearly_slower_is_seldom_tried)
{
	Writer w{Pace{Pace::direct}, 1, 60 * us, 100 * us};
	w.write(10 * round_length);
	constexpr unsigned many = 20000;
	BOOST_TEST(w.write(many) > many - many / 50);
}

BOOST_AUTO_TEST_CASE(a_tenth_of_difference_changes_nothing)
{
	Writer w{Pace{Pace::direct}, 1, 100 * us, 95 * us};
	constexpr unsigned many = 10 * round_length;
	BOOST_TEST(w.write(many) >= many - 10 * Pace::direct.probes);
}

BOOST_AUTO_TEST_CASE(what_changes_is_noticed)
{
	Writer w{Pace{Pace::direct}, 1, 400 * us, 100 * us};
	w.write(10000);
	w.by_kernel = 50 * us;
	w.write(20000);
	BOOST_TEST(w.write(1000) >= 1000 - 2 * Pace::direct.probes);
	w.by_kernel = 400 * us;
	w.write(20000);
	BOOST_TEST(w.write(1000) <= 2 * Pace::direct.probes);
}

BOOST_AUTO_TEST_CASE(a_pause_of_the_programs_does_not_decide)
{
	Writer w{Pace{Pace::direct}, 1, 60 * us, 100 * us};
	w.write(20);
	constexpr uint64_t hour = 3600 * uint64_t{1000000} * us;
	w.now += hour;
	w.write(20000);
	BOOST_TEST(w.write(1000) >= 1000 - 2 * Pace::direct.probes);
}

BOOST_AUTO_TEST_CASE(requests_that_come_together_all_go_to_the_kernel)
{
	Writer w{Pace{Pace::direct}, 1, 400 * us, 100 * us};
	w.write(2 * round_length);
	w.pace.interrupted();
	for (unsigned i = 0; i < 4 * round_length; i++) {
		BOOST_TEST((w.pace.next(w.now) == Way::usual));
		w.pace.interrupted();
		w.now += 1000 * us;
	}
	// One at a time again: what was learned is not forgotten.
	w.write(1);
	BOOST_TEST(w.write(round_length) <= Pace::direct.probes);
}

// What is no quicker for the first writes is judged by the later ones.
BOOST_AUTO_TEST_CASE(writes_by_which_a_worker_becomes_quick_do_not_count)
{
	Writer w{Pace{Pace::buffered}, 1, 10 * us, 100 * us};
	constexpr Pace::Rhythm r = Pace::buffered;
	BOOST_TEST(w.write(r.least + 1) == r.least + 1);
	BOOST_TEST(w.write(r.settling) == 0u);
	w.by_worker = 5 * us;
	BOOST_TEST(w.write(r.probes - r.settling) == 0u);
	BOOST_TEST(w.write(r.least) == 0u);
}

BOOST_AUTO_TEST_CASE(buffered_writes_stay_in_the_call_where_a_worker_is_slower)
{
	Writer w{Pace{Pace::buffered}, 1, 10 * us, 20 * us};
	w.write(4 * Pace::buffered.most);
	constexpr unsigned many = 10 * Pace::buffered.most;
	BOOST_TEST(w.write(many) > many - many / 40);
}

BOOST_AUTO_TEST_CASE(a_way_that_could_not_be_gone_decides_nothing)
{
	Writer w{Pace{Pace::buffered}, 1, 10 * us, 5 * us};
	for (unsigned i = 0; i < 3 * Pace::buffered.least; i++) {
		BOOST_TEST(w.write(1) == 1u);
		w.pace.interrupted();
	}
}
