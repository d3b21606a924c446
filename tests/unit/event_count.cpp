// SPDX-License-Identifier: MIT
//
// base/event_count.hpp: nobody sleeps through a change. Sleeps here have no time limit, so a
// wake-up that is lost hangs.
#define BOOST_TEST_MODULE event_count
#include "base/event_count.hpp"

#include <boost/test/unit_test.hpp>
#include <thread>
#include <vector>

using sigevec::EventCount, sigevec::Sleepers;

BOOST_AUTO_TEST_CASE(who_has_an_old_key_does_not_sleep)
{
	EventCount e;
	EventCount::Key key = e.key();
	e.notify(1); // while nobody sleeps
	BOOST_TEST(e.sleep(key, nullptr) == EAGAIN);
	BOOST_TEST(e.sleepers() == 0u);
}

BOOST_AUTO_TEST_CASE(a_sleep_ends_with_its_time)
{
	EventCount e;
	timespec moment{0, 1000000};
	BOOST_TEST(e.sleep(e.key(), &moment) == ETIMEDOUT);
	BOOST_TEST(e.sleepers() == 0u);
}

BOOST_AUTO_TEST_CASE(a_sleeper_is_counted_and_woken)
{
	EventCount e;
	std::atomic<bool> changed{false};
	std::thread sleeper([&] {
		for (EventCount::Key key = e.key(); !changed; key = e.key())
			e.sleep(key, nullptr);
	});
	while (e.sleepers() == 0)
		std::this_thread::yield();
	changed = true;
	e.notify(1);
	sleeper.join();
	BOOST_TEST(e.sleepers() == 0u);
}

// However long it takes until it runs.
BOOST_AUTO_TEST_CASE(a_sleeper_is_called_once)
{
	Sleepers s;
	BOOST_TEST(!s.call());
	s.enter();
	s.enter();
	BOOST_TEST(s.call());
	BOOST_TEST(s.call());
	BOOST_TEST(!s.call());
	s.leave();
	BOOST_TEST(!s.call()); // of the other one it is known already
	s.enter();
	BOOST_TEST(s.call());
	s.leave();
	s.leave();
	BOOST_TEST(s.count() == 0u);
	BOOST_TEST(!s.call());
}

// Who comes back for another reason takes a call with it: the next one is for who still sleeps.
BOOST_AUTO_TEST_CASE(who_comes_back_by_itself_leaves_the_other_to_be_called)
{
	Sleepers s;
	s.enter();
	s.enter();
	BOOST_TEST(s.call());
	s.leave();
	BOOST_TEST(s.call());
	s.leave();
	BOOST_TEST(s.count() == 0u);
}

// Two threads hand a number to each other and back: each sleeps until it is its turn.
BOOST_AUTO_TEST_CASE(turns_are_taken_without_a_lost_wake_up)
{
	constexpr int turns = 100000;
	EventCount e[2];
	std::atomic<int> turn{0};
	auto player = [&](int me) {
		for (int mine = me; mine < turns; mine += 2) {
			for (EventCount::Key key = e[me].key();
			     turn.load(std::memory_order_acquire) != mine; key = e[me].key())
				e[me].sleep(key, nullptr);
			turn.store(mine + 1, std::memory_order_release);
			e[1 - me].notify(1);
		}
	};
	std::thread other(player, 1);
	player(0);
	other.join();
	BOOST_TEST(turn == turns);
}

// Several who wake, several who sleep: as many things are taken as were put.
BOOST_AUTO_TEST_CASE(all_that_is_put_is_taken)
{
	constexpr int threads = 4, each = 20000;
	EventCount e;
	std::atomic<int> there{0}, taken{0};
	auto take = [&] {
		for (int n = there.load(); n > 0;)
			if (there.compare_exchange_weak(n, n - 1))
				return true;
		return false;
	};
	std::vector<std::thread> all;
	for (int i = 0; i < threads; i++) {
		all.emplace_back([&] {
			for (int n = 0; n < each; n++) {
				there++;
				e.notify(1);
			}
		});
		all.emplace_back([&] {
			for (int n = 0; n < each; n++) {
				for (EventCount::Key key = e.key(); !take(); key = e.key())
					e.sleep(key, nullptr);
				taken++;
			}
		});
	}
	for (std::thread &t : all)
		t.join();
	BOOST_TEST(taken == threads * each);
	BOOST_TEST(there == 0);
}
