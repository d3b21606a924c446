// SPDX-License-Identifier: MIT
//
// base/chains.hpp: compared with the standard library's multimap, whatever is added and removed.
#define BOOST_TEST_MODULE chains
#include "base/chains.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <map>
#include <random>
#include <vector>

namespace {

struct Entry {
	sigevec::Hook<Entry> hook;
	unsigned number;
};
using Chains = sigevec::Chains<Entry, &Entry::hook>;

std::vector<unsigned> numbers_of(Chains &c, uint64_t hash)
{
	std::vector<unsigned> v;
	for (Entry *e = c.first(hash); e != nullptr; e = c.next(e))
		v.push_back(e->number);
	return v;
}

} // namespace

BOOST_AUTO_TEST_CASE(of_one_hash_the_newest_is_first)
{
	static Chains c;
	static Entry e[4];
	for (unsigned i = 0; i < 4; i++) {
		e[i].number = i;
		c.add(&e[i], i == 2 ? 9 : 5);
	}
	BOOST_TEST((numbers_of(c, 5) == std::vector<unsigned>{3, 1, 0}));
	BOOST_TEST((numbers_of(c, 9) == std::vector<unsigned>{2}));
	BOOST_TEST(c.first(21) == nullptr); // of the same chain as 5
	c.remove(&e[1]);
	c.remove(&e[1]); // it is in none
	BOOST_TEST((numbers_of(c, 5) == std::vector<unsigned>{3, 0}));
	c.forget();
	BOOST_TEST(c.first(5) == nullptr);
}

BOOST_AUTO_TEST_CASE(thousands_of_any_hash_are_found_while_they_are_in)
{
	static Chains c;
	std::mt19937 random(1);
	std::vector<Entry> entries(5000);
	std::multimap<uint64_t, unsigned> model;
	for (unsigned i = 0; i < entries.size(); i++)
		entries[i].number = i;
	for (int step = 0; step < 40000; step++) {
		Entry &e = entries[random() % entries.size()];
		if (e.hook.place == nullptr) {
			uint64_t hash = random() % 700;
			c.add(&e, hash);
			model.emplace(hash, e.number);
			continue;
		}
		auto [begin, end] = model.equal_range(e.hook.hash);
		auto i = std::find_if(begin, end, [&e](auto &m) { return m.second == e.number; });
		BOOST_REQUIRE((i != end));
		model.erase(i);
		c.remove(&e);
	}
	for (uint64_t hash = 0; hash < 700; hash++) {
		auto found = numbers_of(c, hash);
		auto [begin, end] = model.equal_range(hash);
		std::vector<unsigned> expected;
		for (auto i = begin; i != end; ++i)
			expected.push_back(i->second);
		std::sort(found.begin(), found.end());
		std::sort(expected.begin(), expected.end());
		BOOST_REQUIRE((found == expected));
	}
}
