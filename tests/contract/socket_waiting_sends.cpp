// SPDX-License-Identifier: MIT
//
// Sends that wait for room: whatever the other side is like, they can be cancelled, and go out
// whole when there is room; and cancelling one of many costs what one costs.
// (calls_table_writing.cpp: how they end.)
#define BOOST_TEST_MODULE socket_waiting_sends
#include "socket_calls.hpp"

#include <sys/resource.h>
#include <termios.h>

namespace {

using Pending = Way::Pending;

double processor_time()
{
	timespec t{};
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

/// What cancelling n receives of one socket costs, each with a data of its own.
double cost_of_cancelling(int n)
{
	Channel ec;
	BOOST_TEST_REQUIRE(ec_set_limit(ec, 1000000) == 0);
	Stream s = unix_stream();
	static char byte;
	for (int i = 0; i < n; ++i)
		BOOST_TEST_REQUIRE(ev_recv(s.reader, &byte, 1, 0, ec, as_data(uintptr_t(i) + 1)) ==
				   0);
	const double start = processor_time();
	for (int i = 0; i < n; ++i)
		if (ev_cancel(ec, as_data(uintptr_t(i) + 1)) != 0)
			BOOST_FAIL("receive " << i << " is not found");
	const double cost = processor_time() - start;
	event_data_t events[256];
	for (int left = n; left > 0;) {
		const int got = ec_next_events(ec, events, 256, nullptr);
		BOOST_TEST_REQUIRE(got > 0);
		left -= got;
	}
	return cost;
}

/// What the end of a channel costs in which n receives wait, each on a socket of its own.
double cost_of_the_end(unsigned flags, int n)
{
	Channel ec(flags);
	std::vector<Fd> sockets;
	static char byte;
	for (int i = 0; i < n; ++i) {
		sockets.emplace_back(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
		BOOST_TEST_REQUIRE(sockets.back() >= 0);
		BOOST_TEST_REQUIRE(ev_recv(sockets.back(), &byte, 1, 0, ec, nullptr) == 0);
	}
	hand_over(ec);
	const double before = processor_time();
	ec_destroy(ec.release());
	return processor_time() - before;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_send_to_a_peer_that_will_send_no_more_is_cancelled)
{
	for_each_way_and_pair(
		{unix_stream_kind, unix_packet_kind, tcp4_kind}, [](Way &way, Pair &s) {
			fill(s.a);
			BOOST_TEST_REQUIRE(shutdown(s.b, SHUT_WR) == 0);
			Pending &p = way.send(s.a, pattern(100000));
			way.go();
			if (!way.pending(p))
				return; // TCP has made room
			if (!way.cancel(p))
				return; // the same, for a part
			Outcome const end = way.finish(p);
			bool const made_room = end.result > 0 && is_tcp(s.a); // between the two
			BOOST_TEST((made_room || end == failed(ECANCELED)), end);
		});
}

BOOST_AUTO_TEST_CASE(a_channel_whose_send_waits_for_such_a_peer_is_destroyed)
{
	for (unsigned flags : {0u, unsigned(EC_SINGLE), unsigned(EC_SINGLE | EC_BATCH)}) {
		Pair s = make_pair(unix_stream_kind);
		fill(s.a);
		BOOST_TEST_REQUIRE(shutdown(s.b, SHUT_WR) == 0);
		const ec_t ec = ec_create(flags | EC_CLOEXEC);
		BOOST_TEST(ev_send(s.a, "data", 4, 0, ec, nullptr) == 0);
		if ((flags & EC_BATCH) != 0)
			ec_submit(ec);
		BOOST_TEST(ec_destroy(ec) == 0);
	}
}

BOOST_AUTO_TEST_CASE(a_datagram_that_found_no_room_goes_out_as_it_was)
{
	for_each_way([](Way &way) {
		Fd const receiver = bound_socket(unix_datagram_kind);
		Address to = address_of(receiver);
		Fd const other = new_socket(unix_datagram_kind),
			 sender = new_socket(unix_datagram_kind);
		BOOST_TEST_REQUIRE(connect(sender, to.get(), to.length) == 0);
		unsigned before = 0;
		while (sendto(other, "f", 1, MSG_DONTWAIT, to.get(), to.length) == 1)
			++before;
		Pending &p = way.send(sender, "x");
		way.go();
		BOOST_TEST(way.pending(p));
		std::string all;
		for (unsigned i = 0; i <= before; ++i) {
			std::string const one = way.take(receiver, 1);
			BOOST_TEST(one.size() == 1);
			all += one;
		}
		BOOST_TEST(all == std::string(before, 'f') + "x");
		BOOST_TEST(way.finish(p) == ok(1));
		BOOST_TEST(!has_data(receiver));
	});
}

BOOST_AUTO_TEST_CASE(a_write_that_a_stopped_terminal_holds_up_is_cancelled)
{
	Stream s = pty_stream();
	BOOST_TEST_REQUIRE(tcflow(s.reader, TCOOFF) == 0);
	Request &r = start_write(s.reader, "held up");
	BOOST_TEST(r.pending());
	BOOST_TEST(aio_cancel(s.reader, &r.cb) == AIO_CANCELED);
	BOOST_TEST(finish(r) == failed(ECANCELED));
	BOOST_TEST_REQUIRE(tcflow(s.reader, TCOON) == 0);
	BOOST_TEST(!has_data(s.writer));
}

/// Ready to be written, says poll(), and yet the call sleeps: nobody will ever read.
BOOST_AUTO_TEST_CASE(a_write_to_a_full_terminal_without_a_reader_is_cancelled)
{
	for (int i = 0; i < 5; ++i) {
		Stream s = pty_stream();
		for (int refusals = 0; refusals < 5;
		     ++refusals) { // the kernel's thread makes room for a while
			if (fill(s.writer) != 0)
				refusals = 0;
			usleep(1000);
		}
		s.reader.reset();
		Request &r = start_write(s.writer, pattern(5000));
		// The kernel's thread may have made room for all of it, or for a part: what has
		// begun is not cancelled, and waits for ever, as the call does.
		if (r.pending() && aio_cancel(s.writer, &r.cb) == AIO_CANCELED)
			BOOST_TEST(finish(r) == failed(ECANCELED));
	}
}

BOOST_AUTO_TEST_CASE(a_connect_that_waits_for_room_with_the_listener_is_cancelled)
{
	for_each_way([](Way &way) {
		Fd const listener = listening_socket(unix_stream_kind, 0);
		Address to = address_of(listener);
		std::vector<Fd> before;
		for (;;) {
			before.push_back(new_socket(unix_stream_kind));
			set_nonblocking(before.back());
			if (connect(before.back(), to.get(), to.length) != 0)
				break;
		}
		Fd const s = new_socket(unix_stream_kind);
		Pending &p = way.connect(s, to.get(), to.length);
		way.go();
		BOOST_TEST(way.pending(p));
		BOOST_TEST(way.cancel(p));
		BOOST_TEST(way.finish(p) == failed(ECANCELED));
	});
}

/// Sixteen times as many cost about sixteen times as much, and 256 times if each looks at all
/// others. A cancel may be a turn of the driver's thread, or share one: that is 90 us at most.
BOOST_AUTO_TEST_CASE(cancelling_each_of_many_receives_is_linear)
{
	constexpr int times = 16, few = 2000, many = times * few;
	constexpr double turns = few * 90e-6 * slowness;
	double for_few = cost_of_cancelling(few), for_many = cost_of_cancelling(many);
	const auto is_linear = [&] { return for_many < std::max(for_few, turns) * times; };
	for (int i = 0; i < 12 && !is_linear(); ++i) {
		for_few = std::min(for_few, cost_of_cancelling(few));
		for_many = std::min(for_many, cost_of_cancelling(many));
	}
	BOOST_TEST_MESSAGE(few << " cost " << for_few << " s, " << many << " cost " << for_many
			       << " s");
	BOOST_TEST(is_linear(),
		   few << " cost " << for_few << " s, " << many << " cost " << for_many << " s");
}

/// Eight times as many cost 64 times as much if each looks at all others.
BOOST_AUTO_TEST_CASE(the_end_of_a_channel_costs_each_of_its_receives_the_same)
{
	static constexpr int times = 8, few = 900, many = times * few;
	rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < many + 100)
		return; // not that many descriptors
	for_each_channel_kind([&](unsigned flags) {
		constexpr double least = few * 50e-6 * slowness;
		double for_few = cost_of_the_end(flags, few),
		       for_many = cost_of_the_end(flags, many);
		const auto is_linear = [&] {
			return for_many < 3 * std::max(for_few, least) * times;
		};
		for (int i = 0; i < 3 && !is_linear(); ++i)
			for_many = std::min(for_many, cost_of_the_end(flags, many));
		BOOST_TEST(is_linear(), few << " cost " << for_few << " s, " << many << " cost "
					    << for_many << " s");
	});
}
