// SPDX-License-Identifier: MIT
//
// bufferevent_sigevec_new: limits of the rate, of one and of groups, and what a base counts, as
// with bufferevent_socket_new; memory.
#define BOOST_TEST_MODULE event_bufferevent_limits
#include "libevent.hpp"

#include <malloc.h>

using namespace contract;

// The first, as what others free would do.
BOOST_AUTO_TEST_CASE(the_memory_of_a_large_output_is_used_again_without_the_kernel)
{
	Base base;
	bufferevent *const theirs = kinds[0].make(base, -1, 0), *const ours =
									kinds[1].make(base, -1, 0);
	if (theirs->be_ops != ours->be_ops) { // with io_uring
		auto const before = mallinfo2().hblks;
		void *volatile block = malloc(7 << 20);
		BOOST_TEST(mallinfo2().hblks == before);
		free(block);
	}
	bufferevent_free(ours);
	bufferevent_free(theirs);
}

BOOST_AUTO_TEST_CASE(a_limit_of_the_rate_is_kept_both_ways)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		timeval const hour{3600, 0};
		ev_token_bucket_cfg *const limits =
			ev_token_bucket_cfg_new(100, 100, 70, 70, &hour);
		BOOST_TEST_REQUIRE(bufferevent_set_rate_limit(c.bev, limits) == 0);
		std::string const text = pattern_text(500);
		bufferevent_enable(c.bev, EV_READ);
		c.send(text);
		bufferevent_write(c.bev, text.data(), text.size());
		BOOST_TEST(base.until(
			[&] { return c.told.data.size() >= 100 && output_length(c.bev) <= 430; }));
		base.settle();
		BOOST_TEST((c.told.data == text.substr(0, 100)));
		BOOST_TEST((c.received() == text.substr(0, 70)));
		BOOST_TEST(bufferevent_set_rate_limit(c.bev, nullptr) == 0);
		std::string got;
		BOOST_TEST(base.until([&] {
			got += c.received();
			return c.told.data == text && got == text.substr(70);
		}));
		c.free();
		ev_token_bucket_cfg_free(limits);
	});
}

BOOST_AUTO_TEST_CASE(the_limit_of_a_group_is_kept)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		timeval const hour{3600, 0};
		ev_token_bucket_cfg *const limits =
			ev_token_bucket_cfg_new(1000, 1000, 1000, 1000, &hour);
		bufferevent_rate_limit_group *const group =
			bufferevent_rate_limit_group_new(base, limits);
		{
			Connection a(base, kind), b(base, kind);
			for (Connection *c : {&a, &b}) {
				BOOST_TEST_REQUIRE(
					bufferevent_add_to_rate_limit_group(c->bev, group) == 0);
				bufferevent_enable(c->bev, EV_READ);
				c->send(pattern_text(5000));
			}
			auto const total = [&] { return a.told.data.size() + b.told.data.size(); };
			BOOST_TEST(base.until([&] { return total() >= 1000; }));
			base.settle();
			BOOST_TEST(total() <= 1100u); // a group may go a little over it
			for (Connection *c : {&a, &b})
				bufferevent_remove_from_rate_limit_group(c->bev);
			BOOST_TEST(base.until([&] { return total() == 10000; }));
		}
		bufferevent_rate_limit_group_free(group);
		ev_token_bucket_cfg_free(limits);
	});
}

BOOST_AUTO_TEST_CASE(a_group_may_have_bufferevents_of_both_kinds)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		timeval const hour{3600, 0};
		ev_token_bucket_cfg *const limits =
			ev_token_bucket_cfg_new(2000, 2000, 3000, 3000, &hour);
		bufferevent_rate_limit_group *const group =
			bufferevent_rate_limit_group_new(base, limits);
		{
			Connection a(base, kind), b(base, kinds[0]);
			std::string const text = pattern_text(5000);
			for (Connection *c : {&a, &b}) {
				BOOST_TEST_REQUIRE(
					bufferevent_add_to_rate_limit_group(c->bev, group) == 0);
				bufferevent_enable(c->bev, EV_READ);
				c->send(text);
				bufferevent_write(c->bev, text.data(), text.size());
			}
			auto const read = [&] { return a.told.data.size() + b.told.data.size(); };
			auto const left = [&] {
				return output_length(a.bev) + output_length(b.bev);
			};
			BOOST_TEST(base.until([&] { return read() >= 2000 && left() <= 7000; }));
			base.settle();
			// A group may go a little over it, and each has a part.
			BOOST_TEST(read() <= 2100u);
			BOOST_TEST(left() >= 6900u);
			for (Connection *c : {&a, &b}) {
				BOOST_TEST(!c->told.data.empty());
				BOOST_TEST(output_length(c->bev) < 5000u);
			}
			ev_uint64_t in = 0, out = 0;
			bufferevent_rate_limit_group_get_totals(group, &in, &out);
			BOOST_TEST(in == read());
			BOOST_TEST(out == 10000 - left());
			for (Connection *c : {&a, &b})
				bufferevent_remove_from_rate_limit_group(c->bev);
			BOOST_TEST(base.until([&] { return read() == 10000 && left() == 0; }));
		}
		bufferevent_rate_limit_group_free(group);
		ev_token_bucket_cfg_free(limits);
	});
}

namespace {

/// A connection of TCP's; `ours' does not block.
struct TcpConnection {
	TcpConnection() : ours(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))
	{
		Listener listener;
		BOOST_TEST_REQUIRE(connect(ours, listener.to(), sizeof listener.address) == 0);
		peer.reset(accept4(listener.fd, nullptr, nullptr, SOCK_CLOEXEC));
		evutil_make_socket_nonblocking(ours);
	}
	Fd ours, peer;
};

} // namespace

// Without a limit several pieces may go in one turn.
BOOST_AUTO_TEST_CASE(what_a_group_limits_goes_in_one_piece_in_each_turn)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		timeval const hour{3600, 0};
		ev_token_bucket_cfg *const limits =
			ev_token_bucket_cfg_new(1000000, 1000000, 1000000, 1000000, &hour);
		bufferevent_rate_limit_group *const group =
			bufferevent_rate_limit_group_new(base, limits);
		TcpConnection c;
		bufferevent *const bev = kind.make(base, c.ours, 0);
		BOOST_TEST_REQUIRE(bufferevent_add_to_rate_limit_group(bev, group) == 0);
		bufferevent_write(bev, "first", 5);
		BOOST_TEST(base.until([&] { return output_length(bev) == 0; }));
		std::string const text = pattern_text(100000);
		bufferevent_write(bev, text.data(), text.size());
		BOOST_TEST(base.until([&] { return output_length(bev) < text.size(); }));
		BOOST_TEST(output_length(bev) == text.size() - 16384);
		bufferevent_free(bev);
		event_base_loop(base, EVLOOP_NONBLOCK);
		bufferevent_rate_limit_group_free(group);
		ev_token_bucket_cfg_free(limits);
	});
}

BOOST_AUTO_TEST_CASE(a_base_counts_an_event_for_each_direction_that_is_wanted)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection a(base, kind), b(base, kind);
		auto const added = [&] {
			return event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED);
		};
		base.settle();
		int const before = added();
		for (Connection *c : {&a, &b})
			bufferevent_enable(c->bev, EV_READ);
		base.settle();
		BOOST_TEST(added() == before + 2);
		std::string const much = pattern_text(4000000);
		bufferevent_write(a.bev, much.data(), much.size());
		base.settle(); // it waits for room
		BOOST_TEST(added() == before + 3);
		for (Connection *c : {&a, &b})
			bufferevent_disable(c->bev, EV_READ | EV_WRITE);
		base.settle();
		BOOST_TEST(added() == before);
	});
}
