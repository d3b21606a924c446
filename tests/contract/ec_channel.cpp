// SPDX-License-Identifier: MIT
//
// Event channels: what makes one, what is none, reading and posting.
// (ec_limits.cpp: limits and numbers; ec_lifetime.cpp: their end, fork, very many.)
#define BOOST_TEST_MODULE ec_channel
#include "channel.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

namespace {

using Clock = std::chrono::steady_clock;

/// A thread's call, its result and its errno.
struct Call {
	int result = -2, error = 0;
	event_data_t event{};
	void of(int value)
	{
		error = errno;
		result = value;
	}
};

/// Interrupts a thread's reading until it returns.
void check_eintr(int handler_flags, const char *name, std::function<int(ec_t, event_data_t *)> read)
{
	BOOST_TEST_CONTEXT(name << ", flags of the handler " << handler_flags)
	for_each_channel([&](Channel &ec) {
		SignalHandler handler(
			SIGUSR1, +[](int) {}, handler_flags);
		Call call;
		std::atomic<bool> done{false};
		std::thread reader([&] {
			call.of(read(ec, &call.event));
			done = true;
		});
		BOOST_TEST(eventually([&] {
			if (!done)
				pthread_kill(reader.native_handle(), SIGUSR1);
			return done.load();
		}));
		reader.join();
		BOOST_TEST(call.result == -1);
		BOOST_TEST(call.error == EINTR);
		BOOST_TEST_REQUIRE(post(ec, 7));
		BOOST_TEST(next_event(ec).ev_result == 7);
	});
}

} // namespace

// ------------------------------------------------------------------- creation

BOOST_AUTO_TEST_CASE(every_known_flag_makes_a_channel)
{
	for (unsigned base : {0u, unsigned{EC_SINGLE}, unsigned{EC_SINGLE | EC_BATCH}})
		for (unsigned more : {0u, unsigned{EC_CLOEXEC}, unsigned{EC_NONBLOCK},
				      unsigned{EC_CLOEXEC | EC_NONBLOCK}}) {
			const ec_t ec = ec_create(base | more);
			BOOST_TEST(ec >= 0);
			BOOST_TEST(ec_to_fd(ec) == ec);
			BOOST_TEST(fcntl(ec, F_GETFD) ==
				   ((more & EC_CLOEXEC) != 0 ? FD_CLOEXEC : 0));
			BOOST_TEST(ec_destroy(ec) == 0);
		}
}

BOOST_AUTO_TEST_CASE(unknown_flags_are_invalid)
{
	for (unsigned bit = 1; bit != 0; bit <<= 1) {
		if ((bit & (EC_CLOEXEC | EC_NONBLOCK | EC_SINGLE | EC_BATCH)) != 0)
			continue;
		BOOST_TEST_CONTEXT("flag " << bit)
		{
			CHECK_FAILS(ec_create(bit), EINVAL);
			CHECK_FAILS(ec_create(bit | EC_SINGLE), EINVAL);
		}
	}
}

BOOST_AUTO_TEST_CASE(ec_batch_needs_ec_single)
{
	CHECK_FAILS(ec_create(EC_BATCH), EINVAL);
	CHECK_FAILS(ec_create(EC_BATCH | EC_CLOEXEC), EINVAL);
	CHECK_FAILS(ec_create(EC_BATCH | EC_NONBLOCK), EINVAL);
}

BOOST_AUTO_TEST_CASE(without_descriptors_no_channel_is_made_and_nothing_is_left_behind)
{
	const int status = in_child([] {
		{
			ec_t const first = ec_create(0); // whatever the library needs only once
			CHILD_REQUIRE(first >= 0 && ec_destroy(first) == 0);
		}
		int const before = open_descriptors();
		rlimit old;
		getrlimit(RLIMIT_NOFILE, &old);
		rlimit const none{0, old.rlim_max};
		setrlimit(RLIMIT_NOFILE, &none);
		for (ChannelKind const &kind : channel_kinds)
			CHILD_REQUIRE(ec_create(kind.flags) == -1 && errno == EMFILE);
		setrlimit(RLIMIT_NOFILE, &old);
		CHILD_REQUIRE(open_descriptors() == before);
		CHILD_REQUIRE(ec_create(0) >= 0);
	});
	BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(what_is_no_channel_gives_ebadf_everywhere_and_stays_open)
{
	Stream s = unix_stream(), p = pipe_stream();
	File file = disk_file();
	Fd event(eventfd(0, EFD_CLOEXEC)), epoll(epoll_create1(EPOLL_CLOEXEC));
	const int closed = fcntl(p.reader, F_DUPFD, 300);
	close(closed);
	for (int fd :
	     {int(s.reader), int(p.reader), int(p.writer), int(file.fd), int(event), int(epoll)}) {
		BOOST_TEST(calls_without_ebadf(fd) == "");
		BOOST_TEST(fcntl(fd, F_GETFD) >= 0);
	}
	for (int fd : {closed, -1, -2, INT_MIN, INT_MAX, 1 << 20})
		BOOST_TEST(calls_without_ebadf(fd) == "");
}

// -------------------------------------------------------------------- reading

BOOST_AUTO_TEST_CASE(a_nonblocking_channel_says_eagain_when_it_is_empty)
{
	for_each_channel(
		[](Channel &ec) {
			event_data_t event;
			for (int round = 0; round < 3; ++round) {
				BOOST_TEST(ec_next_event(ec, &event) == -1);
				BOOST_TEST(errno == EAGAIN);
				BOOST_TEST(ec_next_events(ec, &event, 1, nullptr) == 0);
				BOOST_TEST_REQUIRE(post(ec, 5));
				BOOST_TEST(ec_next_event(ec, &event) == 0);
				BOOST_TEST(event.ev_result == 5);
				BOOST_TEST_REQUIRE(post(ec, 6));
				BOOST_TEST(ec_next_events(ec, &event, 1, nullptr) == 1);
				BOOST_TEST(event.ev_result == 6);
			}
		},
		EC_NONBLOCK);
}

BOOST_AUTO_TEST_CASE(invalid_arguments_of_reading_take_nothing)
{
	for (unsigned more : {0u, unsigned{EC_NONBLOCK}})
		for_each_channel(
			[](Channel &ec) {
				for (int events : {0, 1}) {
					event_data_t event;
					if (events != 0)
						BOOST_TEST_REQUIRE(post(ec, 1));
					CHECK_FAILS(ec_next_event(ec, nullptr), EINVAL);
					CHECK_FAILS(ec_next_events(ec, nullptr, 1, &at_once),
						    EINVAL);
					CHECK_FAILS(ec_next_events(ec, &event, 0, &at_once),
						    EINVAL);
					CHECK_FAILS(ec_next_events(ec, &event,
								   unsigned{INT_MAX} + 1, &at_once),
						    EINVAL);
					CHECK_FAILS(ec_next_events(ec, &event, UINT_MAX, &at_once),
						    EINVAL);
					for (timespec const &bad :
					     {timespec{-1, 0}, timespec{0, -1},
					      timespec{0, 1000000000}})
						CHECK_FAILS(ec_next_events(ec, &event, 1, &bad),
							    EINVAL);
				}
				BOOST_TEST(drain(ec) == 1);
			},
			more);
}

BOOST_AUTO_TEST_CASE(ec_next_events_takes_what_is_there_up_to_max_in_order)
{
	for_each_channel([](Channel &ec) {
		for (uintptr_t i = 0; i < 10; ++i)
			BOOST_TEST_REQUIRE(post(ec, i));
		std::array<event_data_t, 20> events;
		ssize_t expected = 0;
		for (auto const &[max, count] : {std::pair{1u, 1}, {4u, 4}, {20u, 5}, {20u, 0}}) {
			BOOST_TEST_REQUIRE(ec_next_events(ec, events.data(), max, &at_once) ==
					   count);
			for (int i = 0; i < count; ++i)
				BOOST_TEST(events[size_t(i)].ev_result == expected++);
		}
		BOOST_TEST_REQUIRE(post(ec, 1));
		BOOST_TEST(ec_next_events(ec, events.data(), INT_MAX, nullptr) ==
			   1); // no waiting for more
	});
}

BOOST_AUTO_TEST_CASE(a_timeout_is_waited_for_nonblocking_or_not)
{
	for (unsigned more : {0u, unsigned{EC_NONBLOCK}})
		for_each_channel(
			[](Channel &ec) {
				event_data_t event;
				auto const begin = Clock::now();
				timespec const timeout{0, 20000000};
				BOOST_TEST(ec_next_events(ec, &event, 1, &timeout) == 0);
				BOOST_TEST((Clock::now() - begin >= std::chrono::milliseconds(20)));
				BOOST_TEST(ec_next_events(ec, &event, 1, &at_once) == 0);
			},
			more);
}

BOOST_AUTO_TEST_CASE(an_event_ends_the_waiting)
{
	using Read = int (*)(ec_t, event_data_t *);
	constexpr Read reads[] = {
		[](ec_t ec, event_data_t *e) { return ec_next_event(ec, e) == 0 ? 1 : -1; },
		[](ec_t ec, event_data_t *e) { return ec_next_events(ec, e, 1, nullptr); },
		[](ec_t ec, event_data_t *e) { return ec_next_events(ec, e, 1, &until_it_hangs); },
	};
	for (Read read : reads)
		for_each_channel([&](Channel &ec) {
			for (int round = 0; round < 20; ++round) {
				Call call;
				std::atomic<pid_t> thread{0};
				std::thread reader([&] {
					thread = thread_id();
					call.of(read_through_stops(
						[&] { return read(ec, &call.event); }));
				});
				if (round % 2 == 0) // half of them surely wait
					BOOST_TEST(eventually([&] {
						return thread != 0 && thread_state(thread) == 'S';
					}));
				BOOST_TEST_REQUIRE(post(ec, 42));
				reader.join();
				BOOST_TEST(call.result == 1);
				BOOST_TEST(call.event.ev_result == 42);
			}
		});
}

BOOST_AUTO_TEST_CASE(a_given_timeout_is_waited_for_on_a_nonblocking_channel_until_an_event_comes)
{
	for_each_channel(
		[](Channel &ec) {
			Call call;
			std::thread reader([&] { call.of(take_events(ec, &call.event, 1)); });
			BOOST_TEST_REQUIRE(post(ec, 42));
			reader.join();
			BOOST_TEST(call.result == 1);
			BOOST_TEST(call.event.ev_result == 42);
		},
		EC_NONBLOCK);
}

BOOST_AUTO_TEST_CASE(a_signal_handler_ends_the_waiting_and_no_event_is_lost)
{
	for (int flags : {0, SA_RESTART}) {
		check_eintr(flags, "one",
			    [](ec_t ec, event_data_t *e) { return ec_next_event(ec, e); });
		check_eintr(flags, "some", [](ec_t ec, event_data_t *e) {
			return ec_next_events(ec, e, 1, nullptr);
		});
		check_eintr(flags, "in time", [](ec_t ec, event_data_t *e) {
			return ec_next_events(ec, e, 1, &until_it_hangs);
		});
	}
}

// -------------------------------------------------------------------- posting

BOOST_AUTO_TEST_CASE(a_posted_event_carries_its_members)
{
	for_each_channel([](Channel &ec) {
		struct Posted {
			ssize_t result;
			int error;
			void *data;
		};
		int here;
		constexpr Posted none{0, 0, nullptr};
		for (Posted const &posted :
		     {none, Posted{1, 2, &here}, Posted{-1, ECANCELED, as_data(UINTPTR_MAX)},
		      Posted{SSIZE_MAX, INT_MAX, nullptr},
		      Posted{-SSIZE_MAX - 1, INT_MIN, &here}}) {
			BOOST_TEST(ec_post(ec, posted.result, posted.error, posted.data) == 0);
			event_data_t event;
			memset(static_cast<void *>(&event), 0xaa, sizeof event);
			BOOST_TEST(ec_next_event(ec, &event) == 0);
			BOOST_TEST(event.ev_type == event_type_user);
			BOOST_TEST(event.ev_result == posted.result);
			BOOST_TEST(event.ev_errno == posted.error);
			BOOST_TEST(event.ev_data == posted.data);
		}
	});
}

BOOST_AUTO_TEST_CASE(events_of_one_poster_come_in_its_order)
{
	constexpr uintptr_t posters = 3, each = 4000;
	for_each_channel([&](Channel &ec) {
		std::vector<std::thread> threads;
		for (uintptr_t poster = 0; poster < posters; ++poster)
			threads.emplace_back([&, poster] {
				for (uintptr_t i = 0; i < each; ++i)
					post(ec, poster << 32 | i);
			});
		std::array<uintptr_t, posters> expected{};
		unsigned wrong = 0, missing = 0;
		for (uintptr_t i = 0; i < posters * each && missing == 0; ++i) {
			event_data_t event;
			if (take_events(ec, &event, 1) != 1)
				++missing;
			else
				wrong += (as_number(event.ev_data) & 0xffffffff) !=
					 expected[as_number(event.ev_data) >> 32]++;
		}
		for (std::thread &thread : threads)
			thread.join();
		BOOST_TEST(missing == 0);
		BOOST_TEST(wrong == 0);
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(channels_do_not_mix)
{
	std::vector<Channel> channels;
	for (int i = 0; i < 30; ++i)
		channels.emplace_back(channel_kinds[i % 3].flags);
	for (uintptr_t round = 0; round < 3; ++round)
		for (uintptr_t i = 0; i < channels.size(); ++i)
			BOOST_TEST_REQUIRE(post(channels[i], 100 * round + i));
	for (size_t i = channels.size(); i-- > 0;) {
		for (uintptr_t round = 0; round < 3; ++round)
			BOOST_TEST(next_event(channels[i]).ev_result == ssize_t(100 * round + i));
		BOOST_TEST(found_empty(channels[i]));
	}
}

BOOST_AUTO_TEST_CASE(a_thread_may_hand_a_single_channel_to_another_one)
{
	for_each_channel([](Channel &ec) {
		Stream s = unix_stream();
		for (int round = 0; round < 10; ++round) {
			Request &request = tell(reading(s.reader, 1), ec, as_data(9));
			in_thread([&] { aio_read(&request.cb); });
			in_thread([&] { ec_submit(ec); });
			put(s.writer, "x");
			event_data_t event{};
			in_thread([&] { take_events(ec, &event, 1); });
			BOOST_TEST(outcome(event) == ok(1));
			BOOST_TEST(as_number(event.ev_data) == 9u);
		}
	});
}
