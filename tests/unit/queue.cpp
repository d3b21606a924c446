// SPDX-License-Identifier: MIT
//
// base/queue.hpp: what is put in comes out in its order, whatever is taken out between, compared
// with the standard library's list.
#define BOOST_TEST_MODULE queue
#include "base/queue.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <list>
#include <random>
#include <vector>

using sigevec::Links;
using sigevec::List;
using sigevec::Queue;

namespace {

struct Plain {
	int number;
	Plain *next;
	Plain *other_next;
	Links<Plain> links;
	bool inside;
};
struct Shared {
	int number;
	std::atomic<Shared *> next;
};

Plain *&other_next_of(Plain *p)
{
	return p->other_next;
}
Links<Plain> &links_of(Plain *p)
{
	return p->links;
}

template <class Q> std::vector<int> numbers(const Q &q)
{
	std::vector<int> v;
	for (auto *t = q.first(); t != nullptr; t = Q::after(t))
		v.push_back(t->number);
	return v;
}
using Numbers = std::vector<int>;

} // namespace

BOOST_AUTO_TEST_CASE(a_queue_gives_the_oldest_first)
{
	Shared s[3]{{1, nullptr}, {2, nullptr}, {3, nullptr}};
	Queue<Shared> q;
	BOOST_TEST(q.pop() == nullptr);
	BOOST_TEST(q.push(&s[0]));
	BOOST_TEST(!q.push(&s[1]));
	BOOST_TEST(q.pop() == &s[0]);
	BOOST_TEST(!q.push(&s[2]));
	BOOST_TEST(numbers(q) == (Numbers{2, 3}), boost::test_tools::per_element());
	BOOST_TEST(q.take_all() == &s[1]);
	BOOST_TEST(q.empty());
	BOOST_TEST(q.push(&s[0]));
	BOOST_TEST(q.last() == &s[0]);
}

BOOST_AUTO_TEST_CASE(an_element_is_in_a_queue_for_each_of_its_links)
{
	Plain p[2]{{1, nullptr, nullptr, {}, false}, {2, nullptr, nullptr, {}, false}};
	Queue<Plain> one;
	Queue<Plain, other_next_of> other;
	one.push(&p[0]);
	one.push(&p[1]);
	other.push(&p[1]);
	other.push(&p[0]);
	BOOST_TEST(numbers(one) == (Numbers{1, 2}), boost::test_tools::per_element());
	BOOST_TEST(numbers(other) == (Numbers{2, 1}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(what_is_taken_out_is_not_written_to)
{
	Plain p[3]{};
	Queue<Plain> q;
	for (Plain &x : p)
		q.push(&x);
	q.remove_if([&](Plain *x) { return x == &p[1]; });
	BOOST_TEST(p[1].next == &p[2]);
	BOOST_TEST(q.pop() == &p[0]);
	BOOST_TEST(p[0].next == &p[2]);
	BOOST_TEST(q.last() == &p[2]);
}

BOOST_AUTO_TEST_CASE(any_sequence_is_as_in_a_list_of_the_standard_library)
{
	std::mt19937 random(20261129);
	std::vector<Plain> memory(20);
	for (int i = 0; i < 20; i++)
		memory[size_t(i)].number = i;
	Queue<Plain> queue;
	List<Plain, links_of> list;
	std::list<Plain *> model;
	for (int round = 0; round < 20000; round++) {
		Plain &p = memory[random() % memory.size()];
		unsigned what = random() % 8;
		if (what == 0 && !model.empty()) {
			Plain *oldest = model.front();
			model.pop_front();
			oldest->inside = false;
			BOOST_REQUIRE(queue.pop() == oldest);
			list.remove(oldest);
		} else if (what == 1) {
			auto odd = [](Plain *x) { return x->number % 3 == 0; };
			for (Plain *x : model)
				if (odd(x)) {
					x->inside = false;
					list.remove(x);
				}
			model.remove_if(odd);
			queue.remove_if(odd);
		} else if (p.inside) {
			auto at = std::find(model.begin(), model.end(), &p);
			Plain *before = at == model.begin() ? nullptr : *std::prev(at);
			BOOST_REQUIRE(queue.before(&p) == before);
			BOOST_REQUIRE(list.before(&p) == before);
			queue.remove_behind(before, &p);
			list.remove(&p);
			model.erase(at);
			p.inside = false;
		} else {
			BOOST_REQUIRE(queue.push(&p) == model.empty());
			list.push(&p);
			model.push_back(&p);
			p.inside = true;
		}
		Numbers expected;
		for (Plain *x : model)
			expected.push_back(x->number);
		BOOST_REQUIRE(numbers(queue) == expected);
		BOOST_REQUIRE(numbers(list) == expected);
		BOOST_REQUIRE(list.length() == model.size());
		BOOST_REQUIRE(queue.last() == (model.empty() ? nullptr : model.back()));
	}
}
