// SPDX-License-Identifier: MIT
//
// Armed receives of TCP connections on a channel that any thread may read: whoever reads the
// channel receives. What a program sees of that: what nobody has read is still in the socket, the
// channel is readable exactly when there is something, and nothing is lost, doubled or out of order
// where readers cannot go on.
#define BOOST_TEST_MODULE dma_readers
#include "dma.hpp"
#include "processes.hpp"

#include <fcntl.h>
#include <map>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <thread>

namespace {

constexpr int armed = AIO_DMA_BUF | EV_MULTISHOT;

/// What the event brought; its piece is released.
std::string content(const event_data_t &event, const Region &region)
{
	BOOST_TEST_REQUIRE(event.ev_errno == 0);
	BOOST_TEST_REQUIRE(event.ev_result > 0);
	std::string text(static_cast<char *>(event.ev_un.ev_dma.buf), size_t(event.ev_result));
	region.release(event.ev_un.ev_dma.buf, size_t(event.ev_result));
	return text;
}

/// So many bytes of one armed socket, from as many events as it takes.
std::string collect(ec_t ec, const Region &region, size_t bytes)
{
	std::string all;
	while (all.size() < bytes)
		all += content(next_event(ec), region);
	return all;
}

void arm(const Associated &s, ec_t ec, size_t size = 100)
{
	BOOST_TEST_REQUIRE(ev_recv(s, nullptr, size, armed, ec, const_cast<Associated *>(&s)) == 0);
}

/// Blocks: the peer's socket holds less than what is sent.
std::thread sender(int fd, std::string text)
{
	return std::thread([fd, text = std::move(text)] {
		for (size_t sent = 0; sent < text.size();) {
			ssize_t const n =
				send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
			if (n <= 0)
				return;
			sent += size_t(n);
		}
	});
}

} // namespace

BOOST_AUTO_TEST_CASE(what_nobody_has_read_is_in_the_socket_when_the_receive_is_cancelled)
{
	Region region(1 << 16);
	Channel ec;
	Associated s(tcp4_kind, region);
	arm(s, ec);
	s.peer_sends("unread");
	BOOST_TEST(becomes_readable(ec));
	BOOST_TEST(ev_cancel(ec, &s) == 0);
	event_data_t const last = next_event(ec);
	if (last.ev_errno == 0) { // it came before the cancel did
		BOOST_TEST(content(last, region) == "unread");
		BOOST_TEST(next_event(ec).ev_errno == ECANCELED);
	} else {
		BOOST_TEST(last.ev_errno == ECANCELED);
		BOOST_TEST(s.recv(100) == "unread");
	}
	BOOST_TEST(found_empty(ec));
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(the_channel_is_readable_exactly_while_something_is_there)
{
	Region region(1 << 16);
	Channel ec;
	Associated a(tcp4_kind, region), b(tcp4_kind, region);
	arm(a, ec);
	arm(b, ec);
	BOOST_TEST(!is_readable(ec));
	for (int i = 0; i < 20; ++i) {
		const Associated &s = i % 3 == 0 ? b : a;
		s.peer_sends("x");
		BOOST_TEST(becomes_readable(ec));
		event_data_t const event = next_event(ec);
		BOOST_TEST(event.ev_data == &s);
		BOOST_TEST(content(event, region) == "x");
		BOOST_TEST(!is_readable(ec));
		BOOST_TEST(found_empty(ec));
	}
	BOOST_TEST(ec_post(ec, 1, 0, nullptr) == 0);
	BOOST_TEST(becomes_readable(ec));
	BOOST_TEST(next_event(ec).ev_result == 1);
	BOOST_TEST(!is_readable(ec));
}

BOOST_AUTO_TEST_CASE(a_reader_that_waits_is_woken_by_an_arrival_and_by_a_post)
{
	Region region(1 << 16);
	Channel ec;
	Associated s(tcp4_kind, region);
	arm(s, ec);
	for (int i = 0; i < 50; ++i) {
		std::thread other([&] {
			// Checks are the first thread's.
			if (i % 2 != 0)
				ec_post(ec, i, 0, nullptr);
			else if (send(s.s.b, "here", 4, MSG_NOSIGNAL) != 4)
				abort();
		});
		event_data_t const event = next_event(ec);
		if (i % 2 == 0)
			BOOST_TEST(content(event, region) == "here");
		else
			BOOST_TEST(event.ev_result == i);
		other.join();
	}
}

BOOST_AUTO_TEST_CASE(a_reader_that_looks_for_long_sees_what_arrives)
{
	Region region(1 << 16);
	Channel ec;
	BOOST_TEST_REQUIRE(ec_busy_poll(ec, 1000) == 0);
	Associated s(tcp4_kind, region);
	arm(s, ec);
	for (int i = 0; i < 50; ++i) {
		s.peer_sends("here");
		BOOST_TEST(content(next_event(ec), region) == "here");
	}
}

BOOST_AUTO_TEST_CASE(a_stream_of_any_length_comes_whole_and_in_order)
{
	Region region(1 << 20);
	for_each_channel([&](Channel &ec) {
		for (size_t size : {64u, 700u}) {
			Associated s(tcp4_kind, region);
			arm(s, ec, size);
			std::string const text = pattern(size * 3000, unsigned(size));
			std::thread peer = sender(s.s.b, text);
			BOOST_TEST((collect(ec, region, text.size()) == text));
			peer.join();
			BOOST_TEST(shutdown(s.s.b, SHUT_WR) == 0);
			event_data_t const end = next_event(ec);
			BOOST_TEST(end.ev_result == 0);
			BOOST_TEST(end.ev_errno == 0);
			BOOST_TEST(found_empty(ec));
		}
	});
}

BOOST_AUTO_TEST_CASE(without_room_in_the_region_it_waits_and_goes_on_after_a_release)
{
	Region region(4096);
	Channel ec;
	Associated s(tcp4_kind, region);
	arm(s, ec, 1000);
	std::string const text = pattern(200000);
	std::thread peer = sender(s.s.b, text);
	std::string all;
	while (all.size() < text.size()) {
		// As much as there is room for is held, then all of it is released.
		std::vector<event_data_t> held;
		do
			held.push_back(next_event(ec));
		while (held.size() < 3 && has_data(ec));
		for (const event_data_t &event : held)
			all += content(event, region);
	}
	BOOST_TEST((all == text));
	peer.join();
	BOOST_TEST(found_empty(ec));
}

BOOST_AUTO_TEST_CASE(a_full_channel_loses_nothing_and_is_not_readable_for_what_it_cannot_take)
{
	Region region(1 << 20);
	Channel ec;
	std::vector<std::unique_ptr<Associated>> sockets;
	for (int i = 0; i < 4; ++i) {
		sockets.push_back(std::make_unique<Associated>(tcp4_kind, region));
		arm(*sockets.back(), ec);
	}
	BOOST_TEST_REQUIRE(ec_set_limit(ec, 4) == 0);
	for (auto const &s : sockets)
		s->peer_sends("arrival");
	// All credits are those of the armed receives.
	BOOST_TEST(found_empty(ec));
	BOOST_TEST(eventually([&] { return !is_readable(ec); }));
	BOOST_TEST_REQUIRE(ec_set_limit(ec, 5) == 0);
	std::map<void *, int> seen;
	for (int i = 0; i < 4; ++i) {
		event_data_t const event = next_event(ec);
		BOOST_TEST(content(event, region) == "arrival");
		++seen[event.ev_data];
	}
	BOOST_TEST(seen.size() == 4u);
	BOOST_TEST(found_empty(ec));
}

BOOST_AUTO_TEST_CASE(a_number_that_the_program_closes_receives_on)
{
	Region region(1 << 16);
	Channel ec;
	Associated s(tcp4_kind, region);
	arm(s, ec);
	s.peer_sends("before");
	BOOST_TEST(content(next_event(ec), region) == "before");
	int const number = s;
	s.s.a.reset();
	Fd other(memfd_create("other", MFD_CLOEXEC));
	BOOST_TEST_REQUIRE(write(other, "kept", 4) == 4);
	if (other != number)
		BOOST_TEST_REQUIRE(dup3(other, number, O_CLOEXEC) == number);
	s.peer_sends("after");
	BOOST_TEST(content(next_event(ec), region) == "after");
	s.s.b.reset();
	BOOST_TEST(next_event(ec).ev_result == 0);
	BOOST_TEST(lseek(other, 0, SEEK_END) == 4);
	BOOST_TEST(found_empty(ec));
	if (other != number)
		close(number);
}

BOOST_AUTO_TEST_CASE(a_function_is_called_for_an_arrival_that_a_reader_would_take)
{
	static std::atomic<int> calls;
	calls = 0;
	Region region(1 << 16);
	Channel ec;
	Associated s(tcp4_kind, region);
	arm(s, ec);
	BOOST_TEST_REQUIRE(async_io_notify(
				   s, [](int, void *) { ++calls; }, nullptr) == 0);
	s.peer_sends("both");
	BOOST_TEST(eventually([] { return calls == 1; }));
	BOOST_TEST(content(next_event(ec), region) == "both");
}

BOOST_AUTO_TEST_CASE(events_that_are_to_be_gathered_are)
{
	Region region(1 << 16);
	Channel ec;
	Associated s(tcp4_kind, region);
	arm(s, ec, 1);
	s.peer_sends("x");
	BOOST_TEST(content(next_event(ec), region) == "x");
	BOOST_TEST_REQUIRE(ec_moderate(ec, 3, 0) == 0);
	for (int i = 0; i < 10; ++i)
		s.peer_sends("abc");
	BOOST_TEST(collect(ec, region, 30).size() == 30u);
	BOOST_TEST_REQUIRE(ec_moderate(ec, 0, 0) == 0);
	s.peer_sends("y");
	BOOST_TEST(content(next_event(ec), region) == "y");
}

BOOST_AUTO_TEST_CASE(several_readers_take_each_byte_once_and_those_of_a_socket_in_order)
{
	constexpr int readers = 4, sockets = 8;
	constexpr size_t bytes = 200000;
	Region region(1 << 20);
	Channel ec;
	std::vector<std::unique_ptr<Associated>> all;
	for (int i = 0; i < sockets; ++i) {
		all.push_back(std::make_unique<Associated>(tcp4_kind, region));
		arm(*all.back(), ec, 500);
	}
	std::atomic<size_t> total{0}, sum{0};
	std::vector<std::thread> threads;
	for (int i = 0; i < readers; ++i)
		threads.emplace_back([&] {
			for (;;) {
				event_data_t event{};
				if (take_events(ec, &event, 1) != 1)
					continue;
				if (event.ev_type == event_type_user)
					return;
				auto const n = size_t(event.ev_result);
				auto const *p =
					static_cast<unsigned char *>(event.ev_un.ev_dma.buf);
				size_t mine = 0;
				for (size_t k = 0; k < n; ++k)
					mine += p[k];
				sum += mine;
				if (sio_release(region, event.ev_un.ev_dma.buf, n) != 0)
					abort(); // checks are the first thread's
				if ((total += n) == sockets * bytes)
					for (int k = 0; k < readers; ++k)
						ec_post(ec, 0, 0, nullptr);
			}
		});
	size_t expected = 0;
	std::vector<std::thread> peers;
	for (int i = 0; i < sockets; ++i) {
		std::string const text = pattern(bytes, unsigned(i));
		for (char c : text)
			expected += static_cast<unsigned char>(c);
		peers.push_back(sender(all[size_t(i)]->s.b, text));
	}
	for (auto &t : peers)
		t.join();
	for (auto &t : threads)
		t.join();
	BOOST_TEST(total == sockets * bytes);
	BOOST_TEST(sum == expected);
}

BOOST_AUTO_TEST_CASE(the_end_of_a_channel_leaves_its_sockets_to_others)
{
	Region region(1 << 16);
	Associated s(tcp4_kind, region);
	for (int i = 0; i < 20; ++i) {
		{
			Channel ec;
			arm(s, ec);
			s.peer_sends("x");
			if (i % 2 == 0)
				BOOST_TEST(content(next_event(ec), region) == "x");
			else
				BOOST_TEST(becomes_readable(ec));
		}
		// What no event had been made for.
		if (i % 2 != 0)
			BOOST_TEST(s.recv(100) == "x");
	}
	Channel next;
	arm(s, next);
	s.peer_sends("last");
	BOOST_TEST(content(next_event(next), region) == "last");
}

BOOST_AUTO_TEST_CASE(sockets_that_have_gone_are_watched_no_more)
{
	Region region(1 << 16);
	Channel ec;
	int const before = open_descriptors();
	for (int i = 0; i < 100; ++i) {
		Associated s(tcp4_kind, region);
		arm(s, ec);
		s.peer_sends("x");
		BOOST_TEST(content(next_event(ec), region) == "x");
		// Ended by its peer, by a cancel, by the program's leaving it.
		if (i % 3 == 0) {
			s.s.b.reset();
			BOOST_TEST(next_event(ec).ev_result == 0);
		} else if (i % 3 == 1) {
			BOOST_TEST(ev_cancel(ec, &s) == 0);
			BOOST_TEST(next_event(ec).ev_errno == ECANCELED);
			s.peer_sends("for nobody");
		} else {
			region.disassociate(s);
			BOOST_TEST(next_event(ec).ev_errno == ECANCELED);
		}
		BOOST_TEST(!is_readable(ec));
	}
	BOOST_TEST(eventually([&] { return open_descriptors() <= before + 8; }));
	BOOST_TEST(found_empty(ec));
}

BOOST_AUTO_TEST_CASE(a_child_of_fork_takes_nothing_of_its_parents)
{
	Region region(1 << 16);
	Channel ec;
	Associated s(tcp4_kind, region);
	arm(s, ec);
	pid_t const child = spawn_child([&] {
		event_data_t event;
		timespec const moment{0, 50000000};
		int const n = ec_next_events(ec, &event, 1, &moment);
		_exit(n > 0 ? 1 : 0);
	});
	s.peer_sends("for the parent");
	BOOST_TEST(content(next_event(ec), region) == "for the parent");
	BOOST_TEST(wait_for(child) == 0);
	s.peer_sends("again");
	BOOST_TEST(content(next_event(ec), region) == "again");
}

// ------------------------------------------------- a child that no handler has heard of

namespace {

/// Runs in a child that has all that its parent has, and waits for its end.
template <class F> void in_unheard_of_child(F f)
{
	auto const child = static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
	if (child == 0) {
		f();
		_exit(0);
	}
	BOOST_TEST(wait_for(child) == 0);
}

constexpr int most_numbers = 400;

/// Takes a socket out of each epoll instance that there is, whatever number it has in it.
void take_out_of_all(int socket)
{
	std::vector<int> instances;
	socket = fcntl(socket, F_DUPFD, most_numbers);
	for (int i = 3; i < most_numbers; ++i) {
		epoll_event e;
		if (epoll_wait(i, &e, 1, 0) >= 0 || errno == EINVAL)
			instances.push_back(fcntl(i, F_DUPFD, most_numbers));
	}
	for (int number = 3; number < most_numbers; ++number) {
		dup2(socket, number);
		for (int i : instances)
			epoll_ctl(i, EPOLL_CTL_DEL, number, nullptr);
	}
}

} // namespace

BOOST_AUTO_TEST_CASE(what_arrives_at_a_socket_that_a_child_has_taken_out_is_received)
{
	Region region(1 << 16);
	Channel ec;
	Associated s(tcp4_kind, region);
	arm(s, ec);
	in_unheard_of_child([&] { take_out_of_all(s); });
	s.peer_sends("for the parent");
	BOOST_TEST(content(next_event(ec), region) == "for the parent");
	s.peer_sends("again");
	BOOST_TEST(content(next_event(ec), region) == "again");
}

BOOST_AUTO_TEST_CASE(a_reader_learns_of_what_a_child_has_taken_out_of_its_channel)
{
	Region region(1 << 16);
	Channel ec;
	Associated s(tcp4_kind, region);
	arm(s, ec);
	in_unheard_of_child([&] {
		for (int i = 3; i < most_numbers; ++i)
			epoll_ctl(ec, EPOLL_CTL_DEL, i, nullptr);
	});
	event_data_t event;
	std::thread reader([&] {
		// Without a time limit, at whose end it would look once more.
		if (ec_next_event(ec, &event) != 0)
			abort();
	});
	// As a rule it sleeps by now; it is to learn of it at any time.
	std::this_thread::sleep_for(std::chrono::milliseconds(100));
	s.peer_sends("for the parent");
	reader.join();
	BOOST_TEST(content(event, region) == "for the parent");
}
