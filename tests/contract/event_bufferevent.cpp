// SPDX-License-Identifier: MIT
//
// bufferevent_sigevec_new: data, watermarks, timeouts, ends and errors are what
// bufferevent_socket_new makes of them.
#define BOOST_TEST_MODULE event_bufferevent
#include "libevent.hpp"

using namespace contract;

namespace {

/// No callbacks: libevent calls a read callback that leaves a full input as it is again and again.
void leave_input(bufferevent *bev)
{
	bufferevent_setcb(bev, nullptr, nullptr, nullptr, nullptr);
}

} // namespace

BOOST_AUTO_TEST_CASE(what_arrives_is_read_in_order_and_whole)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		bufferevent_enable(c.bev, EV_READ);
		c.send("first");
		BOOST_TEST(base.until([&] { return c.told.data == "first"; }));
		c.send(" and ");
		c.send("second");
		BOOST_TEST(base.until([&] { return c.told.data == "first and second"; }));
		BOOST_TEST(c.told.event_calls == 0);
	});
}

BOOST_AUTO_TEST_CASE(nothing_is_read_before_reading_is_enabled)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		c.send("text");
		base.settle();
		BOOST_TEST(c.told.reads == 0);
		BOOST_TEST(c.unread() == 4);
	});
}

BOOST_AUTO_TEST_CASE(megabytes_go_both_ways_at_once)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		std::string const there = pattern_text(3000000), back = pattern_text(2000001);
		std::string got;
		std::thread peer([&] {
			size_t sent = 0;
			char piece[50000];
			while (sent < back.size() || got.size() < there.size()) {
				pollfd p{c.peer, short(POLLIN | (sent < back.size() ? POLLOUT : 0)),
					 0};
				if (poll(&p, 1, 1000 * int(hang_limit.count())) <= 0)
					break;
				if (p.revents & POLLOUT)
					if (ssize_t n = send(c.peer, back.data() + sent,
							     back.size() - sent, MSG_NOSIGNAL);
					    n > 0)
						sent += size_t(n);
				if (p.revents & POLLIN)
					if (ssize_t n = recv(c.peer, piece, sizeof piece, 0); n > 0)
						got.append(piece, size_t(n));
			}
			shutdown(c.peer, SHUT_WR);
		});
		bufferevent_enable(c.bev, EV_READ);
		bufferevent_write(c.bev, there.data(), there.size());
		BOOST_TEST(base.until([&] { return (c.told.events & BEV_EVENT_EOF) != 0; }));
		peer.join();
		BOOST_TEST((got == there));
		BOOST_TEST((c.told.data == back));
		BOOST_TEST(output_length(c.bev) == 0u);
	});
}

BOOST_AUTO_TEST_CASE(below_the_low_watermark_the_read_callback_does_not_run)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		bufferevent_setwatermark(c.bev, EV_READ, 10, 0);
		bufferevent_enable(c.bev, EV_READ);
		c.send("123456789");
		BOOST_TEST(base.until([&] { return input_length(c.bev) == 9; }));
		base.settle();
		BOOST_TEST(c.told.reads == 0);
		c.send("0");
		BOOST_TEST(base.until([&] { return c.told.reads == 1; }));
		BOOST_TEST(c.told.data == "1234567890");
	});
}

BOOST_AUTO_TEST_CASE(no_more_than_the_high_watermark_is_read_until_there_is_room)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		leave_input(c.bev);
		bufferevent_setwatermark(c.bev, EV_READ, 0, 1000);
		bufferevent_enable(c.bev, EV_READ);
		std::string const text = pattern_text(5000);
		c.send(text);
		BOOST_TEST(base.until([&] { return input_length(c.bev) == 1000; }));
		base.settle();
		BOOST_TEST(input_length(c.bev) == 1000u);
		BOOST_TEST(c.unread() ==
			   4000); // the rest is still the kernel's, and holds the sender up
		std::string got;
		while (got.size() < text.size()) {
			got += drain(c.bev);
			BOOST_TEST_REQUIRE(base.until([&] {
				return input_length(c.bev) > 0 || got.size() == text.size();
			}));
			BOOST_TEST_REQUIRE(input_length(c.bev) <= 1000u);
		}
		BOOST_TEST((got == text));
	});
}

BOOST_AUTO_TEST_CASE(a_full_input_is_told_until_there_is_room)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		c.told.take = false;
		c.told.on_read = [&](bufferevent *bev) {
			if (c.told.reads >= 3)
				c.told.data += drain(bev);
		};
		bufferevent_setwatermark(c.bev, EV_READ, 0, 4);
		bufferevent_enable(c.bev, EV_READ);
		c.send("12345678");
		BOOST_TEST(base.until([&] { return c.told.data == "12345678"; }));
	});
}

BOOST_AUTO_TEST_CASE(a_high_watermark_set_while_waiting_holds_for_the_next_arrival)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		leave_input(c.bev);
		bufferevent_enable(c.bev, EV_READ);
		base.settle(); // a receive is under way
		bufferevent_setwatermark(c.bev, EV_READ, 0, 100);
		std::string const text = pattern_text(250);
		c.send(text);
		BOOST_TEST(base.until([&] { return input_length(c.bev) == 100; }));
		base.settle();
		BOOST_TEST(input_length(c.bev) == 100u);
		std::string got = drain(c.bev);
		BOOST_TEST(base.until([&] { return input_length(c.bev) == 100; }));
		got += drain(c.bev);
		BOOST_TEST(base.until([&] { return input_length(c.bev) == 50; }));
		BOOST_TEST((got + drain(c.bev) == text));
	});
}

BOOST_AUTO_TEST_CASE(the_write_callback_runs_when_the_output_is_at_the_low_watermark)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		size_t length_told = 1;
		c.told.on_write = [&](bufferevent *b) { length_told = output_length(b); };
		bufferevent_write(c.bev, "text", 4);
		BOOST_TEST(base.until([&] { return c.told.writes == 1; }));
		BOOST_TEST(length_told == 0u);
		BOOST_TEST(c.received() == "text");

		std::string const much = pattern_text(1000000);
		bufferevent_setwatermark(c.bev, EV_WRITE, 100000, 0);
		bufferevent_write(c.bev, much.data(), much.size());
		base.settle();
		BOOST_TEST(c.told.writes ==
			   1); // the peer has not read: there is more than the mark
		BOOST_TEST(output_length(c.bev) > 100000u);
		std::string got;
		BOOST_TEST(base.until([&] {
			got += c.received();
			return c.told.writes >= 2;
		}));
		BOOST_TEST(length_told <= 100000u);
		BOOST_TEST(base.until([&] {
			got += c.received();
			return got.size() == much.size();
		}));
		BOOST_TEST((got == much));
	});
}

BOOST_AUTO_TEST_CASE(enabling_writes_with_nothing_to_write_tells_that_there_is_room)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		base.settle();
		BOOST_TEST(c.told.writes == 0);
		bufferevent_enable(c.bev, EV_WRITE);
		BOOST_TEST(base.until([&] { return c.told.writes == 1; }));
		base.settle();
		BOOST_TEST(c.told.writes == 1);
	});
}

BOOST_AUTO_TEST_CASE(nothing_is_sent_while_writing_is_disabled)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		bufferevent_disable(c.bev, EV_WRITE);
		bufferevent_write(c.bev, "text", 4);
		base.settle();
		BOOST_TEST(c.received().empty());
		BOOST_TEST(output_length(c.bev) == 4u);
		bufferevent_enable(c.bev, EV_WRITE);
		BOOST_TEST(base.until([&] { return output_length(c.bev) == 0; }));
		BOOST_TEST(c.received() == "text");
	});
}

BOOST_AUTO_TEST_CASE(while_reading_is_disabled_the_data_is_the_programs)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		bufferevent_enable(c.bev, EV_READ);
		base.settle(); // a receive is under way
		bufferevent_disable(c.bev, EV_READ);
		c.send("for read(2)");
		base.settle();
		BOOST_TEST(c.told.reads == 0);
		char text[20] = "";
		BOOST_TEST(read(c.ours, text, sizeof text - 1) == 11);
		BOOST_TEST(text == "for read(2)");
		c.send("for the callback");
		bufferevent_enable(c.bev, EV_READ);
		BOOST_TEST(base.until([&] { return c.told.data == "for the callback"; }));
	});
}

BOOST_AUTO_TEST_CASE(a_read_timeout_is_told_once_and_disables_reading)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		timeval const soon{0, 20000};
		bufferevent_set_timeouts(c.bev, &soon, nullptr);
		bufferevent_enable(c.bev, EV_READ);
		BOOST_TEST(base.until([&] { return c.told.event_calls == 1; }));
		BOOST_TEST(c.told.events == (BEV_EVENT_TIMEOUT | BEV_EVENT_READING));
		BOOST_TEST((bufferevent_get_enabled(c.bev) & EV_READ) == 0);
		c.send("too late");
		base.settle();
		BOOST_TEST(c.told.reads == 0);
		BOOST_TEST(c.unread() == 8);
		bufferevent_enable(c.bev, EV_READ);
		BOOST_TEST(base.until([&] { return c.told.data == "too late"; }));
	});
}

BOOST_AUTO_TEST_CASE(data_starts_the_read_timeout_anew)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		timeval const hour{3600, 0};
		bufferevent_set_timeouts(c.bev, &hour, nullptr);
		bufferevent_enable(c.bev, EV_READ);
		base.settle();
		timeval before, after;
		BOOST_TEST_REQUIRE(event_pending(&c.bev->ev_read, EV_TIMEOUT, &before));
		usleep(20000);
		c.send("text");
		BOOST_TEST(base.until([&] { return c.told.reads == 1; }));
		BOOST_TEST_REQUIRE(event_pending(&c.bev->ev_read, EV_TIMEOUT, &after));
		BOOST_TEST(evutil_timercmp(&before, &after, <));
	});
}

BOOST_AUTO_TEST_CASE(a_write_timeout_is_told_when_the_peer_does_not_read)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		timeval const soon{0, 50000};
		bufferevent_set_timeouts(c.bev, nullptr, &soon);
		std::string const much = pattern_text(4000000);
		bufferevent_write(c.bev, much.data(), much.size());
		BOOST_TEST(base.until([&] { return c.told.event_calls == 1; }));
		BOOST_TEST(c.told.events == (BEV_EVENT_TIMEOUT | BEV_EVENT_WRITING));
		BOOST_TEST((bufferevent_get_enabled(c.bev) & EV_WRITE) == 0);
		size_t const rest = output_length(c.bev);
		std::string got = c.received();
		base.settle();
		BOOST_TEST(output_length(c.bev) == rest);
		BOOST_TEST(got.size() + rest ==
			   much.size());     // every byte is either sent or still there
		timeval const hour{3600, 0}; // not none: libevent would go on with the short one
		bufferevent_set_timeouts(c.bev, nullptr, &hour);
		bufferevent_enable(c.bev, EV_WRITE);
		BOOST_TEST(base.until([&] {
			got += c.received();
			return got.size() == much.size();
		}));
		BOOST_TEST((got == much));
	});
}

BOOST_AUTO_TEST_CASE(the_end_is_told_after_all_data_and_disables_reading)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		bufferevent_enable(c.bev, EV_READ);
		c.send("the last words");
		shutdown(c.peer, SHUT_WR);
		std::string at_end;
		c.told.on_event = [&](bufferevent *, short) { at_end = c.told.data; };
		BOOST_TEST(base.until([&] { return c.told.event_calls == 1; }));
		BOOST_TEST(c.told.events == (BEV_EVENT_EOF | BEV_EVENT_READING));
		BOOST_TEST(at_end == "the last words");
		BOOST_TEST((bufferevent_get_enabled(c.bev) & EV_READ) == 0);
		bufferevent_write(c.bev, "answer", 6); // the other direction goes on
		BOOST_TEST(base.until([&] { return output_length(c.bev) == 0; }));
		BOOST_TEST(c.received() == "answer");
		bufferevent_enable(c.bev, EV_READ); // and the end is still the end
		BOOST_TEST(base.until([&] { return c.told.event_calls == 2; }));
	});
}

BOOST_AUTO_TEST_CASE(a_reset_is_an_error_with_its_errno)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Listener listener;
		Fd peer(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
		BOOST_TEST_REQUIRE(connect(peer, listener.to(), sizeof listener.address) == 0);
		Fd ours(accept4(listener.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
		Told told;
		bufferevent *const bev = kind.make(base, ours, 0);
		listen_to(bev, told);
		bufferevent_enable(bev, EV_READ);
		base.settle();
		linger const at_once{1, 0};
		setsockopt(peer, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
		peer.reset();
		BOOST_TEST(base.until([&] { return told.event_calls == 1; }));
		BOOST_TEST(told.events == (BEV_EVENT_ERROR | BEV_EVENT_READING));
		BOOST_TEST(told.error == ECONNRESET);
		bufferevent_free(bev);
	});
}

BOOST_AUTO_TEST_CASE(writing_to_who_has_gone_is_an_error_and_no_signal)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		c.peer.reset();
		bufferevent_write(c.bev, "text", 4);
		BOOST_TEST(base.until([&] { return c.told.event_calls == 1; }));
		BOOST_TEST(c.told.events == (BEV_EVENT_ERROR | BEV_EVENT_WRITING));
		BOOST_TEST(c.told.error == EPIPE);
		BOOST_TEST((bufferevent_get_enabled(c.bev) & EV_WRITE) == 0);
	});
}

BOOST_AUTO_TEST_CASE(files_and_references_in_the_output_are_sent)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		char name[] = "/tmp/sigevec-test.XXXXXX";
		int const file = mkstemp(name);
		unlink(name);
		std::string const text = pattern_text(100000);
		BOOST_TEST_REQUIRE(write(file, text.data(), text.size()) == ssize_t(text.size()));
		evbuffer *const output = bufferevent_get_output(c.bev);
		BOOST_TEST(evbuffer_add_reference(output, "head ", 5, nullptr, nullptr) == 0);
		BOOST_TEST(evbuffer_add_file(output, file, 10, 90000) == 0);
		evbuffer_add(output, " tail", 5);
		std::string got;
		BOOST_TEST(base.until([&] {
			got += c.received();
			return got.size() == 90010;
		}));
		BOOST_TEST((got == "head " + text.substr(10, 90000) + " tail"));
	});
}
