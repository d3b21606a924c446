// SPDX-License-Identifier: MIT
//
// bufferevent_sigevec_new: what is in the socket is the program's until libevent has read it, and
// the loop is libevent's: its turns, priorities, breaks and deferred callbacks.
// bufferevent_socket_new is the judge of every case.
#define BOOST_TEST_MODULE event_bufferevent_socket
#include "libevent.hpp"

#include <csignal>

using namespace contract;

namespace {

std::string rest_of(const Sockets &s)
{
	char piece[100];
	const ssize_t n = recv(s.ours, piece, sizeof piece, MSG_DONTWAIT);
	return std::string(piece, n < 0 ? 0 : size_t(n));
}

/// Ways in which a bufferevent leaves its descriptor to the program.
struct Way {
	const char *name;
	void (*leave)(Connection &);
};
constexpr Way ways[] = {
	{"bufferevent_free", [](Connection &c) { c.free(); }},
	{"bufferevent_setfd", [](Connection &c) { bufferevent_setfd(c.bev, -1); }},
	{"bufferevent_disable", [](Connection &c) { bufferevent_disable(c.bev, EV_READ); }},
};

template <class Body> void for_each_way(Body body)
{
	for_each_kind([&](const Kind &kind) {
		for (Way const &way : ways)
			BOOST_TEST_CONTEXT(way.name) body(kind, way);
	});
}

/// Bufferevents of a connected pair of datagram or packet sockets.
struct Packets {
	Packets(Base &base, const Kind &kind, int type)
	{
		int ends[2];
		BOOST_TEST_REQUIRE(
			socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
		ours.reset(ends[0]);
		peer.reset(ends[1]);
		bev = kind.make(base, ours, 0);
		listen_to(bev, told);
		bufferevent_enable(bev, EV_READ);
	}
	~Packets() { bufferevent_free(bev); }
	Fd ours, peer;
	bufferevent *bev;
	Told told;
};

} // namespace

// ---------------------------------------------------------------- what nobody has read

BOOST_AUTO_TEST_CASE(what_has_come_is_still_in_the_socket_when_the_bufferevent_leaves_it)
{
	for_each_way([](const Kind &kind, const Way &way) {
		Base base;
		Connection c(base, kind);
		bufferevent_enable(c.bev, EV_READ);
		base.settle(); // it waits for data
		c.send("text");
		way.leave(c);
		base.settle();
		BOOST_TEST(c.told.reads == 0);
		BOOST_TEST(rest_of(c) == "text");
	});
}

BOOST_AUTO_TEST_CASE(also_when_that_happens_in_the_callback_of_another_one_in_the_same_turn)
{
	for_each_way([](const Kind &kind, const Way &way) {
		Base base;
		Connection a(base, kind), b(base, kind);
		a.told.on_read = [&](bufferevent *) { way.leave(b); };
		b.told.on_read = [&](bufferevent *) { way.leave(a); };
		for (Connection *c : {&a, &b})
			bufferevent_enable(c->bev, EV_READ);
		base.settle();
		for (Connection *c : {&a, &b})
			c->send("text");
		BOOST_TEST(base.until([&] { return a.told.reads + b.told.reads == 1; }));
		base.settle();
		BOOST_TEST(a.told.reads + b.told.reads == 1);
		BOOST_TEST(rest_of(a.told.reads == 0 ? a : b) == "text");
	});
}

BOOST_AUTO_TEST_CASE(no_more_is_read_than_the_callback_has_been_told_of)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		c.told.on_read = [&](bufferevent *bev) { bufferevent_disable(bev, EV_READ); };
		bufferevent_enable(c.bev, EV_READ);
		base.settle();
		c.send(pattern_text(40000));
		BOOST_TEST(base.until([&] { return c.told.reads == 1; }));
		base.settle();
		BOOST_TEST(c.told.reads == 1);
		BOOST_TEST(c.told.data.size() + size_t(c.unread()) == 40000u);
	});
}

BOOST_AUTO_TEST_CASE(datagrams_and_packets_come_whole)
{
	for_each_kind([](const Kind &kind) {
		for (int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
			Base base;
			Packets p(base, kind, type);
			base.settle();
			for (size_t size : {1, 3000, 4000}) {
				std::string const text = pattern_text(size);
				p.told.data.clear();
				BOOST_TEST_REQUIRE(send(p.peer, text.data(), size, 0) ==
						   ssize_t(size));
				BOOST_TEST(base.until([&] { return !p.told.data.empty(); }));
				BOOST_TEST((p.told.data == text));
			}
		}
	});
}

BOOST_AUTO_TEST_CASE(a_datagram_is_one_piece_of_the_output_as_libevent_sends_it)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Packets p(base, kind, SOCK_DGRAM);
		std::string const text = pattern_text(9000);
		bufferevent_write(p.bev, text.data(), text.size());
		BOOST_TEST(base.until([&] { return output_length(p.bev) == 0; }));
		std::string got(20000, '\0');
		BOOST_TEST(recv(p.peer, got.data(), got.size(), MSG_DONTWAIT) == 9000);
	});
}

BOOST_AUTO_TEST_CASE(a_file_that_becomes_shorter_ends_the_output_and_nothing_else)
{
	size_t came[2] = {};
	short events[2] = {};
	int i = 0;
	for_each_kind([&](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		char name[] = "/tmp/sigevec-test.XXXXXX";
		int const file = mkstemp(name);
		unlink(name);
		BOOST_TEST_REQUIRE(ftruncate(file, 100000) == 0);
		BOOST_TEST(evbuffer_add_file(bufferevent_get_output(c.bev), file, 0, 100000) == 0);
		BOOST_TEST_REQUIRE(ftruncate(file, 10000) == 0);
		std::string got;
		BOOST_TEST(base.until([&] {
			got += c.received();
			return c.told.event_calls == 1;
		}));
		came[i] = got.size();
		events[i++] = c.told.events;
	});
	BOOST_TEST(came[0] == came[1]);
	BOOST_TEST(events[0] == events[1]);
}

BOOST_AUTO_TEST_CASE(the_descriptor_stands_where_libevents_tls_looks_for_it)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		BOOST_TEST(event_get_fd(&c.bev->ev_read) == int(c.ours));
		timeval const moment{0, 1000};
		bufferevent_set_timeouts(c.bev, &moment, nullptr);
		bufferevent_enable(c.bev, EV_READ);
		BOOST_TEST(event_get_fd(&c.bev->ev_read) == int(c.ours));
		BOOST_TEST(base.until([&] { return c.told.event_calls == 1; }));
		BOOST_TEST(event_get_fd(&c.bev->ev_read) == int(c.ours));
		Sockets other;
		bufferevent_setfd(c.bev, other.ours);
		BOOST_TEST(event_get_fd(&c.bev->ev_read) == int(other.ours));
		bufferevent_setfd(c.bev, -1);
		BOOST_TEST(event_get_fd(&c.bev->ev_read) == -1);
	});
}

BOOST_AUTO_TEST_CASE(a_descriptor_closed_in_the_callback_is_closed_for_the_peer)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		bufferevent_enable(c.bev, EV_READ);
		base.settle();
		bufferevent_disable(c.bev, EV_READ | EV_WRITE);
		bufferevent_setfd(c.bev, -1);
		c.ours.reset();
		char byte;
		BOOST_TEST(recv(c.peer, &byte, 1, MSG_DONTWAIT) == 0);
	});
}

// ---------------------------------------------------------------- the loop

BOOST_AUTO_TEST_CASE(after_a_loopbreak_no_further_callback_runs)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		std::vector<std::unique_ptr<Connection>> all;
		int reads = 0;
		for (int i = 0; i < 300; ++i) {
			all.push_back(std::make_unique<Connection>(base, kind));
			all.back()->told.on_read = [&](bufferevent *) {
				++reads;
				event_base_loopbreak(base);
			};
			bufferevent_enable(all.back()->bev, EV_READ);
		}
		base.settle();
		for (auto &c : all)
			c->send("text");
		for (int breaks = 1; breaks <= 5; ++breaks) {
			BOOST_TEST(event_base_dispatch(base) == 0);
			BOOST_TEST(reads == breaks);
		}
	});
}

BOOST_AUTO_TEST_CASE(a_descriptor_that_is_always_ready_holds_up_nobody_of_its_priority)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		event_base_priority_init(base, 3);
		Connection c(base, kind);
		Sockets busy;
		busy.send("never read");
		int turns = 0;
		event *const always = event_new(
			base, busy.ours, EV_READ | EV_PERSIST,
			[](evutil_socket_t, short, void *n) { ++*static_cast<int *>(n); }, &turns);
		event_priority_set(always, 0);
		event_add(always, nullptr);
		BOOST_TEST(bufferevent_priority_set(c.bev, 0) == 0);
		c.told.on_read = [&](bufferevent *) { event_base_loopbreak(base); };
		bufferevent_enable(c.bev, EV_READ);
		timeval const limit{hang_limit.count(), 0};
		event_base_loopexit(base, &limit);
		c.send("text");
		event_base_dispatch(base);
		BOOST_TEST(c.told.reads == 1);
		BOOST_TEST(turns < 1000);
		event_free(always);
	});
}

BOOST_AUTO_TEST_CASE(a_deferred_callback_runs_before_the_descriptor_is_looked_at_again)
{
	for_each_kind([](const Kind &kind) {
		for (int options :
		     {0, int(BEV_OPT_DEFER_CALLBACKS),
		      BEV_OPT_DEFER_CALLBACKS | BEV_OPT_THREADSAFE | BEV_OPT_UNLOCK_CALLBACKS}) {
			Base base;
			Connection c(base, kind, options);
			c.told.on_read = [](bufferevent *bev) {
				bufferevent_disable(bev, EV_READ);
			};
			bufferevent_enable(c.bev, EV_READ);
			base.settle();
			c.send("text");
			shutdown(c.peer, SHUT_WR);
			BOOST_TEST(base.until([&] { return c.told.reads == 1; }));
			base.settle();
			BOOST_TEST(c.told.data == "text");
			BOOST_TEST(c.told.event_calls == 0); // the end was not looked for
		}
	});
}

BOOST_AUTO_TEST_CASE(what_a_break_has_left_to_be_read_comes_before_more_is_written)
{
	std::string order[2];
	for_each_kind([&](const Kind &kind) {
		Base base;
		event_base_priority_init(base, 3);
		Connection c(base, kind);
		std::string &record = order[&kind - kinds];
		c.told.on_read = [&](bufferevent *) { record += "r"; };
		c.told.on_write = [&](bufferevent *) {
			record += "w";
			event_base_loopbreak(base);
		};
		bufferevent_disable(c.bev, EV_READ | EV_WRITE);
		bufferevent_setwatermark(c.bev, EV_WRITE, 1000, 0);
		bufferevent_set_max_single_write(c.bev, 2000);
		std::string const text = pattern_text(2500);
		bufferevent_write(c.bev, text.data(), text.size());
		base.settle();
		c.send("text");
		bufferevent_enable(c.bev, EV_READ | EV_WRITE);
		base.settle();
	});
	BOOST_TEST(order[0] == "wrw");
	BOOST_TEST(order[1] == order[0]);
}

BOOST_AUTO_TEST_CASE(a_turn_of_the_loop_is_one_of_the_programs)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		bufferevent_enable(c.bev, EV_READ);
		bool passed = false;
		timeval const moment{0, 20000};
		event_base_once(
			base, -1, EV_TIMEOUT,
			[](evutil_socket_t, short, void *p) { *static_cast<bool *>(p) = true; },
			&passed, &moment);
		event_base_loop(base, EVLOOP_ONCE); // nothing else is due
		BOOST_TEST(passed);
		c.send("text");
		event_base_loop(base, EVLOOP_ONCE);
		BOOST_TEST(c.told.reads == 1);
	});
}

BOOST_AUTO_TEST_CASE(what_is_ready_at_once_is_told_in_a_turn_that_does_not_wait)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		c.send("text");
		bufferevent_enable(c.bev, EV_READ);
		bufferevent_write(c.bev, "back", 4);
		event_base_loop(base, EVLOOP_NONBLOCK);
		BOOST_TEST(c.told.data == "text");
		BOOST_TEST(c.received() == "back");
	});
}

namespace {

/// What is told when the peer of a full socket says its last words and closes.
std::string told_at_the_end(const Kind &kind, int type, size_t others, bool read_first)
{
	Base base;
	std::vector<std::unique_ptr<Connection>> crowd;
	for (size_t i = 0; i < others; ++i)
		crowd.push_back(std::make_unique<Connection>(base, kind));
	Packets p(base, kind, type);
	std::string const text = pattern_text(8000);
	for (int i = 0; i < 100; ++i)
		evbuffer_add(bufferevent_get_output(p.bev), text.data(), text.size());
	base.settle();
	BOOST_TEST_REQUIRE(output_length(p.bev) > 0u);
	if (read_first) {
		bufferevent_disable(p.bev, EV_READ);
		bufferevent_enable(p.bev, EV_READ);
		base.settle();
	}
	std::string record;
	p.told.on_event = [&](bufferevent *, short what) {
		const bool error = (what & BEV_EVENT_ERROR) != 0;
		record +=
			" " + std::to_string(what) + " " + std::to_string(error ? p.told.error : 0);
	};
	p.told.on_read = [&](bufferevent *) { record += " " + p.told.data; };
	BOOST_TEST_REQUIRE(::send(p.peer, "the last words", 14, MSG_NOSIGNAL) == 14);
	p.peer.reset();
	base.until([&] { return bufferevent_get_enabled(p.bev) == 0; });
	return record;
}

} // namespace

// A base waits for the data of few bufferevents in another way than for that of many.
BOOST_AUTO_TEST_CASE(both_directions_of_a_full_socket_learn_of_its_end_in_one_turn)
{
	for (const size_t others : {0, 20})
		for (const int type : {SOCK_STREAM, SOCK_SEQPACKET})
			for (const bool read_first : {false, true})
				BOOST_TEST(told_at_the_end(kinds[1], type, others, read_first) ==
					   told_at_the_end(kinds[0], type, others, read_first));
}

// ---------------------------------------------------------------- large outputs

namespace {

/// What a callback of the program's sees leave the output at once.
size_t largest_removal;
void watch(evbuffer *, const evbuffer_cb_info *info, void *)
{
	largest_removal = std::max(largest_removal, info->n_deleted);
}

} // namespace

BOOST_AUTO_TEST_CASE(a_large_output_of_a_tcp_connection_is_told_as_one_in_pieces)
{
	for_each_kind([](const Kind &kind) {
		for (bool watched : {false, true})
			for (size_t low : {0, 40000}) {
				Base base;
				Listener listener;
				Told told;
				const Fd ours(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
				BOOST_TEST_REQUIRE(
					connect(ours, listener.to(), sizeof listener.address) == 0);
				const Fd peer(accept4(listener.fd, nullptr, nullptr, SOCK_CLOEXEC));
				evutil_make_socket_nonblocking(ours);
				bufferevent *const bev = kind.make(base, ours, 0);
				listen_to(bev, told);
				std::vector<size_t> left;
				size_t limit = 0; // of one write, in the callback
				told.on_write = [&](bufferevent *b) {
					left.push_back(output_length(b));
					limit = size_t(bufferevent_get_max_single_write(b));
				};
				bufferevent_setwatermark(bev, EV_WRITE, low, 0);
				if (watched)
					evbuffer_add_cb(bufferevent_get_output(bev), watch,
							nullptr);
				largest_removal = 0;
				for (const size_t single : {16384, 5000}) {
					BOOST_TEST(bufferevent_set_max_single_write(
							   bev, ev_ssize_t(single)) == 0);
					left.clear();
					std::string const text = pattern_text(300000);
					bufferevent_write(bev, text.data(), text.size());
					std::string got;
					BOOST_TEST(base.until([&] {
						char piece[100000];
						ssize_t n = recv(peer, piece, sizeof piece,
								 MSG_DONTWAIT);
						got.append(piece, n > 0 ? size_t(n) : 0);
						return got.size() == text.size() &&
						       output_length(bev) == 0;
					}));
					BOOST_TEST((got == text));
					BOOST_TEST_REQUIRE(!left.empty());
					// The first time is when there is no more than the mark,
					// and not yet one piece less.
					BOOST_TEST(left.front() <= low);
					BOOST_TEST(left.front() + single >= low);
					BOOST_TEST(left.back() == 0u);
					BOOST_TEST(limit == size_t(single));
					if (low == 0)
						BOOST_TEST(left.size() == 1u);
					BOOST_TEST(bufferevent_get_max_single_write(bev) ==
						   ev_ssize_t(single));
				}
				if (watched)
					BOOST_TEST(largest_removal <= 16384u);
				bufferevent_free(bev);
			}
	});
}
