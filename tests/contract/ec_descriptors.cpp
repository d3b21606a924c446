// SPDX-License-Identifier: MIT
//
// What a channel has in the program's table of descriptors: a program that closes what it does not
// know, and uses the numbers again, comes to no harm and keeps its channel; nothing of it is of use
// in a child.
#define BOOST_TEST_MODULE ec_descriptors
#include "channel.hpp"

#include <dirent.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

namespace {

constexpr int first_unknown = 3, last_unknown = 120;

void close_all_but(std::initializer_list<int> kept)
{
	for (int fd = first_unknown; fd < last_unknown; ++fd)
		if (std::find(kept.begin(), kept.end(), fd) == kept.end())
			close(fd);
}

bool readable_now(int fd)
{
	pollfd p{fd, POLLIN, 0};
	return poll(&p, 1, 0) == 1;
}
bool becomes_readable_soon(int fd)
{
	pollfd p{fd, POLLIN, 0};
	return poll(&p, 1, 10000) == 1;
}

bool has_event(ec_t ec)
{
	event_data_t event;
	const timespec soon{10, 0};
	return ec_next_events(ec, &event, 1, &soon) == 1;
}
bool post_one(ec_t ec)
{
	return ec_post(ec, 1, 0, nullptr) == 0;
}

int count_descriptors()
{
	int n = 0;
	DIR *d = opendir("/proc/self/fd");
	while (readdir(d) != nullptr)
		++n;
	closedir(d);
	return n;
}

/// A channel whose ring, if it has one, has been used.
ec_t used_channel(unsigned flags)
{
	const ec_t ec = ec_create(flags);
	int s[2];
	char byte;
	if (ec < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, s) != 0 ||
	    ev_recv(s[0], &byte, 1, 0, ec, nullptr) != 0 || write(s[1], "x", 1) != 1 ||
	    !has_event(ec))
		_exit(99);
	close(s[0]);
	close(s[1]);
	return ec;
}

} // namespace

// Its own epoll instance has the channel's number, its own pipe all others, and both are what the
// channel's pair was.
BOOST_AUTO_TEST_CASE(a_program_that_uses_all_numbers_again_is_not_read_from_or_written_to)
{
	for_each_channel_kind([](unsigned flags) {
		for (bool channel_too : {false, true})
			BOOST_TEST(
				in_child_process([=] {
					ec_t const ec = used_channel(flags | EC_NONBLOCK);
					if (!post_one(ec) || !post_one(ec))
						return 1;
					event_data_t event;
					if (ec_next_event(ec, &event) != 0)
						return 2;
					if (channel_too)
						close_all_but({});
					else
						close_all_but({ec});
					int ends[2], ep = epoll_create1(0);
					if (ep < 0 || pipe(ends) != 0)
						return 3;
					int const own = fcntl(ep, F_DUPFD, 200),
						  end = fcntl(ends[0], F_DUPFD, 201),
						  other = fcntl(ends[1], F_DUPFD, 202);
					if (write(other, "12345678", 8) != 8)
						return 4;
					for (int fd = first_unknown; fd < last_unknown; ++fd)
						if (fd != ec)
							dup2(end, fd);
					if (channel_too)
						dup2(own, ec);
					epoll_event wanted{};
					wanted.events = EPOLLOUT; // of which a pipe's end has none
					wanted.data.u64 = 4711;
					for (int fd = first_unknown; fd < last_unknown; ++fd)
						if (fd != ec)
							epoll_ctl(own, EPOLL_CTL_ADD, fd, &wanted);
					ec_next_event(ec, &event);
					ec_next_event(ec, &event);
					post_one(ec);
					ec_next_event(ec, &event);
					int left = 0;
					epoll_event told[200];
					if (ioctl(end, FIONREAD, &left) != 0 || left != 8)
						return 5;
					if (epoll_wait(own, told, 200, 0) != 0)
						return 6; // what it asked for is what it was
					ec_destroy(ec);
					for (int fd = first_unknown; fd < last_unknown; ++fd)
						if (fd != ec && fcntl(fd, F_GETFD) < 0)
							return 7;
					return ioctl(end, FIONREAD, &left) == 0 && left == 8 ? 0
											     : 8;
				}) == 0);
	});
}

BOOST_AUTO_TEST_CASE(a_channel_that_is_kept_while_all_else_is_closed_goes_on)
{
	for_each_channel_kind([](unsigned flags) {
		BOOST_TEST(in_child_process([=] {
				   ec_t const ec = used_channel(flags | EC_NONBLOCK);
				   if (!post_one(ec))
					   return 1;
				   close_all_but({ec});
				   if (!has_event(ec))
					   return 2;
				   event_data_t event;
				   if (ec_next_event(ec, &event) != -1 || errno != EAGAIN)
					   return 3;
				   if (readable_now(ec))
					   return 4;
				   if (!post_one(ec))
					   return 5;
				   if (!becomes_readable_soon(ec))
					   return 6;
				   if (!has_event(ec) || ec_next_event(ec, &event) != -1 ||
				       readable_now(ec))
					   return 7;
				   int s[2];
				   char byte;
				   if (socketpair(AF_UNIX, SOCK_STREAM, 0, s) != 0 ||
				       ev_recv(s[0], &byte, 1, 0, ec, nullptr) != 0)
					   return 8;
				   if (ec_submit(ec) < 0 || write(s[1], "x", 1) != 1)
					   return 9;
				   if (!becomes_readable_soon(ec) || !has_event(ec))
					   return 10;
				   return ec_destroy(ec) == 0 ? 0 : 11;
			   }) == 0);
	});
}

BOOST_AUTO_TEST_CASE(a_closed_ring_loses_no_request)
{
	for (unsigned flags : {unsigned{EC_SINGLE}, unsigned{EC_SINGLE | EC_BATCH}})
		BOOST_TEST(in_child_process([=] {
				   ec_t const ec = used_channel(flags);
				   int s[2];
				   static char bytes[1000];
				   if (socketpair(AF_UNIX, SOCK_DGRAM, 0, s) != 0)
					   return 1;
				   if (ev_poll(s[0], POLLIN, ec, nullptr) != 0 || ec_submit(ec) < 0)
					   return 2;
				   for (int fd = ec + 2; fd < last_unknown; ++fd)
					   if (fd != s[0] && fd != s[1])
						   close(fd);
				   int accepted = 1, had = 0;
				   for (int i = 0; i < 600; ++i)
					   accepted += ev_poll(s[0], POLLIN, ec, bytes + i) == 0
							       ? 1
							       : 0;
				   if (write(s[1], "x", 1) != 1)
					   return 3;
				   while (had < accepted && has_event(ec))
					   ++had;
				   return had == accepted && accepted == 601 ? 0 : 4;
			   }) == 0);
}

BOOST_AUTO_TEST_CASE(what_a_batch_keeps_back_goes_to_the_file_of_its_call)
{
	for (size_t size : {size_t{5}, size_t{20000}}) {
		Channel ec(EC_SINGLE | EC_BATCH);
		const std::vector<char> data(size, 'd');
		Stream right = unix_stream(), wrong = unix_stream();
		BOOST_TEST_REQUIRE(ev_send(right.writer, data.data(), size, 0, ec, nullptr) == 0);
		BOOST_TEST_REQUIRE(dup2(wrong.writer, right.writer) >= 0);
		BOOST_TEST(ec_submit(ec) == 1);
		event_data_t event = next_event(ec);
		BOOST_TEST(event.ev_result == static_cast<ssize_t>(size));
		int there = -1, here = -1;
		ioctl(wrong.reader, FIONREAD, &there);
		ioctl(right.reader, FIONREAD, &here);
		BOOST_TEST(there == 0);
		BOOST_TEST(here == static_cast<int>(size));
	}
}

BOOST_AUTO_TEST_CASE(what_waits_takes_no_descriptor)
{
	for_each_channel([](Channel &ec) {
		constexpr int sockets = 50;
		std::vector<Stream> streams;
		static char bytes[sockets][4];
		for (int i = 0; i < sockets; ++i)
			streams.push_back(unix_stream());
		BOOST_TEST_REQUIRE(ev_recv(streams[0].reader, bytes[0], 1, 0, ec, nullptr) == 0);
		hand_over(ec);
		int const before = count_descriptors();
		for (int i = 1; i < sockets; ++i)
			for (int k = 0; k < 3; ++k)
				BOOST_TEST_REQUIRE(ev_recv(streams[i].reader, bytes[i] + k, 1, 0,
							   ec, nullptr) == 0);
		hand_over(ec);
		BOOST_TEST(count_descriptors() == before);
	});
}

BOOST_AUTO_TEST_CASE(the_standard_numbers_stay_the_programs_while_they_are_closed)
{
	for_each_channel_kind([](unsigned flags) {
		BOOST_TEST(in_child_process([=] {
				   for (int fd : {0, 1, 2})
					   close(fd);
				   ec_t const ec = ec_create(flags);
				   int const one = socket(AF_UNIX, SOCK_DGRAM, 0),
					     two = socket(AF_UNIX, SOCK_DGRAM, 0);
				   char byte;
				   if (ev_recv(one, &byte, 1, 0, ec, nullptr) != 0 ||
				       ec_submit(ec) < 0)
					   return 1;
				   return ec > 2 && one == 0 && two == 1 && fcntl(2, F_GETFD) < 0
						  ? 0
						  : 2;
			   }) == 0);
	});
}

// Without a call of the library's in the child; by fork, whose handlers are run, and by clone,
// where none is.
BOOST_AUTO_TEST_CASE(a_child_finds_no_ring_that_it_could_write_to)
{
	for (bool raw : {false, true}) {
		Channel ec(EC_SINGLE);
		Stream s = unix_stream();
		char byte;
		BOOST_TEST_REQUIRE(ev_recv(s.reader, &byte, 1, 0, ec, &byte) == 0);
		const pid_t child = raw ? static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr,
								     nullptr, nullptr, nullptr))
					: fork();
		if (child == 0) {
			for (int fd = first_unknown; fd < 256; ++fd) {
				char path[40], name[100] = "";
				snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
				if (readlink(path, name, sizeof name - 1) < 0 ||
				    strstr(name, "io_uring") == nullptr)
					continue;
				auto *words = static_cast<uint32_t *>(mmap(
					nullptr, 32768, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
				if (words == MAP_FAILED)
					continue;
				words[16 + (words[3] & words[5]) * 4] =
					0x41414140; // a completion of its own making
				words[3]++;
			}
			_exit(0);
		}
		int status = -1;
		BOOST_TEST(waitpid(child, &status, 0) == child);
		BOOST_TEST(status == 0);
		event_data_t event;
		const timespec moment{0, 50000000};
		BOOST_TEST(ec_next_events(ec, &event, 1, &moment) == 0);
		put(s.writer, "x");
		event = next_event(ec);
		BOOST_TEST(event.ev_data == &byte);
		BOOST_TEST(event.ev_result == 1);
	}
}

BOOST_AUTO_TEST_CASE(a_child_of_fork_has_nothing_of_a_channel)
{
	for_each_channel_kind([](unsigned flags) {
		BOOST_TEST(in_child_process([=] {
				   ec_t const ec = used_channel(flags);
				   pid_t const child = fork();
				   if (child == 0) {
					   for (int fd = first_unknown; fd < last_unknown; ++fd) {
						   char path[40], name[100] = "";
						   snprintf(path, sizeof path, "/proc/self/fd/%d",
							    fd);
						   if (readlink(path, name, sizeof name - 1) > 0 &&
						       fd != ec &&
						       (strstr(name, "io_uring") != nullptr ||
							strstr(name, "eventfd") != nullptr))
							   _exit(1);
					   }
					   // Its own number is there to be closed, and disturbs
					   // nothing.
					   epoll_event e{};
					   if (epoll_wait(ec, &e, 1, 0) != 0 || close(ec) != 0)
						   _exit(2);
					   _exit(0);
				   }
				   int status = 0;
				   waitpid(child, &status, 0);
				   if (status != 0)
					   return 1;
				   return post_one(ec) && becomes_readable_soon(ec) && has_event(ec)
						  ? 0
						  : 2;
			   }) == 0);
	});
}

namespace {

/// A reader of the channel, with a request of its own, is blocked; `look` is called, and the
/// channel destroyed.
template <class Look> void destroy_under_a_reader(Look look)
{
	for_each_channel_kind([&](unsigned flags) {
		for (int i = 0; i < 20; ++i) {
			Channel ec(flags);
			Stream s = unix_stream();
			char byte;
			std::atomic<pid_t> id{0};
			int started = -1, result = 0, error = 0;
			std::thread reader([&, number = ec_t(ec)] {
				event_data_t event;
				started = ev_recv(s.reader, &byte, 1, 0, number, nullptr);
				id = thread_id();
				result = read_through_stops(
					[&] { return ec_next_event(number, &event); });
				error = errno;
			});
			BOOST_TEST(eventually([&] { return id != 0 && thread_state(id) == 'S'; }));
			look(ec);
			BOOST_TEST(ec_destroy(ec.release()) == 0);
			reader.join();
			BOOST_TEST(started == 0);
			BOOST_TEST(result == -1);
			BOOST_TEST(error == EBADF);
		}
	});
}

} // namespace

BOOST_AUTO_TEST_CASE(who_is_blocked_in_a_channel_leaves_it_when_it_is_destroyed)
{
	destroy_under_a_reader([](ec_t) {});
}

BOOST_AUTO_TEST_CASE(figures_that_another_thread_asks_for_do_not_hide_who_is_blocked)
{
	destroy_under_a_reader([](ec_t ec) {
		struct ec_stat figures {};
		BOOST_TEST(ec_stat(ec, &figures) == 0);
	});
}

BOOST_AUTO_TEST_CASE(a_channel_is_made_also_while_others_ask_for_the_last_one_of_its_number)
{
	std::atomic<bool> over{false};
	std::atomic<ec_t> number{-1};
	std::vector<std::thread> asking;
	for (int i = 0; i < 2; ++i)
		asking.emplace_back([&] {
			event_data_t event;
			const timespec none{0, 0};
			while (!over) {
				const ec_t ec = number;
				ec_post(ec, 0, 0, nullptr);
				ec_next_events(ec, &event, 1, &none);
				struct ec_stat s;
				ec_stat(ec, &s);
			}
		});
	int made = 0, again = 0;
	for (int i = 0; i < 3000; ++i) {
		const ec_t ec = ec_create(i % 3 == 0 ? 0 : EC_SINGLE);
		if (ec < 0)
			break;
		made++;
		again += ec == number;
		number = ec;
		// With the call for it, or without.
		if (i % 2 == 0 ? ec_destroy(ec) != 0 : close(ec) != 0)
			break;
	}
	over = true;
	for (std::thread &t : asking)
		t.join();
	BOOST_TEST(made == 3000);
	BOOST_TEST(again > 0);
}

BOOST_AUTO_TEST_CASE(a_signal_ends_a_read_that_looks_for_an_event)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST_REQUIRE(ec_busy_poll(ec, 3600000000u) == 0);
		struct sigaction action {};
		action.sa_handler = [](int) {};
		sigaction(SIGUSR1, &action, nullptr);
		Waiter reader([&]() -> int {
			event_data_t event;
			return ec_next_event(ec, &event);
		});
		BOOST_TEST(reader.interrupt(SIGUSR1));
		BOOST_TEST(reader.result() == -1);
		BOOST_TEST(reader.error() == EINTR);
	});
}

BOOST_AUTO_TEST_CASE(what_ec_moderate_holds_back_is_told_when_the_channel_is_full)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST_REQUIRE(ec_moderate(ec, 100, 0) == 0);
		for (int i = 0; i < 3; ++i)
			BOOST_TEST(post_one(ec));
		BOOST_TEST(!readable_now(ec));
		BOOST_TEST(ec_set_limit(ec, 3) == 0);
		BOOST_TEST(readable_now(ec));
	});
}

BOOST_AUTO_TEST_CASE(a_timeout_beyond_the_end_of_time_is_no_reason_to_sleep_on)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST_REQUIRE(ec_moderate(ec, 100, 1000) == 0);
		std::atomic<pid_t> id{0};
		int taken = 0;
		std::thread reader([&] {
			event_data_t event;
			timespec const long_time{10000000000, 0};
			id = thread_id();
			taken = take_events(ec, &event, 1, long_time);
		});
		BOOST_TEST(eventually([&] { return id != 0 && thread_state(id) == 'S'; }));
		BOOST_TEST(post_one(ec));
		reader.join();
		BOOST_TEST(taken == 1);
	});
}
