// SPDX-License-Identifier: MIT
//
// base/pool.hpp and base/reserve.hpp: an object is one taker's at a time, keeps its address, and
// there are never more than the limit.
#define BOOST_TEST_MODULE pool
#include "base/pool.hpp"
#include "base/reserve.hpp"

#include <boost/test/unit_test.hpp>
#include <set>
#include <thread>
#include <vector>

using sigevec::Pool, sigevec::Pooled, sigevec::Reserve;

namespace {

struct Object : Pooled {
	std::atomic<unsigned> owners{0};
};
using Objects = Pool<Object, 4, 8>; // of 16 each

} // namespace

BOOST_AUTO_TEST_CASE(each_is_another_one_found_by_its_index_and_the_limit_holds)
{
	static Objects pool;
	std::vector<Object *> taken;
	for (Object *o; (o = pool.take(20)) != nullptr;)
		taken.push_back(o);
	BOOST_TEST(taken.size() == 20u);
	BOOST_TEST(pool.size() == 20u);
	BOOST_TEST(!pool.has_free());
	BOOST_TEST(std::set<Object *>(taken.begin(), taken.end()).size() == 20u);
	for (Object *o : taken)
		BOOST_TEST(pool.at(o->index) == o);
	// A limit that is raised counts at once, one that is lowered takes nothing away.
	taken.push_back(pool.take(21));
	BOOST_TEST(taken.back() != nullptr);
	pool.give_back(taken[7]);
	BOOST_TEST(pool.has_free());
	BOOST_TEST(pool.take(1) == taken[7]);
	BOOST_TEST(pool.take(1) == nullptr);
}

BOOST_AUTO_TEST_CASE(no_limit_is_beyond_its_capacity)
{
	static Objects pool;
	uint32_t n = 0;
	while (pool.take(Objects::capacity + 100) != nullptr)
		n++;
	BOOST_TEST(n == Objects::capacity);
}

BOOST_AUTO_TEST_CASE(in_a_child_of_fork_all_are_free)
{
	static Objects pool;
	std::set<Object *> before;
	for (int i = 0; i < 30; i++)
		before.insert(pool.take(30));
	pool.after_fork();
	for (int i = 0; i < 30; i++)
		BOOST_TEST(before.erase(pool.take(30)) == 1u);
	BOOST_TEST(pool.take(30) == nullptr);
}

BOOST_AUTO_TEST_CASE(what_another_thread_gave_back_is_taken_over)
{
	static Objects pool;
	std::vector<Object *> taken;
	for (int i = 0; i < 10; i++)
		taken.push_back(pool.take(10));
	std::thread([&taken] {
		for (Object *o : taken)
			pool.give_back(o);
	}).join();
	std::set<Object *> again;
	for (int i = 0; i < 10; i++)
		again.insert(pool.take_from_others(10));
	BOOST_TEST((again == std::set<Object *>(taken.begin(), taken.end())));
}

BOOST_AUTO_TEST_CASE(nobody_gets_what_another_has)
{
	static Objects pool;
	constexpr unsigned limit = 24;
	std::atomic<unsigned> twice{0};
	auto work = [&twice](bool from_others) {
		for (int i = 0; i < 20000; i++) {
			Object *o = from_others ? pool.take_from_others(limit) : pool.take(limit);
			if (o == nullptr)
				continue;
			twice += o->owners.fetch_add(1) != 0;
			o->owners.fetch_sub(1);
			pool.give_back(o);
		}
	};
	std::vector<std::thread> threads;
	for (int i = 0; i < 4; i++)
		threads.emplace_back(work, i % 2 == 0);
	for (std::thread &t : threads)
		t.join();
	BOOST_TEST(twice == 0u);
	BOOST_TEST(pool.size() <= limit);
	// All of them are there.
	std::set<Object *> all;
	for (Object *o; (o = pool.take(limit)) != nullptr;)
		all.insert(o);
	BOOST_TEST(all.size() == limit);
}

BOOST_AUTO_TEST_CASE(a_reserve_gives_its_own_first_and_knows_them_again)
{
	struct Thing {
		void *a, *b;
	};
	Reserve<Thing, 3> reserve;
	auto inside = [&reserve](void *p) {
		return p >= static_cast<void *>(&reserve) && p < static_cast<void *>(&reserve + 1);
	};
	void *own[3], *other;
	for (void *&p : own) {
		p = reserve.take();
		BOOST_TEST(inside(p));
	}
	other = reserve.take();
	BOOST_TEST(!inside(other));
	reserve.give_back(own[1]);
	reserve.give_back(other);
	BOOST_TEST(reserve.take() == own[1]);
}
