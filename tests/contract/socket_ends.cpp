// SPDX-License-Identifier: MIT
//
// Ends of requests that the tables of calls (calls_table_*) have no scene for: without a free
// number, by the clock of a terminal, in events that nobody reads, and of more requests than a ring
// holds.
#define BOOST_TEST_MODULE socket_ends
#include "socket_calls.hpp"

#include <sys/resource.h>
#include <termios.h>

namespace {

/// As long as it exists, no number is free in this process.
class FullTable {
public:
	FullTable()
	{
		getrlimit(RLIMIT_NOFILE, &before_);
		const rlimit few{64, before_.rlim_max};
		BOOST_TEST_REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
		for (int fd; (fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)) >= 0;)
			filling_.emplace_back(fd);
	}
	FullTable(const FullTable &) = delete;
	~FullTable() { setrlimit(RLIMIT_NOFILE, &before_); }

private:
	rlimit before_{};
	std::vector<Fd> filling_;
};

int datum;

/// Not closed, and not reset.
bool is_connected(int client)
{
	char byte;
	return recv(client, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN;
}
/// How many connections are in the listener's queue.
int waiting_connections(int listener)
{
	BOOST_TEST_REQUIRE(fcntl(listener, F_SETFL, O_NONBLOCK) == 0);
	int count = 0;
	while (Fd(accept(listener, nullptr, nullptr)) >= 0)
		++count;
	return count;
}

Fd raw_terminal(int &master, cc_t least, cc_t tenths)
{
	int slave;
	BOOST_TEST_REQUIRE(openpty(&master, &slave, nullptr, nullptr, nullptr) == 0);
	termios settings{};
	tcgetattr(slave, &settings);
	cfmakeraw(&settings);
	settings.c_cc[VMIN] = least;
	settings.c_cc[VTIME] = tenths;
	BOOST_TEST_REQUIRE(tcsetattr(slave, TCSANOW, &settings) == 0);
	return Fd(slave);
}

void send_descriptor(int s, int fd)
{
	Message &m = message({"fd"});
	m.attach_descriptor(fd);
	BOOST_TEST_REQUIRE(sendmsg(s, &m.header, 0) == 2);
}

} // namespace

// --------------------------------------------------------------------- accept

BOOST_AUTO_TEST_CASE(without_a_free_number_an_accept_ends_and_the_connection_stays_in_the_queue)
{
	for (const Way::Kind &kind : Way::kinds)
		for (bool early : {true, false})
			BOOST_TEST_CONTEXT(kind.name << (early ? ", the connection is there"
							       : ", it comes later"))
			{
				Way way(kind);
				Fd listener = listening_socket(tcp4_kind),
				   client = new_socket(tcp4_kind);
				Address to = address_of(listener);
				{ // what the library needs for itself it has
					Way::Pending &first = way.accept(listener);
					way.go();
					Fd other = connected_to(tcp4_kind, listener);
					const Outcome end = way.finish(first);
					BOOST_TEST_REQUIRE(end.error == 0);
					const Fd accepted(int(end.result));
				}
				if (early)
					BOOST_TEST_REQUIRE(connect(client, to.get(), to.length) ==
							   0);
				{
					FullTable full;
					Way::Pending &request = way.accept(listener);
					way.go();
					if (!early)
						BOOST_TEST_REQUIRE(
							connect(client, to.get(), to.length) == 0);
					BOOST_TEST(way.finish(request) == failed(EMFILE));
				}
				BOOST_TEST(is_connected(client));
				BOOST_TEST(waiting_connections(listener) == 1);
			}
}

BOOST_AUTO_TEST_CASE(a_multishot_accept_ends_when_no_number_is_free)
{
	for_each_channel([](Channel &ec) {
		Fd listener = listening_socket(tcp4_kind), first = new_socket(tcp4_kind),
		   second = new_socket(tcp4_kind);
		Address to = address_of(listener);
		BOOST_TEST_REQUIRE(ev_accept(listener, EV_MULTISHOT, ec, &datum) == 0);
		hand_over(ec);
		BOOST_TEST_REQUIRE(connect(first, to.get(), to.length) == 0);
		event_data_t const event = next_event(ec);
		BOOST_TEST(event.ev_errno == 0);
		Fd const accepted(int(event.ev_result));
		{
			FullTable full;
			BOOST_TEST_REQUIRE(connect(second, to.get(), to.length) == 0);
			BOOST_TEST(outcome(next_event(ec)) == failed(EMFILE));
		}
		CHECK_FAILS(ev_cancel(ec, &datum), ENOENT);
		BOOST_TEST(is_connected(second));
		BOOST_TEST(waiting_connections(listener) == 1);
		BOOST_TEST(found_empty(ec));
	});
}

// ---------------------------------------------------------------- descriptors

BOOST_AUTO_TEST_CASE(descriptors_in_events_that_nobody_reads_are_closed_with_the_channel)
{
	for (bool wait : {false, true})
		for_each_channel_kind([wait](unsigned flags) {
			Channel ec(flags);
			Pair s = make_pair(unix_stream_kind);
			Stream passed = pipe_stream();
			Message &m = room_for({10});
			m.make_room(CMSG_SPACE(sizeof(int)));
			if (!wait)
				send_descriptor(s.a, passed.writer);
			BOOST_TEST_REQUIRE(
				ev_recvmsg(s.b, &m.header, MSG_CMSG_CLOEXEC, ec, &datum) == 0);
			hand_over(ec);
			if (wait)
				send_descriptor(s.a, passed.writer);
			BOOST_TEST(becomes_readable(ec));
			BOOST_TEST(ec_destroy(ec.release()) == 0);
			s.b.reset();
			passed.writer.reset();
			pollfd ended{passed.reader, 0, 0};
			BOOST_TEST(poll(&ended, 1, 20000) == 1);
			BOOST_TEST((ended.revents & POLLHUP) != 0);
		});
}

BOOST_AUTO_TEST_CASE(descriptors_of_events_that_were_read_stay_open)
{
	for_each_channel_kind([](unsigned flags) {
		Channel ec(flags);
		Pair s = make_pair(unix_stream_kind);
		Stream passed = pipe_stream();
		Message &m = room_for({10});
		m.make_room(CMSG_SPACE(sizeof(int)));
		send_descriptor(s.a, passed.writer);
		BOOST_TEST_REQUIRE(ev_recvmsg(s.b, &m.header, MSG_CMSG_CLOEXEC, ec, &datum) == 0);
		BOOST_TEST(outcome(next_event(ec)) == ok(2));
		BOOST_TEST(ec_destroy(ec.release()) == 0);
		Fd const got(m.received_descriptor());
		BOOST_TEST(fcntl(got, F_GETFD) >= 0);
	});
}

// ------------------------------------------------------------------ terminals

BOOST_AUTO_TEST_CASE(a_terminal_without_a_minimum_ends_its_read_when_its_time_is_up)
{
	for (cc_t tenths : {cc_t{0}, cc_t{2}}) {
		int number;
		Fd terminal = raw_terminal(number, 0, tenths);
		const Fd master(number);
		BOOST_TEST(finish(start_read(terminal, 10)) == ok(0));
		Request &late = start_read(terminal, 10);
		put(master, "x"); // in time, or not
		const Outcome end = finish(late);
		BOOST_TEST(end.error == 0);
		BOOST_TEST((end.result == 0 || end.result == 1));
	}
}

BOOST_AUTO_TEST_CASE(a_terminal_with_a_minimum_waits_for_it)
{
	int number;
	Fd terminal = raw_terminal(number, 3, 0);
	const Fd master(number);
	Request &request = start_read(terminal, 10);
	put(master, "ab");
	BOOST_TEST(request.pending());
	put(master, "c");
	BOOST_TEST(finish(request) == ok(3));
}

// ----------------------------------------------------------------------- many

BOOST_AUTO_TEST_CASE(more_polls_than_a_ring_holds_wait_each_for_its_event)
{
	constexpr unsigned many = 5000;
	for_each_channel([](Channel &ec) {
		Pair s = make_pair(unix_stream_kind);
		for (uintptr_t i = 0; i < many; ++i)
			BOOST_TEST_REQUIRE(ev_poll(s.a, POLLIN, ec, as_data(i)) == 0);
		hand_over(ec);
		BOOST_TEST(found_empty(ec));
		put(s.b, "x");
		std::vector<bool> seen(many);
		for (unsigned i = 0; i < many; ++i) {
			event_data_t const event = next_event(ec);
			BOOST_TEST(event.ev_result == POLLIN);
			BOOST_TEST_REQUIRE(!seen[as_number(event.ev_data)]);
			seen[as_number(event.ev_data)] = true;
		}
		BOOST_TEST(found_empty(ec));
	});
}
