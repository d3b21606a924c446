// SPDX-License-Identifier: MIT
//
// The ev_* calls: their events, their arguments, batches, and how long a request lives.
// (socket_*.cpp: what they do with the socket; ev_poll_accept.cpp: ev_poll, ev_accept
// with EV_MULTISHOT, ev_cancel.)
#define BOOST_TEST_MODULE ev_calls
#include "socket_calls.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>

namespace {

char *room(size_t bytes)
{
	return keep(-1, bytes).data();
}

void check_event(const event_data_t &event, int fd, Outcome expected, void *data)
{
	BOOST_TEST(event.ev_type == event_type_net);
	BOOST_TEST(event.ev_un.ev_fd == fd);
	BOOST_TEST(outcome(event) == expected);
	BOOST_TEST(event.ev_data == data);
}

} // namespace

BOOST_AUTO_TEST_CASE(an_event_names_the_descriptor_the_result_and_the_data)
{
	for_each_channel([](Channel &ec) {
		Pair s = make_pair(tcp4_kind), d = make_pair(udp4_kind);
		Fd listener = listening_socket(tcp4_kind), client = new_socket(tcp4_kind);
		Address to = address_of(listener), peer = address_of(d.b);
		Message &out = message({"abc"}), &in = room_for({2, 2});
		auto check = [&](int submitted, int fd, Outcome expected, void *data) {
			BOOST_TEST_REQUIRE(submitted == 0);
			check_event(next_event(ec), fd, expected, data);
		};
		check(ev_send(s.a, "0123456789", 10, 0, ec, as_data(1)), s.a, ok(10), as_data(1));
		check(ev_recv(s.b, room(10), 10, 0, ec, as_data(2)), s.b, ok(10), as_data(2));
		check(ev_sendto(d.a, "xy", 2, 0, peer.get(), peer.length, ec, nullptr), d.a, ok(2),
		      nullptr);
		void *const last = as_data(UINTPTR_MAX);
		check(ev_recvfrom(d.b, room(10), 10, 0, nullptr, 0, ec, last), d.b, ok(2), last);
		check(ev_sendmsg(s.b, &out.header, 0, ec, &out), s.b, ok(3), &out);
		check(ev_recvmsg(s.a, &in.header, 0, ec, &in), s.a, ok(3), &in);
		check(ev_connect(client, to.get(), to.length, ec, &to), client, ok(0), &to);
		check(ev_poll(client, POLLOUT, ec, &client), client, ok(POLLOUT), &client);
		BOOST_TEST_REQUIRE(ev_accept(listener, SOCK_CLOEXEC, ec, &listener) == 0);
		event_data_t const event = next_event(ec);
		Fd const server(int(event.ev_result));
		BOOST_TEST(server >= 0);
		check_event(event, listener, ok(event.ev_result), &listener);
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(arguments_that_cannot_be_are_refused_at_the_call)
{
	for_each_channel([](Channel &ec) {
		Pair s = make_pair(unix_stream_kind);
		char *const byte = room(1);
		CHECK_FAILS(ev_accept(s.a, 0x10000, ec, nullptr), EINVAL);
		CHECK_FAILS(ev_sendmsg(s.a, nullptr, 0, ec, nullptr), EINVAL);
		CHECK_FAILS(ev_recvmsg(s.a, nullptr, 0, ec, nullptr), EINVAL);
		CHECK_FAILS(ev_send(s.a, byte, size_t(SSIZE_MAX) + 1, 0, ec, nullptr), EINVAL);
		CHECK_FAILS(ev_recv(s.a, byte, SIZE_MAX, 0, ec, nullptr), EINVAL);
		socklen_t const too_long = sizeof(sockaddr_storage) + 1;
		std::array<char, too_long> address{};
		auto *const where = reinterpret_cast<sockaddr *>(address.data());
		CHECK_FAILS(ev_sendto(s.a, byte, 1, 0, where, too_long, ec, nullptr), EINVAL);
		CHECK_FAILS(ev_connect(s.a, where, too_long, ec, nullptr), EINVAL);
		Message &many = message(std::vector<std::string>(1025)), &nowhere = message({"x"});
		nowhere.header.msg_iov = nullptr;
		for (auto const &[bad, error] : {std::pair{&many, EMSGSIZE}, {&nowhere, EFAULT}}) {
			CHECK_FAILS(ev_sendmsg(s.a, &bad->header, 0, ec, nullptr), error);
			CHECK_FAILS(ev_recvmsg(s.a, &bad->header, 0, ec, nullptr), error);
		}
		CHECK_FAILS(ev_connect(s.a, nullptr, 16, ec, nullptr), EFAULT);
		BOOST_TEST(numbers(ec).outstanding == 0u);
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(!has_data(s.b));
	});
}

BOOST_AUTO_TEST_CASE(errors_of_the_descriptor_are_events)
{
	for_each_channel([](Channel &ec) {
		File file = disk_file();
		for (auto const &[fd, error] :
		     {std::pair{-1, EBADF}, {INT_MAX, EBADF}, {int(file.fd), ENOTSOCK}}) {
			BOOST_TEST_REQUIRE(ev_recv(fd, room(1), 1, 0, ec, as_data(1)) == 0);
			check_event(next_event(ec), fd, failed(error), as_data(1));
			BOOST_TEST_REQUIRE(ev_accept(fd, 0, ec, as_data(2)) == 0);
			check_event(next_event(ec), fd, failed(error), as_data(2));
			BOOST_TEST_REQUIRE(ev_accept(fd, EV_MULTISHOT, ec, as_data(3)) == 0);
			check_event(next_event(ec), fd, failed(error), as_data(3));
		}
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(past_the_limit_nothing_is_done)
{
	for_each_channel([](Channel &ec) {
		Pair s = make_pair(unix_stream_kind);
		BOOST_TEST(ec_set_limit(ec, 2) == 0);
		put(s.b, "data");
		for (int i = 0; i < 2; ++i)
			BOOST_TEST_REQUIRE(ev_send(s.a, "x", 1, 0, ec, nullptr) == 0);
		CHECK_FAILS(ev_send(s.a, "y", 1, 0, ec, nullptr), EAGAIN);
		CHECK_FAILS(ev_recv(s.a, room(4), 4, 0, ec, nullptr), EAGAIN);
		for (int i = 0; i < 2; ++i)
			BOOST_TEST(outcome(next_event(ec)) == ok(1));
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(take(s.b, 2) == "xx");
		BOOST_TEST(!has_data(s.b));
		BOOST_TEST(take(s.a, 4) == "data");
		BOOST_TEST(ev_send(s.a, "z", 1, 0, ec, nullptr) == 0);
		BOOST_TEST(outcome(next_event(ec)) == ok(1));
	});
}

// -------------------------------------------------------------------- batches

BOOST_AUTO_TEST_CASE(ec_submit_hands_over_what_a_batch_has_kept)
{
	for_each_channel_kind([](unsigned flags) {
		Channel ec(flags);
		Pair s = make_pair(unix_stream_kind);
		bool const batch = (flags & EC_BATCH) != 0;
		BOOST_TEST(ec_submit(ec) == 0);
		for (int i = 0; i < 5; ++i)
			BOOST_TEST_REQUIRE(ev_send(s.a, "x", 1, 0, ec, nullptr) == 0);
		BOOST_TEST(ec_submit(ec) == (batch ? 5 : 0));
		BOOST_TEST(take(s.b, 5) == "xxxxx");
		BOOST_TEST(ec_submit(ec) == 0);
		BOOST_TEST(becomes_readable(ec));
		for (int i = 0; i < 5; ++i)
			BOOST_TEST(outcome(next_event(ec)) == ok(1));
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(every_read_hands_over_what_a_batch_has_kept)
{
	Channel ec(EC_SINGLE | EC_BATCH), nonblocking(EC_SINGLE | EC_BATCH | EC_NONBLOCK);
	Pair s = make_pair(unix_stream_kind);
	event_data_t event;
	BOOST_TEST_REQUIRE(ev_send(s.a, "1", 1, 0, ec, nullptr) == 0);
	BOOST_TEST(ec_next_event(ec, &event) == 0);
	BOOST_TEST_REQUIRE(ev_send(s.a, "2", 1, 0, ec, nullptr) == 0);
	BOOST_TEST(ec_next_events(ec, &event, 1, nullptr) == 1);
	BOOST_TEST_REQUIRE(ev_send(s.a, "3", 1, 0, ec, nullptr) == 0);
	BOOST_TEST(ec_next_events(ec, &event, 1, &until_it_hangs) == 1);
	BOOST_TEST_REQUIRE(ev_send(s.a, "4", 1, 0, nonblocking, nullptr) == 0);
	const int result = ec_next_event(nonblocking, &event); // may find it, or come too soon
	BOOST_TEST((result == 0 || errno == EAGAIN));
	BOOST_TEST_REQUIRE(ev_send(s.a, "5", 1, 0, ec, nullptr) == 0);
	BOOST_TEST(ec_next_events(ec, &event, 1, &at_once) >= 0);
	BOOST_TEST(take(s.b, 5) == "12345");
}

BOOST_AUTO_TEST_CASE(more_requests_than_any_ring_holds_are_kept)
{
	constexpr size_t count = 20000;
	for_each_channel([](Channel &ec) {
		Pair s = make_pair(unix_stream_kind);
		char *const into = room(count);
		for (size_t i = 0; i < count; ++i)
			BOOST_TEST_REQUIRE(ev_recv(s.b, into + i, 1, 0, ec, as_data(i)) == 0);
		hand_over(ec);
		std::string const data = pattern(count);
		put(s.a, data);
		std::vector<unsigned> seen(count);
		for (size_t i = 0; i < count; ++i) {
			event_data_t const event = next_event(ec);
			if (outcome(event) == ok(1))
				++seen[as_number(event.ev_data)];
		}
		BOOST_TEST((seen == std::vector<unsigned>(count, 1)));
		BOOST_TEST((std::string(into, count) == data));
	});
}

BOOST_AUTO_TEST_CASE(an_event_may_be_answered_by_further_requests_for_ever)
{
	for_each_channel([](Channel &ec) {
		std::vector<Pair> pairs;
		for (int i = 0; i < 10; ++i)
			pairs.push_back(make_pair(unix_stream_kind));
		char *const into = room(10);
		for (size_t i = 0; i < pairs.size(); ++i) {
			BOOST_TEST_REQUIRE(ev_recv(pairs[i].a, into + i, 1, 0, ec, as_data(i)) ==
					   0);
			BOOST_TEST_REQUIRE(ev_send(pairs[i].b, "x", 1, 0, ec, as_data(100)) == 0);
		}
		for (int received = 0; received < 5000;) {
			event_data_t const event = next_event(ec);
			BOOST_TEST_REQUIRE(outcome(event) == ok(1));
			size_t const i = as_number(event.ev_data);
			if (i == 100)
				continue;
			++received;
			BOOST_TEST_REQUIRE(ev_recv(pairs[i].a, into + i, 1, 0, ec, as_data(i)) ==
					   0);
			BOOST_TEST_REQUIRE(ev_send(pairs[i].b, "x", 1, 0, ec, as_data(100)) == 0);
		}
	});
}

// -------------------------------------------------------------------- threads

BOOST_AUTO_TEST_CASE(a_request_outlives_the_thread_that_submitted_it)
{
	for_each_channel([](Channel &ec) {
		for (SocketKind const &kind : {unix_stream_kind, tcp4_kind, udp4_kind}) {
			Pair s = make_pair(kind), t = make_pair(unix_stream_kind);
			Fd listener = listening_socket(unix_stream_kind);
			char *const into = room(2);
			size_t const before = fill(t.a);
			std::string const data = pattern(100000);
			in_thread([&] {
				ev_recv(s.b, into, 1, 0, ec, as_data(1));
				ev_recv(s.b, into + 1, 1, 0, ec, as_data(2));
				ev_accept(listener, SOCK_CLOEXEC, ec, as_data(3));
				ev_send(t.a, data.data(), data.size(), 0, ec, as_data(4));
				ec_submit(ec);
			});
			BOOST_TEST(found_empty(ec));
			put(s.a, "x");
			BOOST_TEST(outcome(next_event(ec)) == ok(1));
			put(s.a, "y");
			BOOST_TEST(outcome(next_event(ec)) == ok(1));
			BOOST_TEST(std::string(into, 2) == "xy");
			Fd client = connected_to(unix_stream_kind, listener);
			event_data_t const event = next_event(ec);
			BOOST_TEST(event.ev_errno == 0);
			BOOST_TEST(event.ev_data == as_data(3));
			Fd const accepted(int(event.ev_result));
			std::string got;
			std::thread taker([&] { got = take(t.b, before + data.size()); });
			check_event(next_event(ec), t.a, ok(ssize_t(data.size())), as_data(4));
			taker.join();
			BOOST_TEST((got.substr(before) == data));
		}
	});
}

BOOST_AUTO_TEST_CASE(what_a_batch_keeps_outlives_the_thread_too)
{
	Channel ec(EC_SINGLE | EC_BATCH);
	Pair s = make_pair(unix_stream_kind);
	in_thread([&] { ev_recv(s.b, room(1), 1, 0, ec, nullptr); });
	put(s.a, "x");
	BOOST_TEST(outcome(next_event(ec)) == ok(1));
}

BOOST_AUTO_TEST_CASE(a_channel_of_a_thread_that_is_gone_works_on)
{
	for_each_channel_kind([](unsigned flags) {
		Pair s = make_pair(unix_stream_kind);
		ec_t number = -1;
		in_thread([&] {
			number = ec_create(flags | EC_CLOEXEC);
			ev_recv(s.b, room(1), 1, 0, number, as_data(1));
			ec_submit(number);
		});
		BOOST_TEST_REQUIRE(number >= 0);
		BOOST_TEST_REQUIRE(ev_recv(s.b, room(1), 1, 0, number, as_data(2)) == 0);
		hand_over(number);
		put(s.a, "xy");
		for (uintptr_t i : {1, 2})
			check_event(next_event(number), s.b, ok(1), as_data(i));
		BOOST_TEST(ec_destroy(number) == 0);
	});
}

BOOST_AUTO_TEST_CASE(pending_requests_do_not_interrupt_the_submitters_own_calls)
{
	constexpr int count = 40;
	for (bool watch_channel : {false, true})
		for_each_channel([&](Channel &ec) {
			std::vector<Pair> pairs;
			for (int i = 0; i < count; ++i)
				pairs.push_back(
					make_pair(i % 2 == 0 ? unix_stream_kind : tcp4_kind));
			Fd epoll(epoll_create1(EPOLL_CLOEXEC)), end(eventfd(0, EFD_CLOEXEC));
			for (int fd : {int(end), int(ec)}) {
				epoll_event interest{EPOLLIN, {}};
				interest.data.fd = fd;
				if (fd == end || watch_channel)
					epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest);
			}
			std::atomic<pid_t> id{0};
			std::atomic<int> interruptions{0}, got{0}, wrong{0};
			std::thread submitter([&] {
				for (Pair &s : pairs)
					wrong += ev_recv(s.b, room(1), 1, 0, ec, nullptr) != 0;
				ec_submit(ec);
				id = thread_id();
				for (;;) {
					epoll_event ready;
					int const n = epoll_wait(epoll, &ready, 1, 3600000);
					if (n < 0)
						++interruptions;
					if (n == 1 && ready.data.fd == end)
						return;
					event_data_t event;
					while (n == 1 &&
					       ec_next_events(ec, &event, 1, &at_once) == 1)
						++got;
				}
			});
			auto blocked = [&] {
				return id != 0 && blocked_in(id, SYS_epoll_wait, SYS_epoll_pwait);
			};
			for (int i = 0; i < count; ++i) {
				BOOST_TEST(eventually(blocked));
				put(pairs[size_t(i)].a, "x");
				if (watch_channel)
					BOOST_TEST(eventually([&] { return got == i + 1; }));
			}
			BOOST_TEST(eventually(blocked));
			eventfd_write(end, 1);
			submitter.join();
			BOOST_TEST(interruptions == 0);
			BOOST_TEST(wrong == 0);
			for (; got < count; ++got)
				BOOST_TEST(outcome(next_event(ec)) == ok(1));
			BOOST_TEST(found_empty(ec));
		});
}

BOOST_AUTO_TEST_CASE(requests_go_on_while_nobody_reads_their_channel)
{
	for_each_channel_kind([](unsigned flags) {
		if ((flags & EC_BATCH) != 0)
			return; // there they go on when it is read
		Channel ec(flags);
		Pair s = make_pair(unix_stream_kind), t = make_pair(unix_stream_kind);
		std::string const data = pattern(1000000);
		Request &all = reading(t.b, data.size());
		BOOST_TEST_REQUIRE(ev_send(s.a, data.data(), data.size(), 0, ec, as_data(1)) == 0);
		BOOST_TEST_REQUIRE(
			ev_recv(t.b, all.data(), all.size, MSG_WAITALL, ec, as_data(2)) == 0);
		hand_over(ec);
		std::string got;
		ssize_t out = 0;
		std::thread taker([&] { got = take(s.b, data.size()); });
		std::thread putter([&] { out = write(t.a, data.data(), data.size()); });
		taker.join();
		if (got.size() < data.size())
			found_empty(ec); // so that a failed case ends
		while (numbers(ec).delivered < 2 &&
		       take_events(ec, std::array<event_data_t, 1>{}.data(), 1) == 1) {
		}
		putter.join();
		BOOST_TEST(out == ssize_t(data.size()));
		BOOST_TEST((got == data));
		BOOST_TEST((all.text() == data));
	});
}

BOOST_AUTO_TEST_CASE(large_sends_that_wait_in_line_leave_no_descriptor)
{
	for_each_channel_kind([](unsigned flags) {
		Channel ec(flags);
		Pair s = make_pair(unix_stream_kind);
		std::string const data = pattern(300000);
		auto send_some = [&] {
			for (int i = 0; i < 5; ++i)
				BOOST_TEST_REQUIRE(ev_send(s.a, data.data(), data.size(), 0, ec,
							   nullptr) == 0);
			hand_over(ec);
			std::thread taker([&] { take(s.b, 5 * data.size()); });
			for (int i = 0; i < 5; ++i)
				BOOST_TEST(outcome(next_event(ec)) == ok(300000));
			taker.join();
		};
		send_some(); // after this the library has all it needs
		int const before = open_descriptors();
		send_some();
		BOOST_TEST(eventually([&] { return open_descriptors() <= before; }));
	});
}

BOOST_AUTO_TEST_CASE(threads_share_a_channel)
{
	constexpr int threads = 4, each = 1000;
	Channel ec;
	std::vector<std::thread> workers;
	std::atomic<int> ended{0}, wrong{0};
	for (int t = 0; t < threads; ++t)
		workers.emplace_back([&] {
			int ends[2];
			if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
				return void(++wrong);
			Fd const a(ends[0]), b(ends[1]);
			char *const into = room(each);
			for (int i = 0; i < each; ++i) {
				wrong += ev_recv(a, into + i, 1, 0, ec, nullptr) != 0;
				wrong += ev_send(b, "x", 1, 0, ec, nullptr) != 0;
				for (event_data_t event;
				     ec_next_events(ec, &event, 1, &at_once) == 1; ++ended)
					wrong += outcome(event) != ok(1);
			}
			while (ended < 2 * threads * each) {
				event_data_t event;
				timespec const soon{0, 1000000};
				if (ec_next_events(ec, &event, 1, &soon) != 1)
					continue;
				wrong += outcome(event) != ok(1);
				++ended;
			}
		});
	for (std::thread &worker : workers)
		worker.join();
	BOOST_TEST(wrong == 0);
	BOOST_TEST(ended == 2 * threads * each);
}

// ------------------------------------------------------------------- the end

BOOST_AUTO_TEST_CASE(a_channel_ends_with_thousands_of_requests_outstanding)
{
	for_each_channel_kind([](unsigned flags) {
		Channel ec(flags);
		std::vector<Pair> pairs;
		for (int i = 0; i < 60; ++i)
			pairs.push_back(
				make_pair(i % 2 == 0 ? unix_stream_kind : unix_datagram_kind));
		char *const into = room(60 * 50);
		memset(into, '?', 60 * 50);
		for (size_t i = 0; i < 60 * 50; ++i)
			BOOST_TEST_REQUIRE(
				ev_recv(pairs[i % 60].b, into + i, 1, 0, ec, as_data(i)) == 0);
		if (flags == 0)
			BOOST_TEST(
				found_empty(ec)); // a batch may as well never have been handed over
		BOOST_TEST(ec_destroy(ec.release()) == 0);
		for (Pair &s : pairs) { // nobody takes what comes now
			put(s.a, "x");
			BOOST_TEST(take(s.b, 1) == "x");
		}
		BOOST_TEST((std::string(into, 60 * 50) == std::string(60 * 50, '?')));
	});
}

BOOST_AUTO_TEST_CASE(a_send_that_has_begun_goes_on_after_the_end_of_its_channel)
{
	for_each_channel([](Channel &ec) {
		Pair s = make_pair(unix_stream_kind);
		Request &data = writing(s.a, pattern(1500000));
		BOOST_TEST_REQUIRE(ev_send(s.a, data.data(), data.size, 0, ec, nullptr) == 0);
		BOOST_TEST_REQUIRE(ev_send(s.a, "never", 5, 0, ec, nullptr) == 0);
		hand_over(ec);
		BOOST_TEST(eventually([&] { return has_data(s.b); }));
		BOOST_TEST(ec_destroy(ec.release()) == 0);
		BOOST_TEST((take(s.b, data.size) == data.text()));
		s.a.reset();
		BOOST_TEST(take(s.b, 1) == "");
	});
}
