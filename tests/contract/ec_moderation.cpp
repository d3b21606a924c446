// SPDX-License-Identifier: MIT
//
// ec_moderate and ec_busy_poll: when a channel says that it has events.
#define BOOST_TEST_MODULE ec_moderation
#include "channel.hpp"

#include <climits>
#include <thread>

namespace {

/// Microseconds that no test lives to see the end of.
constexpr unsigned very_long = UINT_MAX;

bool is_asleep(pid_t thread)
{
	return thread_state(thread) == 'S';
}
void post_some(ec_t ec, int count)
{
	for (int i = 0; i < count; ++i)
		BOOST_TEST_REQUIRE(ec_post(ec, i, 0, nullptr) == 0);
}

/// Streams with a one-call request each, whose end is caused one by one.
class Receives {
public:
	Receives(ec_t ec, int count) : ec_(ec)
	{
		for (int i = 0; i < count; ++i) {
			streams_.push_back(unix_stream());
			BOOST_TEST_REQUIRE(
				ev_recv(streams_.back().reader, &byte_, 1, 0, ec, nullptr) == 0);
		}
		hand_over(ec);
	}
	void end_some(int count)
	{
		for (int i = 0; i < count; ++i)
			put(streams_[size_t(next_++)].writer, "x");
	}
	/// Until the channel knows of that many ends.
	void await_queued(uint64_t count)
	{
		while (numbers(ec_).queued < count)
			std::this_thread::yield();
	}

private:
	ec_t ec_;
	std::deque<Stream> streams_;
	int next_ = 0;
	char byte_ = 0;
};

} // namespace

BOOST_AUTO_TEST_CASE(the_descriptor_is_readable_with_so_many_events_and_not_before)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST_REQUIRE(ec_moderate(ec, 4, very_long) == 0);
		for (int round = 0; round < 3; ++round) {
			for (int i = 0; i < 3; ++i) {
				post_some(ec, 1);
				BOOST_TEST(!is_readable(ec));
			}
			post_some(ec, 1);
			BOOST_TEST(is_readable(ec));
			BOOST_TEST(drain(ec) == 4);
			BOOST_TEST(!is_readable(ec));
		}
	});
}

BOOST_AUTO_TEST_CASE(ends_of_requests_are_counted_as_other_events_are)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST_REQUIRE(ec_moderate(ec, 4, very_long) == 0);
		Receives receives(ec, 4);
		receives.end_some(3);
		receives.await_queued(3);
		BOOST_TEST(!is_readable(ec));
		receives.end_some(1);
		BOOST_TEST(becomes_readable(ec));
		BOOST_TEST(drain(ec) == 4);
	});
}

BOOST_AUTO_TEST_CASE(the_descriptor_becomes_readable_so_long_after_the_first_event)
{
	for (unsigned time : {100u, 1000u, 20000u}) {
		for_each_channel_and_source([&](Channel &ec, Source &source) {
			BOOST_TEST_REQUIRE(ec_moderate(ec, 1000, time) == 0);
			for (int round = 0; round < 3; ++round) {
				source.prepare();
				BOOST_TEST(!is_readable(ec));
				auto const before = std::chrono::steady_clock::now();
				source.fire();
				BOOST_TEST(becomes_readable(ec));
				BOOST_TEST((std::chrono::steady_clock::now() - before >=
					    std::chrono::microseconds(time)));
				BOOST_TEST(drain(ec) == 1);
				BOOST_TEST(!is_readable(ec));
			}
		});
	}
}

BOOST_AUTO_TEST_CASE(of_the_two_numbers_zero_is_not_looked_at)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST_REQUIRE(ec_moderate(ec, 2, 0) == 0);
		post_some(ec, 1);
		BOOST_TEST(!is_readable(ec));
		post_some(ec, 1);
		BOOST_TEST(is_readable(ec));
		BOOST_TEST(drain(ec) == 2);

		BOOST_TEST_REQUIRE(ec_moderate(ec, 0, very_long) == 0);
		post_some(ec, 100);
		BOOST_TEST(!is_readable(ec));
		BOOST_TEST(drain(ec) == 100);
		BOOST_TEST_REQUIRE(ec_moderate(ec, 0, 500) == 0);
		post_some(ec, 1);
		BOOST_TEST(becomes_readable(ec));
	});
}

BOOST_AUTO_TEST_CASE(both_zero_is_at_once_as_at_first)
{
	for_each_channel_and_source([](Channel &ec, Source &source) {
		for (bool before : {false, true}) {
			if (before)
				BOOST_TEST_REQUIRE(ec_moderate(ec, 5, very_long) == 0);
			if (before)
				BOOST_TEST_REQUIRE(ec_moderate(ec, 0, 0) == 0);
			source.prepare();
			source.fire();
			BOOST_TEST(becomes_readable(ec));
			BOOST_TEST(drain(ec) == 1);
		}
	});
}

BOOST_AUTO_TEST_CASE(what_waits_by_an_old_rule_goes_by_the_new_one)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST_REQUIRE(ec_moderate(ec, 10, very_long) == 0);
		post_some(ec, 3);
		BOOST_TEST(!is_readable(ec));
		BOOST_TEST_REQUIRE(ec_moderate(ec, 3, very_long) == 0);
		BOOST_TEST(is_readable(ec));
		BOOST_TEST(drain(ec) == 3);
		post_some(ec, 1);
		BOOST_TEST(!is_readable(ec));
		BOOST_TEST_REQUIRE(ec_moderate(ec, 0, 0) == 0);
		BOOST_TEST(is_readable(ec));
	});
}

BOOST_AUTO_TEST_CASE(a_read_takes_what_is_there_at_once)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST_REQUIRE(ec_moderate(ec, 100, very_long) == 0);
		post_some(ec, 3);
		event_data_t event;
		BOOST_TEST(ec_next_event(ec, &event) == 0);
		BOOST_TEST(event.ev_result == 0);
		event_data_t events[8];
		BOOST_TEST(ec_next_events(ec, events, 8, nullptr) == 2);
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(a_blocked_reader_waits_for_so_many_events)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST_REQUIRE(ec_moderate(ec, 8, very_long) == 0);
		for (int round = 0; round < 20; ++round) {
			std::thread poster([&] {
				for (uintptr_t i = 0; i < 8; ++i)
					post(ec, i);
			});
			event_data_t events[16];
			int const first = take_events(ec, events, 16);
			poster.join();
			// Who came before any event was blocked, and got all; who came later took
			// what was there.
			BOOST_TEST(first >= 1);
			BOOST_TEST(first + drain(ec) == 8);
		}
	});
}

BOOST_AUTO_TEST_CASE(a_reader_that_is_asleep_gets_all_of_them_in_one_read)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST_REQUIRE(ec_moderate(ec, 8, very_long) == 0);
		std::atomic<pid_t> reader_id{0};
		int taken = 0;
		std::thread reader([&] {
			reader_id = thread_id();
			event_data_t events[16];
			taken = take_events(ec, events, 16);
		});
		while (reader_id == 0 || !is_asleep(reader_id))
			std::this_thread::yield();
		for (uintptr_t i = 0; i < 8; ++i) {
			post(ec, i);
			while (i < 7 && !is_asleep(reader_id))
				std::this_thread::yield();
		}
		reader.join();
		BOOST_TEST(taken == 8);
	});
}

BOOST_AUTO_TEST_CASE(a_blocked_reader_is_let_go_so_long_after_the_first_event)
{
	for (unsigned time : {300u, 20000u}) {
		for_each_channel_and_source([&](Channel &ec, Source &source) {
			BOOST_TEST_REQUIRE(ec_moderate(ec, 1000, time) == 0);
			source.prepare();
			std::thread other([&] { source.fire(); });
			event_data_t event{};
			BOOST_TEST(take_events(ec, &event, 1) == 1);
			other.join();
		});
	}
}

BOOST_AUTO_TEST_CASE(a_readers_own_time_limit_is_earlier_and_it_takes_what_is_there)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST_REQUIRE(ec_moderate(ec, 100, very_long) == 0);
		std::thread poster([&] { post(ec, 1); });
		event_data_t events[4];
		timespec const some{0, 200'000'000};
		int count = take_events(ec, events, 4, some);
		poster.join();
		if (count == 0)
			count = drain(ec);
		BOOST_TEST(count == 1);
	});
}

BOOST_AUTO_TEST_CASE(more_events_than_the_channel_admits_need_not_come)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST_REQUIRE(ec_set_limit(ec, 3) == 0);
		BOOST_TEST_REQUIRE(ec_moderate(ec, 10, 0) == 0);
		post_some(ec, 2);
		BOOST_TEST(!is_readable(ec));
		post_some(ec, 1);
		BOOST_TEST(is_readable(ec));
	});
}

BOOST_AUTO_TEST_CASE(the_channel_ends_under_a_reader_that_waits_for_more)
{
	for (unsigned flags : {0u, unsigned(EC_SINGLE)}) {
		Channel ec(flags);
		BOOST_TEST_REQUIRE(ec_moderate(ec, 100, very_long) == 0);
		std::atomic<pid_t> reader_id{0};
		int result = 0, error = 0;
		std::thread reader([&, number = ec_t(ec)] {
			reader_id = thread_id();
			event_data_t event;
			result = read_through_stops([&] { return ec_next_event(number, &event); });
			error = errno;
		});
		while (reader_id == 0 || !is_asleep(reader_id))
			std::this_thread::yield();
		BOOST_TEST(ec_destroy(ec.release()) == 0);
		reader.join();
		BOOST_TEST(result == -1);
		BOOST_TEST(error == EBADF);
	}
}

BOOST_AUTO_TEST_CASE(requests_outstanding_when_the_rule_changes_still_end)
{
	for_each_channel([](Channel &ec) {
		Receives receives(ec, 3);
		receives.end_some(1);
		BOOST_TEST(becomes_readable(ec));
		BOOST_TEST_REQUIRE(ec_moderate(ec, 3, very_long) == 0);
		receives.end_some(2);
		receives.await_queued(3);
		BOOST_TEST(becomes_readable(ec));
		BOOST_TEST(drain(ec) == 3);
		Receives more(ec, 2);
		BOOST_TEST_REQUIRE(ec_moderate(ec, 2, 500) == 0);
		more.end_some(1);
		BOOST_TEST(becomes_readable(ec));
		BOOST_TEST_REQUIRE(ec_moderate(ec, 0, 0) == 0);
		more.end_some(1);
		BOOST_TEST(becomes_readable(ec));
		int taken = 0;
		while (taken < 2) {
			event_data_t events[4];
			int const count = take_events(ec, events, 4);
			BOOST_TEST_REQUIRE(count > 0);
			taken += count;
		}
	});
}

BOOST_AUTO_TEST_CASE(a_reader_that_looks_first_finds_what_comes)
{
	for (unsigned time : {1u, 200u, 50'000u, very_long}) {
		for_each_channel_and_source([&](Channel &ec, Source &source) {
			BOOST_TEST_REQUIRE(ec_busy_poll(ec, time) == 0);
			for (int round = 0; round < 5; ++round) {
				source.prepare();
				std::thread other([&] { source.fire(); });
				next_event(ec);
				other.join();
				BOOST_TEST(found_empty(ec));
			}
		});
	}
}

BOOST_AUTO_TEST_CASE(a_reader_that_looks_keeps_to_its_own_time_limit)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST_REQUIRE(ec_busy_poll(ec, very_long) == 0);
		event_data_t event;
		timespec const short_time{0, 1'000'000};
		BOOST_TEST(ec_next_events(ec, &event, 1, &short_time) == 0);
		BOOST_TEST(ec_next_events(ec, &event, 1, &at_once) == 0);
	});
	for_each_channel(
		[](Channel &ec) {
			BOOST_TEST_REQUIRE(ec_busy_poll(ec, very_long) == 0);
			event_data_t event;
			CHECK_FAILS(ec_next_event(ec, &event), EAGAIN);
		},
		EC_NONBLOCK);
}

BOOST_AUTO_TEST_CASE(the_state_tells_of_both_and_of_the_node)
{
	const Channel ec;
	BOOST_TEST(numbers(ec).moderate_events == 0u);
	BOOST_TEST(numbers(ec).busy_poll_microseconds == 0u);
	BOOST_TEST_REQUIRE(ec_moderate(ec, 7, 11) == 0);
	BOOST_TEST_REQUIRE(ec_busy_poll(ec, 13) == 0);
	const struct ec_stat s = numbers(ec);
	BOOST_TEST(s.moderate_events == 7u);
	BOOST_TEST(s.moderate_microseconds == 11u);
	BOOST_TEST(s.busy_poll_microseconds == 13u);
	unsigned cpu = 0, node = 0;
	BOOST_TEST_REQUIRE(getcpu(&cpu, &node) == 0);
	if (access("/sys/devices/system/node/node1", F_OK) != 0)
		BOOST_TEST(s.node == int(node));
}

BOOST_AUTO_TEST_CASE(no_channel_is_ebadf)
{
	const Fd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
	for (int fd : {-1, int(file), 1 << 20}) {
		CHECK_FAILS(ec_moderate(fd, 1, 1), EBADF);
		CHECK_FAILS(ec_busy_poll(fd, 1), EBADF);
	}
	Channel ec;
	close(ec);
	CHECK_FAILS(ec_moderate(ec, 1, 1), EBADF);
	CHECK_FAILS(ec_busy_poll(ec, 1), EBADF);
	ec.release();
}
