// SPDX-License-Identifier: MIT
//
// request/index: a request that has ended is not found, whoever was quicker: its submission, which
// enters it, or the end of its channel, which finds it in another way.
#define BOOST_TEST_MODULE request_index
#include "request/index.hpp"

#include <boost/test/unit_test.hpp>
#include <memory>

namespace index_ = sigevec::requests::index;
using sigevec::Indexed;
using sigevec::Request;

namespace {

auto *const channel = reinterpret_cast<sigevec::Channel *>(4096);
int data;

struct OneCall {
	std::unique_ptr<Request> request = std::make_unique<Request>();
	OneCall() { begin(); }
	/// A life of its own.
	void begin()
	{
		request->indexed = Indexed::no;
		request->of_data.place = nullptr;
		request->channel = channel;
		request->data = &data;
	}
};

size_t found()
{
	index_::Found v[4];
	return index_::find(channel, &data, v, 4);
}

} // namespace

BOOST_AUTO_TEST_CASE(it_is_found_until_it_ends)
{
	OneCall a, b;
	index_::add(a.request.get());
	index_::add(b.request.get());
	BOOST_TEST(found() == 2u);
	index_::remove(a.request.get());
	BOOST_TEST(found() == 1u);
	index_::remove(b.request.get());
	BOOST_TEST(found() == 0u);
}

BOOST_AUTO_TEST_CASE(what_has_ended_before_it_is_entered_is_not_entered)
{
	OneCall a;
	index_::remove(a.request.get());
	index_::add(a.request.get());
	BOOST_TEST_REQUIRE(found() == 0u); // or the next life stands in the chain twice
	a.begin();
	index_::add(a.request.get());
	BOOST_TEST(found() == 1u);
	index_::remove(a.request.get());
	BOOST_TEST(found() == 0u);
}
