// SPDX-License-Identifier: MIT
//
// Event channels: their end by ec_destroy, by a plain close, by exec; fork; very many.
#define BOOST_TEST_MODULE ec_lifetime
#include "channel.hpp"

#include <semaphore>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

namespace {

/// A thread that waits for an event.
struct Reader {
	std::atomic<pid_t> id{0};
	int result = -2, error = 0;
	event_data_t event{};
	std::thread thread;

	template <class Read>
	Reader(ec_t ec, Read read)
	    : thread([this, ec, read] {
		      id = thread_id();
		      result = read_through_stops([&] { return read(ec, &event); });
		      error = errno;
	      })
	{
	}
	bool waits()
	{
		return eventually([&] { return id != 0 && thread_state(id) == 'S'; });
	}
};
constexpr auto read_one = [](ec_t ec, event_data_t *event) { return ec_next_event(ec, event); };
constexpr auto read_some = [](ec_t ec, event_data_t *event) {
	return ec_next_events(ec, event, 1, nullptr);
};
constexpr auto read_in_time = [](ec_t ec, event_data_t *event) {
	return ec_next_events(ec, event, 1, &until_it_hangs);
};

void raise_descriptor_limit()
{
	rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}
bool enough_descriptors(rlim_t count)
{
	rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur >= count)
		return true;
	BOOST_TEST_MESSAGE("skipped: not enough descriptors");
	return false;
}

} // namespace

// ----------------------------------------------------------------- ec_destroy

BOOST_AUTO_TEST_CASE(a_destroyed_channel_is_none_and_its_descriptor_is_closed)
{
	for_each_channel([](Channel &channel) {
		for (uintptr_t i = 0; i < 10; ++i)
			BOOST_TEST_REQUIRE(post(channel, i));
		ec_t const ec = channel.release();
		BOOST_TEST(ec_destroy(ec) == 0);
		BOOST_TEST(fcntl(ec, F_GETFD) == -1);
		BOOST_TEST(calls_without_ebadf(ec) == "");
	});
}

BOOST_AUTO_TEST_CASE(requests_outstanding_at_the_end_are_cancelled)
{
	for_each_channel([](Channel &ec) {
		std::vector<Stream> streams;
		std::vector<Request *> requests;
		for (int i = 0; i < 20; ++i) {
			streams.push_back(stream_kinds[size_t(i) % stream_kinds.size()]());
			requests.push_back(&tell(reading(streams.back().reader, 1), ec));
			BOOST_TEST_REQUIRE(aio_read(&requests.back()->cb) == 0);
		}
		BOOST_TEST(ec_destroy(ec.release()) == 0);
		for (size_t i = 0; i < streams.size(); ++i) {
			BOOST_TEST(finish(*requests[i]) == failed(ECANCELED));
			put(streams[i].writer, "x");
			BOOST_TEST(take(streams[i].reader, 1) == "x");
		}
	});
}

BOOST_AUTO_TEST_CASE(a_write_that_has_begun_ends_on_its_own)
{
	for_each_channel([](Channel &ec) {
		Stream s = unix_stream();
		std::string const data = pattern(3000000);
		Request &request = tell(writing(s.writer, data), ec);
		BOOST_TEST_REQUIRE(aio_write(&request.cb) == 0);
		hand_over(ec);
		BOOST_TEST(eventually([&] { return has_data(s.reader); }));
		BOOST_TEST(ec_destroy(ec.release()) == 0);
		BOOST_TEST((take(s.reader, data.size()) == data));
		BOOST_TEST(finish(request) == ok(ssize_t(data.size())));
	});
}

BOOST_AUTO_TEST_CASE(a_waiting_reader_learns_of_the_end)
{
	auto check = [](auto read, int readers) {
		for_each_channel_kind([&](unsigned flags) {
			if (readers > 1 && flags != 0)
				return;
			Channel ec(flags);
			Stream s = unix_stream();
			BOOST_TEST_REQUIRE(aio_read(&tell(reading(s.reader, 1), ec).cb) == 0);
			std::list<Reader> threads;
			for (int i = 0; i < readers; ++i)
				threads.emplace_back(ec, read);
			for (Reader &reader : threads)
				BOOST_TEST(reader.waits());
			BOOST_TEST(ec_destroy(ec.release()) == 0);
			for (Reader &reader : threads) {
				reader.thread.join();
				BOOST_TEST(reader.result == -1);
				BOOST_TEST(reader.error == EBADF);
			}
		});
	};
	for (int readers : {1, 4}) {
		check(read_one, readers);
		check(read_some, readers);
		check(read_in_time, readers);
	}
}

BOOST_AUTO_TEST_CASE(a_channel_may_end_while_others_post)
{
	for_each_channel_kind([](unsigned flags) {
		for (int round = 0; round < 50; ++round) {
			Channel ec(flags);
			ec_t const number = ec;
			std::atomic<unsigned> posted{0}, wrong{0};
			std::vector<std::thread> threads;
			for (int i = 0; i < 2; ++i)
				threads.emplace_back([&, number] {
					for (;; ++posted) {
						if (ec_post(number, 0, 0, nullptr) == 0 ||
						    errno == EAGAIN)
							continue;
						wrong += errno != EBADF;
						return;
					}
				});
			BOOST_TEST(eventually([&] { return posted > 10; }));
			BOOST_TEST(ec_destroy(ec.release()) == 0);
			for (std::thread &thread : threads)
				thread.join();
			BOOST_TEST(wrong == 0u);
		}
	});
}

BOOST_AUTO_TEST_CASE(channels_come_and_go_and_leave_no_descriptor)
{
	Stream s = unix_stream();
	auto one_round = [&](unsigned flags) {
		Channel ec(flags);
		BOOST_TEST_REQUIRE(post(ec, 3));
		Request &request = tell(reading(s.reader, 1), ec);
		BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
		BOOST_TEST(next_event(ec).ev_result == 3);
		BOOST_TEST(ec_destroy(ec.release()) == 0);
		BOOST_TEST(finish(request) == failed(ECANCELED));
	};
	for (const ChannelKind &kind : channel_kinds)
		one_round(kind.flags);
	const int before = open_descriptors();
	for (int i = 0; i < 200; ++i)
		for (const ChannelKind &kind : channel_kinds)
			one_round(kind.flags);
	BOOST_TEST(eventually([&] { return open_descriptors() <= before; }));
}

// -------------------------------------------------------------------- close()

// The thread that had the channel lives, and does not call the library.
BOOST_AUTO_TEST_CASE(a_channel_that_changes_hands_holds_no_file_of_what_has_ended)
{
	for_each_channel_kind([](unsigned flags) {
		for (bool ended_by_destroy : {false, true}) {
			Stream s = unix_stream();
			char byte;
			Channel ec(flags);
			std::binary_semaphore submitted(0), quit(0);
			std::thread first([&] {
				BOOST_TEST(ev_recv(s.reader, &byte, 1, 0, ec, nullptr) == 0);
				BOOST_TEST(ec_submit(ec) >= 0);
				submitted.release();
				quit.acquire();
			});
			submitted.acquire();
			if (ended_by_destroy)
				BOOST_TEST(ec_destroy(ec.release()) == 0);
			else {
				put(s.writer, "x");
				BOOST_TEST(next_event(ec).ev_result == 1);
			}
			s.reader = Fd();
			BOOST_TEST(becomes_readable(s.writer));
			char c;
			BOOST_TEST(recv(s.writer, &c, 1, MSG_DONTWAIT) == 0);
			quit.release();
			first.join();
		}
	});
}

BOOST_AUTO_TEST_CASE(the_end_of_a_channel_interrupts_no_wait_that_follows)
{
	const Fd nothing(epoll_create1(EPOLL_CLOEXEC));
	for_each_channel_kind([&](unsigned flags) {
		for (int i = 0; i < 5; ++i) {
			Stream s = unix_stream();
			char byte;
			{
				Channel ec(flags);
				BOOST_TEST_REQUIRE(ev_recv(s.reader, &byte, 1, 0, ec, nullptr) ==
						   0);
				BOOST_TEST(found_empty(ec));
			}
			epoll_event event;
			BOOST_TEST(wait_through_stops(nothing, &event, 1, 100) == 0);
		}
	});
}

BOOST_AUTO_TEST_CASE(a_plain_close_is_survived)
{
	for_each_channel([](Channel &channel) {
		Channel other;
		Stream s = unix_stream();
		Request &request = tell(reading(s.reader, 1), channel);
		BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
		BOOST_TEST_REQUIRE(post(channel, 1));
		hand_over(channel);
		ec_t const ec = channel.release();
		close(ec);
		BOOST_TEST(calls_without_ebadf(ec) == "");
		put(s.writer, "x");
		Outcome const end = finish(request);
		BOOST_TEST((end == ok(1) || end == failed(ECANCELED)));
		BOOST_TEST_REQUIRE(post(other, 8));
		BOOST_TEST(next_event(other).ev_result == 8);
	});
}

BOOST_AUTO_TEST_CASE(the_next_read_notices_a_plain_close_whatever_is_outstanding_or_unread)
{
	constexpr timespec short_time{0, 1000000};
	for_each_channel_kind([&](unsigned flags) {
		for (unsigned blocking : {0u, unsigned{EC_NONBLOCK}})
			for (bool unread : {false, true}) {
				ec_t const ec = Channel(flags | blocking).release();
				Stream s = unix_stream();
				Request &into = reading(s.reader, 1);
				event_data_t event;
				BOOST_TEST_REQUIRE(
					ev_recv(s.reader, into.data(), 1, 0, ec, nullptr) == 0);
				BOOST_TEST(ec_next_events(ec, &event, 1, &short_time) == 0);
				if (unread)
					BOOST_TEST_REQUIRE(post(ec, 1));
				close(ec);
				errno = 0;
				BOOST_TEST(ec_next_event(ec, &event) == -1);
				BOOST_TEST(errno == EBADF);
			}
		ec_t const ec = Channel(flags).release();
		Stream s = unix_stream();
		Request &into = reading(s.reader, 1);
		event_data_t event;
		BOOST_TEST_REQUIRE(ev_recv(s.reader, into.data(), 1, 0, ec, nullptr) == 0);
		BOOST_TEST(ec_next_events(ec, &event, 1, &short_time) == 0);
		close(ec);
		errno = 0;
		BOOST_TEST(ec_next_events(ec, &event, 1, &short_time) == -1);
		BOOST_TEST(errno == EBADF);
	});
}

BOOST_AUTO_TEST_CASE(a_number_that_is_another_descriptors_now_is_no_channel)
{
	Stream s = unix_stream(), p = pipe_stream();
	Fd event(eventfd(0, EFD_CLOEXEC)), epoll(epoll_create1(EPOLL_CLOEXEC));
	File file = disk_file();
	for_each_channel_kind([&](unsigned flags) {
		for (int fd :
		     {int(event), int(epoll), int(s.reader), int(p.reader), int(file.fd)}) {
			ec_t const ec = Channel(flags).release();
			BOOST_TEST_REQUIRE(post(ec, 1));
			BOOST_TEST_REQUIRE(dup2(fd, ec) == ec);
			BOOST_TEST(calls_without_ebadf(ec) == "");
			BOOST_TEST(fcntl(ec, F_GETFD) >= 0); // ec_destroy left it alone
			close(ec);
		}
	});
}

BOOST_AUTO_TEST_CASE(a_new_channel_with_the_number_of_a_closed_one_is_new)
{
	for_each_channel_kind([](unsigned flags) {
		ec_t const old = Channel(flags).release();
		Stream s = unix_stream();
		BOOST_TEST_REQUIRE(aio_read(&tell(reading(s.reader, 1), old).cb) == 0);
		for (uintptr_t i = 0; i < 5; ++i)
			BOOST_TEST_REQUIRE(post(old, i));
		BOOST_TEST(ec_set_limit(old, 10) == 0);
		hand_over(old);
		close(old);
		std::vector<Channel> others;
		for (int i = 0; i < 16; ++i) { // one of them surely gets the lowest free number
			others.emplace_back(flags);
			BOOST_TEST(numbers(others.back()).limit == 65536u);
			BOOST_TEST(!is_readable(others.back()));
			BOOST_TEST(found_empty(others.back()));
		}
		put(s.writer, "x");
		for (Channel &ec : others) {
			BOOST_TEST_REQUIRE(post(ec, uintptr_t(int(ec))));
			BOOST_TEST(next_event(ec).ev_result == int(ec));
			BOOST_TEST(found_empty(ec));
		}
	});
}

// ------------------------------------------------------------------ very many

BOOST_AUTO_TEST_CASE(more_than_a_thousand_channels_work_at_once)
{
	raise_descriptor_limit();
	if (!enough_descriptors(8000))
		return;
	std::vector<Channel> channels;
	std::vector<Stream> streams;
	for (int i = 0; i < 8; ++i)
		streams.push_back(unix_stream());
	constexpr uintptr_t count = 1200;
	for (uintptr_t i = 0; i < count; ++i) {
		channels.emplace_back(channel_kinds[i % 3].flags);
		BOOST_TEST_REQUIRE(post(channels[i], i));
	}
	for (uintptr_t i = 0; i < count; ++i) {
		Request &request = tell(reading(streams[i % 8].reader, 1), channels[i], as_data(i));
		BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
		hand_over(channels[i]);
	}
	for (Stream &s : streams)
		put(s.writer, std::string(count / 8, 'x'));
	for (uintptr_t i = 0; i < count; ++i) {
		BOOST_TEST(next_event(channels[i]).ev_result == ssize_t(i));
		const event_data_t event = next_event(channels[i]);
		BOOST_TEST(outcome(event) == ok(1));
		BOOST_TEST(as_number(event.ev_data) == i);
	}
}

// ------------------------------------------------------------- fork and exec

BOOST_AUTO_TEST_CASE(in_a_child_the_channel_is_none_and_the_parent_is_not_disturbed)
{
	for_each_channel([](Channel &ec) {
		Stream s = unix_stream();
		Fd epoll(epoll_create1(EPOLL_CLOEXEC));
		epoll_event interest{EPOLLIN | EPOLLET, {}}, got{};
		BOOST_TEST_REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, ec, &interest) == 0);
		Request &request = tell(reading(s.reader, 1), ec);
		BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
		BOOST_TEST_REQUIRE(post(ec, 1));
		hand_over(ec);
		int const status = in_child([&] {
			std::string const wrong = calls_without_ebadf(ec);
			if (!wrong.empty())
				dprintf(STDERR_FILENO, "no EBADF in a child: %s\n", wrong.c_str());
			CHILD_REQUIRE(wrong.empty());
			CHILD_REQUIRE(close(ec) == 0);
			CHILD_REQUIRE(calls_without_ebadf(ec).empty());
		});
		BOOST_TEST(status == 0);
		BOOST_TEST(next_event(ec).ev_result == 1);
		BOOST_TEST(found_empty(ec));
		for (int round = 0; round < 10 && epoll_wait(epoll, &got, 1, 0) > 0; ++round) {
		}
		put(s.writer, "x");
		BOOST_TEST(wait_through_stops(epoll, &got, 1, 20000) == 1);
		BOOST_TEST(outcome(next_event(ec)) == ok(1));
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(a_child_makes_channels_of_its_own_at_once)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST_REQUIRE(post(ec, 1));
		int const status = in_child([&] {
			close(ec);
			for (ChannelKind const &kind : channel_kinds) {
				ec_t const own = ec_create(kind.flags);
				event_data_t event;
				CHILD_REQUIRE(own >= 0);
				CHILD_REQUIRE(take_events(own, &event, 1, at_once) == 0);
				Stream s = unix_stream();
				Request &request = tell(reading(s.reader, 1), own);
				CHILD_REQUIRE(aio_read(&request.cb) == 0);
				CHILD_REQUIRE(write(s.writer, "x", 1) == 1);
				CHILD_REQUIRE(take_events(own, &event, 1) == 1 &&
					      event.ev_un.ev_aio == &request.cb);
				CHILD_REQUIRE(ec_destroy(own) == 0);
			}
		});
		BOOST_TEST(status == 0);
		BOOST_TEST(next_event(ec).ev_result == 1);
	});
}

BOOST_AUTO_TEST_CASE(a_reader_keeps_waiting_while_another_thread_forks)
{
	for_each_channel([](Channel &ec) {
		for (int round = 0; round < 5; ++round) {
			Reader reader(ec, read_one);
			BOOST_TEST(reader.waits());
			BOOST_TEST(in_child([&] { close(ec); }) == 0);
			BOOST_TEST_REQUIRE(post(ec, 4));
			reader.thread.join();
			BOOST_TEST(reader.result == 0);
			BOOST_TEST(reader.event.ev_result == 4);
		}
	});
}

BOOST_AUTO_TEST_CASE(the_flag_ec_cloexec_decides_what_a_new_program_gets)
{
	for_each_channel_kind([](unsigned flags) {
		for (unsigned more : {0u, unsigned{EC_CLOEXEC}}) {
			ec_t const ec = ec_create(flags | more);
			BOOST_TEST_REQUIRE(ec >= 0);
			std::string const probe = "test -e /proc/self/fd/" + std::to_string(ec);
			int const status = in_child([&] {
				execl("/bin/sh", "sh", "-c", probe.c_str(), nullptr);
				_exit(127);
			});
			BOOST_TEST(status == (more != 0 ? 1 : 0));
			BOOST_TEST(ec_destroy(ec) == 0);
		}
	});
}
