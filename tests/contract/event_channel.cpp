// SPDX-License-Identifier: MIT
//
// sigevec_event_new: an event channel in libevent's loop, as an ordinary event.
#define BOOST_TEST_MODULE event_channel
#include "libevent.hpp"

using namespace contract;

namespace {

struct Heard {
	std::vector<ssize_t> results;
	int timeouts = 0;
	std::function<void(const event_data_t &)> then;
};

void hear(ec_t, const event_data_t *e, void *arg)
{
	auto &heard = *static_cast<Heard *>(arg);
	if (e == nullptr) {
		heard.timeouts++;
		return;
	}
	heard.results.push_back(e->ev_result);
	if (heard.then)
		heard.then(*e);
}

/// A channel of each kind, its event, and what it has called back with.
struct Watched {
	Watched(Base &base, unsigned flags)
	    : ec(ec_create(flags | EC_CLOEXEC)), ev(sigevec_event_new(base, ec, hear, &heard))
	{
		BOOST_TEST_REQUIRE(ec >= 0);
		BOOST_TEST_REQUIRE(ev != nullptr);
	}
	~Watched()
	{
		if (ev != nullptr)
			event_free(ev);
		ec_destroy(ec);
	}
	void post(int from, int to)
	{
		for (int i = from; i < to; ++i)
			BOOST_TEST_REQUIRE(ec_post(ec, i, 0, nullptr) == 0);
	}
	Heard heard;
	ec_t ec;
	event *ev;
};

template <class Body> void for_each_channel(Body body)
{
	for (unsigned flags :
	     {0u, unsigned(EC_NONBLOCK), unsigned(EC_SINGLE), unsigned(EC_SINGLE | EC_BATCH)})
		BOOST_TEST_CONTEXT("flags " << flags)
		{
			Base base;
			Watched w(base, flags);
			body(base, w);
		}
}

} // namespace

BOOST_AUTO_TEST_CASE(each_event_is_called_back_once_in_order)
{
	for_each_channel([](Base &base, Watched &w) {
		BOOST_TEST(event_add(w.ev, nullptr) == 0);
		w.post(0, 1000);
		BOOST_TEST(base.until([&] { return w.heard.results.size() == 1000; }));
		for (size_t i = 0; i < 1000; ++i)
			BOOST_TEST_REQUIRE(w.heard.results[i] == ssize_t(i));
		base.settle();
		BOOST_TEST(w.heard.results.size() == 1000u);
		w.post(1000, 1001); // it has stayed added
		BOOST_TEST(base.until([&] { return w.heard.results.size() == 1001; }));
	});
}

BOOST_AUTO_TEST_CASE(it_is_not_added_when_it_is_made)
{
	for_each_channel([](Base &base, Watched &w) {
		w.post(0, 1);
		BOOST_TEST(event_base_loop(base, EVLOOP_NONBLOCK) == 1); // no event is registered
		BOOST_TEST(w.heard.results.empty());
		BOOST_TEST(event_get_fd(w.ev) == ec_to_fd(w.ec));
		BOOST_TEST((event_get_events(w.ev) & (EV_READ | EV_PERSIST)) ==
			   (EV_READ | EV_PERSIST));
	});
}

BOOST_AUTO_TEST_CASE(deleting_it_in_the_callback_loses_no_event)
{
	for_each_channel([](Base &base, Watched &w) {
		event_add(w.ev, nullptr);
		w.post(0, 10);
		w.heard.then = [&](event_data_t const &e) {
			if (e.ev_result == 3)
				event_del(w.ev);
		};
		BOOST_TEST(base.until([&] { return w.heard.results.size() == 4; }));
		base.settle();
		BOOST_TEST(w.heard.results.size() == 4u);
		event_data_t e;
		BOOST_TEST(ec_next_event(w.ec, &e) == 0); // the others are still the channel's
		BOOST_TEST(e.ev_result == 4);
		event_add(w.ev, nullptr);
		BOOST_TEST(base.until([&] { return w.heard.results.size() == 9; }));
		BOOST_TEST(w.heard.results.back() == 9);
	});
}

BOOST_AUTO_TEST_CASE(it_may_be_freed_in_the_callback)
{
	for_each_channel([](Base &base, Watched &w) {
		event_add(w.ev, nullptr);
		w.post(0, 10);
		w.heard.then = [&](event_data_t const &) {
			event_free(std::exchange(w.ev, nullptr));
		};
		BOOST_TEST(base.until([&] { return w.heard.results.size() == 1; }));
		base.settle();
		BOOST_TEST(w.heard.results.size() == 1u);
		struct ec_stat s;
		BOOST_TEST(ec_stat(w.ec, &s) == 0);
		BOOST_TEST(s.queued == 9u);
	});
}

BOOST_AUTO_TEST_CASE(the_channel_may_be_destroyed_in_the_callback)
{
	for_each_channel([](Base &base, Watched &w) {
		event_add(w.ev, nullptr);
		w.post(0, 10);
		w.heard.then = [&](event_data_t const &) {
			event_del(w.ev);
			ec_destroy(w.ec);
		};
		BOOST_TEST(base.until([&] { return w.heard.results.size() == 1; }));
		base.settle();
		BOOST_TEST(w.heard.results.size() == 1u);
	});
}

BOOST_AUTO_TEST_CASE(a_time_that_has_passed_is_told_without_an_event)
{
	for_each_channel([](Base &base, Watched &w) {
		timeval const soon{0, 10000};
		event_add(w.ev, &soon);
		BOOST_TEST(base.until([&] { return w.heard.timeouts == 1; }));
		w.post(0, 1);
		BOOST_TEST(base.until([&] { return w.heard.results.size() == 1; }));
	});
}

BOOST_AUTO_TEST_CASE(a_channel_that_never_runs_dry_leaves_others_their_turn)
{
	for_each_channel([](Base &base, Watched &w) {
		Sockets s;
		bool other = false;
		event *const reader = event_new(
			base, s.ours, EV_READ,
			[](evutil_socket_t, short, void *arg) { *static_cast<bool *>(arg) = true; },
			&other);
		event_add(reader, nullptr);
		event_add(w.ev, nullptr);
		w.heard.then = [&](event_data_t const &) { w.post(1, 2); }; // always one more
		w.post(0, 2);
		s.send("text");
		BOOST_TEST(base.until([&] { return other; }));
		event_free(reader);
	});
}

BOOST_AUTO_TEST_CASE(a_callback_with_a_higher_priority_goes_first)
{
	Base base;
	event_base_priority_init(base, 2);
	Watched first(base, 0), second(base, 0);
	BOOST_TEST(event_priority_set(first.ev, 0) == 0);
	BOOST_TEST(event_priority_set(second.ev, 1) == 0);
	event_add(second.ev, nullptr);
	event_add(first.ev, nullptr);
	second.post(0, 5);
	first.post(0, 5);
	size_t before = 0;
	second.heard.then = [&](const event_data_t &) {
		before = before == 0 ? first.heard.results.size() : before;
	};
	BOOST_TEST(base.until([&] { return second.heard.results.size() == 5; }));
	BOOST_TEST(before == 5u);
}

BOOST_AUTO_TEST_CASE(requests_made_in_the_callback_go_on_by_themselves)
{
	for_each_channel([](Base &base, Watched &w) {
		Sockets s;
		char text[10] = "";
		event_add(w.ev, nullptr);
		w.heard.then = [&](event_data_t const &e) {
			if (e.ev_type == event_type_user)
				BOOST_TEST(ev_recv(s.ours, text, sizeof text, 0, w.ec, nullptr) ==
					   0);
		};
		w.post(7, 8);
		BOOST_TEST(base.until([&] { return w.heard.results.size() == 1; }));
		s.send("data");
		BOOST_TEST(base.until([&] { return w.heard.results.size() == 2; }));
		BOOST_TEST(w.heard.results[1] == 4);
		BOOST_TEST(text == "data");
	});
}

BOOST_AUTO_TEST_CASE(what_cannot_be_is_refused)
{
	Base base;
	const ec_t ec = ec_create(EC_CLOEXEC);
	errno = 0;
	BOOST_TEST((sigevec_event_new(nullptr, ec, hear, nullptr) == nullptr && errno == EINVAL));
	errno = 0;
	BOOST_TEST((sigevec_event_new(base, ec, nullptr, nullptr) == nullptr && errno == EINVAL));
	ec_destroy(ec);
	for (int bad : {-1, int(ec), STDIN_FILENO}) {
		errno = 0;
		BOOST_TEST(
			(sigevec_event_new(base, bad, hear, nullptr) == nullptr && errno == EBADF));
	}
}
