// SPDX-License-Identifier: MIT
//
// bufferevent_sigevec_new: callbacks and their options, filters on top, and libevent's own users,
// as with bufferevent_socket_new.
#define BOOST_TEST_MODULE event_bufferevent_callbacks
#include "libevent.hpp"

#include <event2/http.h>

using namespace contract;

// ---------------------------------------------------------------- callbacks

BOOST_AUTO_TEST_CASE(it_may_be_freed_in_each_callback)
{
	for_each_kind([](const Kind &kind) {
		for (int options : {0, int(BEV_OPT_DEFER_CALLBACKS), int(BEV_OPT_THREADSAFE)}) {
			Base base;
			Connection reader(base, kind, options), writer(base, kind, options),
				ender(base, kind, options);
			reader.told.on_read = [&](bufferevent *) { reader.free(); };
			writer.told.on_write = [&](bufferevent *) { writer.free(); };
			ender.told.on_event = [&](bufferevent *, short) { ender.free(); };
			for (Connection *c : {&reader, &writer, &ender})
				bufferevent_enable(c->bev, EV_READ);
			reader.send("text");
			bufferevent_write(writer.bev, "text", 4);
			ender.peer.reset();
			BOOST_TEST(base.until(
				[&] { return !reader.bev && !writer.bev && !ender.bev; }));
			base.settle();
			BOOST_TEST(reader.told.reads == 1);
			BOOST_TEST(writer.told.writes == 1);
			BOOST_TEST(ender.told.event_calls == 1);
		}
	});
}

BOOST_AUTO_TEST_CASE(deferred_callbacks_run_from_the_loop_alone)
{
	for_each_kind([](const Kind &kind) {
		for (bool defer : {false, true}) {
			Base base;
			Connection c(base, kind, defer ? BEV_OPT_DEFER_CALLBACKS : 0),
				other(base, kind);
			bool inside = false, nested = false;
			c.told.on_event = [&](bufferevent *, short) { nested = nested || inside; };
			other.told.on_read = [&](bufferevent *) {
				inside = true;
				bufferevent_trigger_event(c.bev, BEV_EVENT_READING, 0);
				inside = false;
			};
			bufferevent_enable(other.bev, EV_READ);
			other.send("text");
			BOOST_TEST(base.until([&] { return c.told.event_calls == 1; }));
			BOOST_TEST(nested == !defer);
			bufferevent_enable(c.bev, EV_READ);
			c.send("and data as ever");
			BOOST_TEST(base.until([&] { return c.told.data == "and data as ever"; }));
			c.peer.reset();
			BOOST_TEST(
				base.until([&] { return (c.told.events & BEV_EVENT_EOF) != 0; }));
		}
	});
}

BOOST_AUTO_TEST_CASE(unlocked_callbacks_leave_the_bufferevent_to_other_threads)
{
	for_each_kind([](const Kind &kind) {
		BOOST_TEST((kind.make(Base(), -1, BEV_OPT_UNLOCK_CALLBACKS) ==
			    nullptr)); // only with deferred ones
		Base base;
		Connection c(base, kind,
			     BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS |
				     BEV_OPT_UNLOCK_CALLBACKS);
		bool locked = false;
		c.told.on_read = [&](bufferevent *bev) {
			std::thread([&] {
				bufferevent_lock(bev);
				locked = true;
				bufferevent_unlock(bev);
			}).join();
		};
		bufferevent_enable(c.bev, EV_READ);
		c.send("text");
		BOOST_TEST(base.until([&] { return c.told.reads == 1; }));
		BOOST_TEST(locked);
	});
}

BOOST_AUTO_TEST_CASE(a_bufferevent_with_a_higher_priority_is_told_first)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		event_base_priority_init(base, 3);
		Connection late(base, kind), early(base, kind);
		BOOST_TEST(bufferevent_priority_set(late.bev, 2) == 0);
		BOOST_TEST(bufferevent_priority_set(early.bev, 0) == 0);
		BOOST_TEST(bufferevent_get_priority(early.bev) == 0);
		bool told_before = false;
		late.told.on_read = [&](bufferevent *) { told_before = early.told.reads == 1; };
		late.send("late");
		early.send("early");
		for (Connection *c : {&late, &early})
			bufferevent_enable(c->bev, EV_READ);
		BOOST_TEST(
			base.until([&] { return late.told.reads == 1 && early.told.reads == 1; }));
		BOOST_TEST(told_before);
	});
}

BOOST_AUTO_TEST_CASE(a_flush_of_a_socket_has_nothing_to_do)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		BOOST_TEST(bufferevent_flush(c.bev, EV_READ | EV_WRITE, BEV_FLUSH) == 0);
		BOOST_TEST(bufferevent_flush(c.bev, EV_WRITE, BEV_FINISHED) == 0);
	});
}

// ------------------------------------------------------------ filters, and libevent's own users

namespace {

bufferevent_filter_result invert(evbuffer *from, evbuffer *to, ev_ssize_t, bufferevent_flush_mode,
				 void *)
{
	std::string text(evbuffer_get_length(from), '\0');
	evbuffer_remove(from, text.data(), text.size());
	for (char &c : text)
		c = char(~c);
	return text.empty() || evbuffer_add(to, text.data(), text.size()) != 0 ? BEV_NEED_MORE
									       : BEV_OK;
}

} // namespace

BOOST_AUTO_TEST_CASE(filters_work_on_top)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		Told told;
		std::string const text = pattern_text(300000);
		std::string inverted = text;
		for (char &x : inverted)
			x = char(~x);
		bufferevent *const filter = bufferevent_filter_new(
			c.bev, invert, invert, BEV_OPT_CLOSE_ON_FREE, nullptr, nullptr);
		c.bev = nullptr; // the filter's
		listen_to(filter, told);
		bufferevent_enable(filter, EV_READ | EV_WRITE);
		BOOST_TEST(bufferevent_getfd(bufferevent_get_underlying(filter)) == int(c.ours));
		bufferevent_write(filter, text.data(), text.size());
		std::string got;
		size_t sent = 0;
		BOOST_TEST(base.until([&] {
			got += c.received();
			if (ssize_t n = send(c.peer, inverted.data() + sent, inverted.size() - sent,
					     MSG_NOSIGNAL);
			    n > 0)
				sent += size_t(n);
			return got.size() == text.size() && told.data.size() == text.size();
		}));
		BOOST_TEST((got == inverted));
		BOOST_TEST((told.data == text));
		shutdown(c.peer, SHUT_WR);
		BOOST_TEST(base.until([&] { return (told.events & BEV_EVENT_EOF) != 0; }));
		bufferevent_free(filter);
		base.settle();
	});
}

BOOST_AUTO_TEST_CASE(a_pair_of_libevents_passes_on_what_it_reads_and_writes)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		bufferevent *pair[2];
		BOOST_TEST_REQUIRE(bufferevent_pair_new(base, 0, pair) == 0);
		Told near, far;
		listen_to(pair[0], near);
		listen_to(pair[1], far);
		c.told.take = near.take = far.take = false;
		c.told.on_read = [&](bufferevent *b) {
			bufferevent_write_buffer(pair[0], bufferevent_get_input(b));
		};
		far.on_read = [](bufferevent *b) {
			bufferevent_write_buffer(b, bufferevent_get_input(b));
		};
		near.on_read = [&](bufferevent *b) {
			bufferevent_write_buffer(c.bev, bufferevent_get_input(b));
		};
		c.told.on_event = [&](bufferevent *, short) {
			bufferevent_flush(pair[0], EV_WRITE, BEV_FINISHED);
		};
		for (bufferevent *b : {c.bev, pair[0], pair[1]})
			bufferevent_enable(b, EV_READ | EV_WRITE);
		std::string const text = pattern_text(300000);
		std::string got;
		size_t sent = 0;
		BOOST_TEST(base.until([&] {
			got += c.received();
			if (ssize_t n = send(c.peer, text.data() + sent, text.size() - sent,
					     MSG_NOSIGNAL | MSG_DONTWAIT);
			    n > 0)
				sent += size_t(n);
			return got.size() == text.size();
		}));
		BOOST_TEST((got == text));
		shutdown(c.peer, SHUT_WR);
		BOOST_TEST(base.until([&] { return (far.events & BEV_EVENT_EOF) != 0; }));
		BOOST_TEST(c.told.events == (BEV_EVENT_READING | BEV_EVENT_EOF));
		bufferevent_free(pair[0]);
		bufferevent_free(pair[1]);
	});
}

BOOST_AUTO_TEST_CASE(libevents_http_server_runs_on_it)
{
	for_each_kind([](const Kind &kind) {
		static bufferevent *(*make)(event_base *, evutil_socket_t, int);
		make = kind.make;
		Base base;
		evhttp *const http = evhttp_new(base);
		evhttp_set_bevcb(
			http, [](event_base *b, void *) { return make(b, -1, 0); }, nullptr);
		evhttp_set_gencb(
			http,
			[](evhttp_request *request, void *) {
				evbuffer *const body = evbuffer_new();
				evbuffer_add_buffer(body, evhttp_request_get_input_buffer(request));
				evhttp_send_reply(request, 200, "OK", body);
				evbuffer_free(body);
			},
			nullptr);
		evhttp_bound_socket *const bound =
			evhttp_bind_socket_with_handle(http, "127.0.0.1", 0);
		BOOST_TEST_REQUIRE(bound != nullptr);
		sockaddr_in address;
		socklen_t n = sizeof address;
		getsockname(evhttp_bound_socket_get_fd(bound),
			    reinterpret_cast<sockaddr *>(&address), &n);

		evhttp_connection *const connection = evhttp_connection_base_bufferevent_new(
			base, nullptr, make(base, -1, BEV_OPT_CLOSE_ON_FREE), "127.0.0.1",
			ntohs(address.sin_port));
		std::string const text = pattern_text(200000);
		for (int round = 0; round < 3; ++round) {
			static std::string answer;
			static bool done;
			answer.clear();
			done = false;
			evhttp_request *const request = evhttp_request_new(
				[](evhttp_request *r, void *) {
					done = true;
					if (r == nullptr)
						return;
					evbuffer *const body = evhttp_request_get_input_buffer(r);
					answer.resize(evbuffer_get_length(body));
					evbuffer_remove(body, answer.data(), answer.size());
				},
				nullptr);
			evbuffer_add(evhttp_request_get_output_buffer(request), text.data(),
				     text.size());
			BOOST_TEST(evhttp_make_request(connection, request, EVHTTP_REQ_POST, "/") ==
				   0);
			BOOST_TEST_REQUIRE(base.until([&] { return done; }));
			BOOST_TEST((answer == text));
		}
		evhttp_connection_free(connection);
		evhttp_free(http);
		base.settle();
	});
}
