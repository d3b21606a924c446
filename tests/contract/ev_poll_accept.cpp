// SPDX-License-Identifier: MIT
//
// ev_poll, ev_accept with EV_MULTISHOT, and ev_cancel.
#define BOOST_TEST_MODULE ev_poll_accept
#include "socket_calls.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <set>

namespace {

char *room(size_t bytes)
{
	return keep(-1, bytes).data();
}

void start_poll(ec_t ec, int fd, short events, void *data = nullptr)
{
	BOOST_TEST_REQUIRE(ev_poll(fd, events, ec, data) == 0);
}
/// The event of an ev_poll; returns what there is.
short poll_result(ec_t ec, int fd, void *data = nullptr)
{
	const event_data_t event = next_event(ec);
	BOOST_TEST(event.ev_type == event_type_net);
	BOOST_TEST(event.ev_un.ev_fd == fd);
	BOOST_TEST(event.ev_errno == 0);
	BOOST_TEST(event.ev_data == data);
	return short(event.ev_result);
}

/// Connections that were accepted by a multishot request.
struct Accepted {
	std::vector<Fd> servers;
	void take(ec_t ec, int listener, void *data)
	{
		const event_data_t event = next_event(ec);
		BOOST_TEST(event.ev_type == event_type_net);
		BOOST_TEST(event.ev_un.ev_fd == listener);
		BOOST_TEST(event.ev_data == data);
		BOOST_TEST(event.ev_errno == 0);
		BOOST_TEST_REQUIRE(event.ev_result >= 0);
		servers.emplace_back(int(event.ev_result));
	}
};

int datum;

} // namespace

// -------------------------------------------------------------------- ev_poll

BOOST_AUTO_TEST_CASE(ev_poll_waits_for_data_once)
{
	for_each_channel([](Channel &ec) {
		for_each_stream([&](Stream &s) {
			start_poll(ec, s.reader, POLLIN, &datum);
			BOOST_TEST(found_empty(ec));
			put(s.writer, "x");
			BOOST_TEST(poll_result(ec, s.reader, &datum) == POLLIN);
			put(s.writer, "y");
			BOOST_TEST(found_empty(ec));
			start_poll(ec, s.reader, POLLIN); // what is there is told at once
			BOOST_TEST(poll_result(ec, s.reader) == POLLIN);
			BOOST_TEST(take(s.reader, 2) == "xy"); // nothing was taken
		});
	});
}

BOOST_AUTO_TEST_CASE(ev_poll_waits_for_room)
{
	for_each_channel([](Channel &ec) {
		for (StreamMaker make : {pipe_stream, unix_stream_default, tcp_stream}) {
			Stream s = make();
			start_poll(ec, s.writer, POLLOUT);
			BOOST_TEST(poll_result(ec, s.writer) == POLLOUT);
			size_t const before = fill(s.writer);
			start_poll(ec, s.writer, POLLOUT);
			BOOST_TEST(found_empty(ec));
			BOOST_TEST(take(s.reader, before).size() == before);
			BOOST_TEST(poll_result(ec, s.writer) == POLLOUT);
		}
	});
}

BOOST_AUTO_TEST_CASE(ev_poll_tells_of_the_end_unasked)
{
	for_each_channel([](Channel &ec) {
		Stream p = pipe_stream(), q = pipe_stream(), s = unix_stream();
		start_poll(ec, p.reader, POLLIN);
		BOOST_TEST(found_empty(ec));
		p.writer.reset();
		BOOST_TEST((poll_result(ec, p.reader) & POLLHUP) != 0);
		start_poll(ec, s.reader, POLLIN);
		s.writer.reset();
		BOOST_TEST((poll_result(ec, s.reader) & POLLHUP) != 0);
		q.reader.reset();
		start_poll(ec, q.writer, POLLIN);
		BOOST_TEST((poll_result(ec, q.writer) & POLLERR) != 0);
	});
}

BOOST_AUTO_TEST_CASE(ev_poll_tells_only_what_was_asked_for)
{
	for_each_channel([](Channel &ec) {
		Stream s = tcp_stream();
		put(s.writer, "x");
		BOOST_TEST(becomes_readable(s.reader));
		for (auto const &[asked, expected] : {std::pair<int, int>{POLLIN, POLLIN},
						      {POLLOUT, POLLOUT},
						      {POLLIN | POLLOUT, POLLIN | POLLOUT},
						      {POLLIN | POLLPRI, POLLIN}}) {
			start_poll(ec, s.reader, short(asked));
			BOOST_TEST(poll_result(ec, s.reader) == expected);
		}
		start_poll(ec, s.reader, POLLRDHUP);
		BOOST_TEST(found_empty(ec));
		shutdown(s.writer, SHUT_WR);
		BOOST_TEST(poll_result(ec, s.reader) == POLLRDHUP);
	});
}

BOOST_AUTO_TEST_CASE(ev_poll_takes_any_descriptor)
{
	for_each_channel([](Channel &ec) {
		File file = disk_file();
		start_poll(ec, file.fd, POLLIN | POLLOUT); // poll says that a file is always ready
		BOOST_TEST(poll_result(ec, file.fd) == (POLLIN | POLLOUT));
		Fd event(eventfd(0, EFD_CLOEXEC)), epoll(epoll_create1(EPOLL_CLOEXEC));
		epoll_event interest{EPOLLIN, {}};
		epoll_ctl(epoll, EPOLL_CTL_ADD, event, &interest);
		start_poll(ec, epoll, POLLIN, as_data(1));
		BOOST_TEST(found_empty(ec));
		eventfd_write(event, 1);
		BOOST_TEST(poll_result(ec, epoll, as_data(1)) == POLLIN);
		Channel other;
		start_poll(ec, other, POLLIN);
		BOOST_TEST(found_empty(ec));
		BOOST_TEST_REQUIRE(post(other, 1));
		BOOST_TEST(poll_result(ec, other) == POLLIN);
	});
}

BOOST_AUTO_TEST_CASE(ev_poll_of_no_descriptor_is_an_event)
{
	for_each_channel([](Channel &ec) {
		Fd const without_file(open("/", O_PATH | O_CLOEXEC));
		for (int fd : {-1, 100000, INT_MAX, int(without_file)}) {
			start_poll(ec, fd, POLLIN, &datum);
			event_data_t const event = next_event(ec);
			BOOST_TEST(event.ev_un.ev_fd == fd);
			BOOST_TEST(outcome(event) == failed(EBADF));
			BOOST_TEST(event.ev_data == &datum);
		}
	});
}

BOOST_AUTO_TEST_CASE(several_polls_of_one_descriptor_and_a_recv_do_not_disturb_each_other)
{
	for_each_channel([](Channel &ec) {
		Stream s = unix_stream();
		for (uintptr_t i = 1; i <= 3; ++i)
			start_poll(ec, s.reader, POLLIN, as_data(i));
		start_poll(ec, s.reader, POLLOUT, as_data(9));
		BOOST_TEST(poll_result(ec, s.reader, as_data(9)) == POLLOUT);
		BOOST_TEST(found_empty(ec));
		put(s.writer, "x");
		std::set<uintptr_t> seen;
		for (int i = 0; i < 3; ++i)
			seen.insert(as_number(next_event(ec).ev_data));
		BOOST_TEST((seen == std::set<uintptr_t>{1, 2, 3}));
		BOOST_TEST_REQUIRE(ev_recv(s.reader, room(1), 1, 0, ec, nullptr) == 0);
		BOOST_TEST(outcome(next_event(ec)) == ok(1));
		BOOST_TEST_REQUIRE(ev_recv(s.reader, room(1), 1, 0, ec, nullptr) == 0);
		start_poll(ec, s.reader, POLLOUT, as_data(9)); // is not held up by the recv
		BOOST_TEST(poll_result(ec, s.reader, as_data(9)) == POLLOUT);
		put(s.writer, "x");
		BOOST_TEST(outcome(next_event(ec)) == ok(1));
	});
}

// --------------------------------------------------------- multishot ev_accept

BOOST_AUTO_TEST_CASE(one_call_accepts_many_connections_until_it_is_cancelled)
{
	for (const SocketKind &kind : {unix_stream_kind, unix_packet_kind, tcp4_kind, tcp6_kind}) {
		if (!usable(kind))
			continue;
		for_each_channel([&](Channel &ec) {
			Fd listener = listening_socket(kind);
			BOOST_TEST_REQUIRE(
				ev_accept(listener, EV_MULTISHOT | SOCK_CLOEXEC, ec, &datum) == 0);
			BOOST_TEST(found_empty(ec));
			Accepted accepted;
			std::vector<Fd> clients;
			for (int round = 0; round < 10; ++round) {
				for (int i = 0; i < 10; ++i) {
					clients.push_back(connected_to(kind, listener));
					put(clients.back(), "x");
				}
				for (int i = 0; i < 10; ++i)
					accepted.take(ec, listener, &datum);
			}
			BOOST_TEST(found_empty(ec));
			for (Fd &server : accepted.servers) {
				BOOST_TEST(take(server, 1) == "x");
				BOOST_TEST((fcntl(server, F_GETFD) & FD_CLOEXEC) != 0);
				BOOST_TEST((fcntl(server, F_GETFL) & O_NONBLOCK) == 0);
			}
			BOOST_TEST(ev_cancel(ec, &datum) == 0);
			event_data_t const last = next_event(ec);
			BOOST_TEST(outcome(last) == failed(ECANCELED));
			BOOST_TEST(last.ev_un.ev_fd == listener);
			BOOST_TEST(last.ev_data == &datum);
			CHECK_FAILS(ev_cancel(ec, &datum), ENOENT);
			clients.push_back(connected_to(kind, listener));
			BOOST_TEST(has_data(listener)); // it waits in the backlog
			BOOST_TEST(found_empty(ec));
		});
	}
}

BOOST_AUTO_TEST_CASE(the_flags_of_a_multishot_accept_are_those_of_every_descriptor)
{
	for_each_channel([](Channel &ec) {
		for (int flags : {0, SOCK_CLOEXEC | SOCK_NONBLOCK}) {
			Fd listener = listening_socket(tcp4_kind);
			BOOST_TEST_REQUIRE(ev_accept(listener, EV_MULTISHOT | flags, ec, &datum) ==
					   0);
			Accepted accepted;
			std::vector<Fd> clients;
			hand_over(ec);
			for (int i = 0; i < 3; ++i)
				clients.push_back(connected_to(tcp4_kind, listener));
			for (int i = 0; i < 3; ++i)
				accepted.take(ec, listener, &datum);
			for (Fd &server : accepted.servers) {
				BOOST_TEST(((fcntl(server, F_GETFD) & FD_CLOEXEC) != 0) ==
					   (flags != 0));
				BOOST_TEST(((fcntl(server, F_GETFL) & O_NONBLOCK) != 0) ==
					   (flags != 0));
			}
			BOOST_TEST(ev_cancel(ec, &datum) == 0);
			BOOST_TEST(outcome(next_event(ec)) == failed(ECANCELED));
		}
	});
}

BOOST_AUTO_TEST_CASE(while_the_channel_is_full_connections_wait_in_the_backlog)
{
	for_each_channel([](Channel &ec) {
		constexpr unsigned limit = 4, count = 30;
		Fd listener = listening_socket(tcp4_kind);
		BOOST_TEST(ec_set_limit(ec, limit) == 0);
		BOOST_TEST_REQUIRE(ev_accept(listener, EV_MULTISHOT | SOCK_CLOEXEC, ec, &datum) ==
				   0);
		hand_over(ec);
		std::vector<Fd> clients;
		for (unsigned i = 0; i < count; ++i)
			clients.push_back(connected_to(tcp4_kind, listener));
		Accepted accepted;
		for (unsigned i = 0; i < count; ++i) {
			accepted.take(ec, listener, &datum);
			struct ec_stat const s = numbers(ec);
			BOOST_TEST(s.outstanding + s.queued <= limit);
		}
		BOOST_TEST(numbers(ec).high_water <= limit);
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(ev_cancel(ec, &datum) == 0);
		BOOST_TEST(outcome(next_event(ec)) == failed(ECANCELED));
	});
}

BOOST_AUTO_TEST_CASE(an_error_of_the_socket_ends_a_multishot_accept)
{
	for_each_channel([](Channel &ec) {
		Fd listener = listening_socket(tcp4_kind);
		BOOST_TEST_REQUIRE(ev_accept(listener, EV_MULTISHOT | SOCK_CLOEXEC, ec, &datum) ==
				   0);
		BOOST_TEST(found_empty(ec));
		shutdown(listener, SHUT_RDWR);
		BOOST_TEST(outcome(next_event(ec)) == failed(EINVAL));
		CHECK_FAILS(ev_cancel(ec, &datum), ENOENT);
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(a_multishot_accept_outlives_its_thread_and_holds_its_socket)
{
	for_each_channel_kind([](unsigned flags) {
		// What was in the ring of a thread that has ended goes on by its number.
		const bool by_number = (flags & EC_SINGLE) != 0;
		Channel ec(flags);
		Fd listener = listening_socket(tcp4_kind), other = listening_socket(tcp4_kind);
		Address to = address_of(listener);
		int const number = listener;
		in_thread([&] {
			ev_accept(number, EV_MULTISHOT | SOCK_CLOEXEC, ec, &datum);
			ec_submit(ec);
		});
		if (!by_number)
			BOOST_TEST_REQUIRE(dup2(other, listener) == number);
		std::vector<Fd> clients;
		Accepted accepted;
		for (int i = 0; i < 5; ++i) {
			Fd client = new_socket(tcp4_kind);
			BOOST_TEST(connect(client, to.get(), to.length) == 0);
			accepted.take(ec, number, &datum);
			clients.push_back(std::move(client));
		}
		BOOST_TEST(ev_cancel(ec, &datum) == 0);
		BOOST_TEST(outcome(next_event(ec)) == failed(ECANCELED));
	});
}

BOOST_AUTO_TEST_CASE(connections_whose_events_nobody_reads_are_closed_with_the_channel)
{
	for_each_channel_kind([](unsigned flags) {
		Channel ec(flags);
		Fd listener = listening_socket(unix_stream_kind);
		BOOST_TEST_REQUIRE(ev_accept(listener, EV_MULTISHOT | SOCK_CLOEXEC, ec, &datum) ==
				   0);
		hand_over(ec);
		Fd client = connected_to(unix_stream_kind, listener);
		BOOST_TEST(becomes_readable(ec));
		BOOST_TEST(ec_destroy(ec.release()) == 0);
		listener.reset();
		pollfd ended{client, 0, 0};
		BOOST_TEST(poll(&ended, 1, 20000) == 1);
		BOOST_TEST((ended.revents & POLLHUP) != 0);
	});
}

// ------------------------------------------------------------------ ev_cancel

BOOST_AUTO_TEST_CASE(ev_cancel_ends_every_request_with_that_data_and_no_other)
{
	for_each_channel([](Channel &ec) {
		Channel elsewhere;
		Stream s = unix_stream();
		Fd listener = listening_socket(unix_stream_kind);
		for (void *data : {static_cast<void *>(&datum), static_cast<void *>(nullptr)}) {
			void *const other = as_data(77);
			BOOST_TEST_REQUIRE(ev_recv(s.reader, room(1), 1, 0, elsewhere, data) == 0);
			BOOST_TEST_REQUIRE(ev_recv(s.reader, room(1), 1, 0, ec, data) == 0);
			BOOST_TEST_REQUIRE(ev_recv(s.reader, room(1), 1, 0, ec, other) == 0);
			BOOST_TEST_REQUIRE(
				ev_recvmsg(s.reader, &room_for({1}).header, 0, ec, data) == 0);
			BOOST_TEST_REQUIRE(ev_accept(listener, 0, ec, data) == 0);
			BOOST_TEST_REQUIRE(ev_poll(s.reader, POLLIN, ec, data) == 0);
			BOOST_TEST(found_empty(ec));
			BOOST_TEST(ev_cancel(ec, data) == 0);
			for (int i = 0; i < 4; ++i) {
				event_data_t const event = next_event(ec);
				BOOST_TEST(outcome(event) == failed(ECANCELED));
				BOOST_TEST(event.ev_data == data);
			}
			BOOST_TEST(found_empty(ec));
			CHECK_FAILS(ev_cancel(ec, data), ENOENT);
			put(s.writer, "x");
			BOOST_TEST(outcome(next_event(elsewhere)) == ok(1));
			put(s.writer, "y");
			event_data_t const event = next_event(ec);
			BOOST_TEST(outcome(event) == ok(1));
			BOOST_TEST(event.ev_data == other);
		}
	});
}

BOOST_AUTO_TEST_CASE(a_receive_of_which_a_part_has_come_ends_with_that_when_it_is_cancelled)
{
	for_each_channel([](Channel &ec) {
		Stream s = unix_stream();
		BOOST_TEST_REQUIRE(ev_recv(s.reader, room(10), 10, MSG_WAITALL, ec, &datum) == 0);
		BOOST_TEST(found_empty(ec));
		put(s.writer, "abc");
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(eventually([&] { // it has taken them
			pollfd there{s.reader, POLLIN, 0};
			return poll(&there, 1, 0) == 0;
		}));
		BOOST_TEST(ev_cancel(ec, &datum) == 0);
		BOOST_TEST(outcome(next_event(ec)) == ok(3));
		BOOST_TEST_REQUIRE(ev_recv(s.reader, room(10), 10, 0, ec, nullptr) ==
				   0); // the stream goes on
		put(s.writer, "de");
		BOOST_TEST(outcome(next_event(ec)) == ok(2));
	});
}

BOOST_AUTO_TEST_CASE(there_is_nothing_to_cancel_after_the_end)
{
	for_each_channel([](Channel &ec) {
		CHECK_FAILS(ev_cancel(ec, nullptr), ENOENT);
		CHECK_FAILS(ev_cancel(ec, &datum), ENOENT);
		BOOST_TEST_REQUIRE(ec_post(ec, 1, 0, &datum) == 0);
		CHECK_FAILS(ev_cancel(ec, &datum), ENOENT); // no request
		BOOST_TEST(drain(ec) == 1);
		Stream s = unix_stream();
		BOOST_TEST_REQUIRE(ev_send(s.writer, "x", 1, 0, ec, &datum) == 0);
		hand_over(ec);
		BOOST_TEST(becomes_readable(ec));
		CHECK_FAILS(ev_cancel(ec, &datum), ENOENT); // its event waits to be read
		BOOST_TEST(outcome(next_event(ec)) == ok(1));
	});
}

BOOST_AUTO_TEST_CASE(what_a_batch_has_kept_is_cancelled_too)
{
	Channel ec(EC_SINGLE | EC_BATCH);
	Stream s = unix_stream();
	BOOST_TEST_REQUIRE(ev_recv(s.reader, room(1), 1, 0, ec, &datum) == 0);
	BOOST_TEST(ev_cancel(ec, &datum) == 0);
	BOOST_TEST(outcome(next_event(ec)) == failed(ECANCELED));
	put(s.writer, "x");
	BOOST_TEST(take(s.reader, 1) == "x");
}

BOOST_AUTO_TEST_CASE(a_request_that_ends_while_it_is_cancelled_has_one_event_and_loses_nothing)
{
	for_each_channel([](Channel &ec) {
		Stream s = unix_stream();
		for (int round = 0; round < 1000; ++round) {
			char *const into = room(1);
			BOOST_TEST_REQUIRE(ev_recv(s.reader, into, 1, 0, ec, &datum) == 0);
			hand_over(ec);
			std::atomic<bool> go{false};
			std::thread writer;
			if (round % 10 == 0) { // a thread costs more than what it is for
				writer = std::thread([&] {
					while (!go) {
					}
					if (write(s.writer, "x", 1) != 1)
						abort();
				});
				go = true;
			} else {
				put(s.writer, "x");
			}
			int const cancelled = ev_cancel(ec, &datum);
			if (cancelled != 0)
				BOOST_TEST(errno == ENOENT);
			event_data_t const event = next_event(ec);
			if (writer.joinable())
				writer.join();
			if (outcome(event) == ok(1)) {
				BOOST_TEST(*into == 'x');
			} else {
				BOOST_TEST(outcome(event) == failed(ECANCELED));
				BOOST_TEST(cancelled == 0);
				BOOST_TEST(take(s.reader, 1) == "x");
			}
			BOOST_TEST(found_empty(ec));
		}
	});
}
