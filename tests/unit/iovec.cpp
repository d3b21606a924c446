// SPDX-License-Identifier: MIT
//
// lib/base/iovec.hpp: the bytes of a vector, counted and joined.
#define BOOST_TEST_MODULE iovec
#include "base/iovec.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <vector>

using namespace sigevec;

BOOST_AUTO_TEST_CASE(the_bytes_of_all_parts_are_counted)
{
	std::array<iovec, 3> v{{{nullptr, 3}, {nullptr, 0}, {nullptr, 4}}};
	BOOST_TEST(length_of(v.data(), v.size()) == 7);
	BOOST_TEST(length_of(v.data(), 0) == 0);
}

BOOST_AUTO_TEST_CASE(more_than_a_call_carries_has_no_length)
{
	size_t constexpr most = SSIZE_MAX;
	std::array<iovec, 2> v{{{nullptr, most}, {nullptr, 0}}};
	BOOST_TEST(length_of(v.data(), v.size()) == SSIZE_MAX);
	v[1].iov_len = 1;
	BOOST_TEST(length_of(v.data(), v.size()) == -1);
	// A sum that comes round to a small number is none, either.
	v[1].iov_len = ~size_t{0} - most + 3;
	BOOST_TEST(length_of(v.data(), v.size()) == -1);
	v[0].iov_len = most + 1;
	BOOST_TEST(length_of(v.data(), 1) == -1);
}

BOOST_AUTO_TEST_CASE(a_copy_is_what_was_read_however_many_parts)
{
	for (size_t n : {size_t{1}, size_t{8}, size_t{9}, size_t{1024}}) {
		std::vector<iovec> theirs(n, iovec{nullptr, 5});
		VectorCopy copy;
		iovec *const ours = copy.take(theirs.data(), n);
		BOOST_TEST_REQUIRE(ours != nullptr);
		theirs[n - 1].iov_len = 6;
		BOOST_TEST(ours[n - 1].iov_len == 5u);
	}
}
