// SPDX-License-Identifier: MIT
//
// base/inbox.hpp: what any thread puts in comes out once, in the order of its thread.
#define BOOST_TEST_MODULE inbox
#include "base/inbox.hpp"

#include <boost/test/unit_test.hpp>
#include <thread>
#include <vector>

using sigevec::Inbox;

namespace {

struct Letter {
	unsigned sender, number;
	Letter *next;
};

struct Linked {
	int number;
	std::atomic<Linked *> next;
};

} // namespace

BOOST_AUTO_TEST_CASE(the_oldest_is_taken_first)
{
	Letter l[3]{{0, 0, nullptr}, {0, 1, nullptr}, {0, 2, nullptr}};
	Inbox<Letter> inbox;
	BOOST_TEST(inbox.empty());
	BOOST_TEST(inbox.take_all() == nullptr);
	BOOST_TEST(inbox.push(&l[0])); // the first one says so
	BOOST_TEST(!inbox.push(&l[1]));
	BOOST_TEST(!inbox.push(&l[2]));
	BOOST_TEST(!inbox.empty());
	Letter *first = inbox.take_all();
	BOOST_TEST(inbox.empty());
	for (Letter &expected : l) {
		BOOST_TEST(first == &expected);
		first = first->next;
	}
	BOOST_TEST(first == nullptr);
	BOOST_TEST(inbox.push(&l[1])); // what has been taken can be put in again
}

BOOST_AUTO_TEST_CASE(what_is_linked_newest_first_is_turned_round)
{
	BOOST_TEST(sigevec::reversed<Linked>(nullptr) == nullptr);
	Linked l[3]{{0, nullptr}, {1, &l[0]}, {2, &l[1]}};
	int expected = 0;
	for (Linked *i = sigevec::reversed(&l[2]); i != nullptr; i = i->next)
		BOOST_TEST(i->number == expected++);
	BOOST_TEST(expected == 3);
}

BOOST_AUTO_TEST_CASE(of_several_senders_nothing_is_lost_doubled_or_overtaken)
{
	constexpr unsigned senders = 4, each = 20000;
	std::vector<std::vector<Letter>> letters(senders, std::vector<Letter>(each));
	Inbox<Letter> inbox;
	std::atomic<unsigned> firsts{0};
	std::vector<std::thread> threads;
	for (unsigned s = 0; s < senders; s++)
		threads.emplace_back([&, s] {
			for (unsigned i = 0; i < each; i++) {
				letters[s][i] = {s, i, nullptr};
				firsts += inbox.push(&letters[s][i]);
			}
		});
	std::vector<unsigned> next(senders, 0);
	unsigned taken = 0, times = 0;
	while (taken < senders * each) {
		Letter *l = inbox.take_all();
		times += l != nullptr;
		for (; l != nullptr; l = l->next, taken++)
			BOOST_REQUIRE(l->number == next[l->sender]++);
		std::this_thread::yield();
	}
	for (std::thread &t : threads)
		t.join();
	BOOST_TEST(inbox.take_all() == nullptr);
	// Whoever finds it empty tells the taker: once for each time that there was something.
	BOOST_TEST(firsts == times);
}
