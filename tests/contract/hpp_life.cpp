// SPDX-License-Identifier: MIT
//
// <sigevec.hpp>: events that are no request's, stop, the stack, and the lives of coroutines,
// requests and channels.
#define BOOST_TEST_MODULE hpp_life
#include "support.hpp"

#include <sigevec.hpp>

#include <stdexcept>
#include <vector>

using namespace std::literals;
using sigevec::channel, sigevec::detached, sigevec::result, sigevec::spawn, sigevec::task;

namespace {

constexpr unsigned many = 200000;

task<> receive(channel &ch, int fd, result &outcome)
{
	char byte;
	outcome = co_await ch.recv(fd, &byte, 1);
}

task<int> at_once()
{
	co_return 1;
}
task<int> thrown_at_once()
{
	throw std::runtime_error("at once");
	co_return 0;
}
task<unsigned> deep(unsigned left)
{
	if (left == 0)
		co_return 0;
	const unsigned below = co_await deep(left - 1);
	co_return below + 1;
}

bool next_event(channel &ch, event_data_t &e)
{
	const timespec limit{hang_limit.count(), 0};
	return ec_next_events(ch.get(), &e, 1, &limit) == 1;
}

} // namespace

// ---------------------------------------------------------------- events that are no request's

BOOST_AUTO_TEST_CASE(a_programs_own_requests_on_the_channel_are_not_taken_for_the_headers)
{
	for (void *data : {static_cast<void *>(nullptr), reinterpret_cast<void *>(1),
			   reinterpret_cast<void *>(0x1000)}) {
		Stream s = unix_stream();
		channel ch;
		result outcome;
		spawn(receive(ch, s.reader, outcome));
		aiocb cb{};
		cb.aio_fildes = s.writer;
		cb.aio_buf = const_cast<char *>("x");
		cb.aio_nbytes = 1;
		cb.aio_sigevent.sigev_notify = SIGEV_EC;
		cb.aio_sigevent.sigev_ec = ch.get();
		cb.aio_sigevent.sigev_value.sival_ptr = data;
		BOOST_TEST_REQUIRE(ec_post(ch.get(), 7, 0, data) == 0);
		BOOST_TEST_REQUIRE(ev_poll(s.writer, POLLOUT, ch.get(), data) == 0);
		BOOST_TEST_REQUIRE(aio_write(&cb) == 0);
		unsigned own = 0, requests = 0;
		for (event_data_t e; own + requests < 4 && next_event(ch, e);)
			(ch.dispatch(e) ? requests : own)++;
		BOOST_TEST(own == 3u);
		BOOST_TEST(requests == 1u);
		BOOST_TEST(outcome.value == 1);
		BOOST_TEST(ch.outstanding() == 0u);
	}
}

BOOST_AUTO_TEST_CASE(also_when_their_data_is_the_object_in_which_a_request_lives)
{
	Stream s = unix_stream();
	channel ch;
	char byte;
	auto request = ch.recv(s.reader, &byte, 1);
	result outcome;
	[](auto &r, result &o) -> detached { o = co_await r; }(request, outcome);
	BOOST_TEST_REQUIRE(ec_post(ch.get(), 7, 0, &request) == 0);
	event_data_t e;
	BOOST_TEST_REQUIRE(next_event(ch, e));
	BOOST_TEST(!ch.dispatch(e));
	BOOST_TEST(ch.outstanding() == 1u);
	put(s.writer, "x");
	ch.run();
	BOOST_TEST(outcome.value == 1);
}

// ---------------------------------------------------------------- stop

BOOST_AUTO_TEST_CASE(a_stop_where_nobody_runs_stops_no_later_run)
{
	Stream s = unix_stream();
	channel ch;
	result outcome;
	ch.stop();
	spawn(receive(ch, s.reader, outcome));
	put(s.writer, "x");
	BOOST_TEST(bool(ch.run()));
	BOOST_TEST(outcome.value == 1);
	BOOST_TEST(ch.run_once(0ns).value == 0); // nor leaves an event
}

BOOST_AUTO_TEST_CASE(a_stop_by_the_last_coroutine_stops_this_run_only)
{
	Stream s = unix_stream();
	channel ch;
	[](channel &on, int fd) -> detached {
		char byte;
		co_await on.recv(fd, &byte, 1);
		on.stop();
	}(ch, s.reader);
	put(s.writer, "x");
	BOOST_TEST(bool(ch.run()));
	result outcome;
	spawn(receive(ch, s.reader, outcome));
	put(s.writer, "y");
	BOOST_TEST(bool(ch.run()));
	BOOST_TEST(outcome.value == 1);
}

BOOST_AUTO_TEST_CASE(a_stop_reaches_all_who_run_also_on_a_full_channel)
{
	Stream s = unix_stream();
	channel ch(EC_CLOEXEC);
	BOOST_TEST_REQUIRE(ec_set_limit(ch.get(), 1) == 0);
	result outcome;
	spawn(receive(ch, s.reader, outcome));
	std::atomic<unsigned> entered = 0, left = 0;
	std::vector<std::thread> threads;
	for (unsigned i = 0; i < 3; ++i)
		threads.emplace_back([&] {
			entered++;
			while (left == 0)
				ch.run(); // one that comes late is stopped by the next
			left++;
		});
	BOOST_TEST(eventually([&] { return entered == 3; }));
	BOOST_TEST(eventually([&] {
		left = left == 0 ? 1 : left.load();
		ch.stop();
		return left == 4;
	}));
	for (std::thread &t : threads)
		t.join();
	BOOST_TEST(ch.outstanding() == 1u);
	put(s.writer, "x");
	BOOST_TEST(bool(ch.run()));
	BOOST_TEST(outcome.value == 1);
}

BOOST_AUTO_TEST_CASE(all_who_run_leave_when_the_last_coroutine_has_ended)
{
	Stream s = unix_stream();
	channel ch(EC_CLOEXEC);
	result outcome;
	spawn(receive(ch, s.reader, outcome));
	std::vector<std::thread> threads;
	for (unsigned i = 0; i < 3; ++i)
		threads.emplace_back([&] { ch.run(); });
	put(s.writer, "x");
	for (std::thread &t : threads)
		t.join();
	BOOST_TEST(outcome.value == 1);
}

// ---------------------------------------------------------------- the stack

BOOST_AUTO_TEST_CASE(awaits_that_end_at_once_need_no_stack)
{
	channel none(0x40000000u);
	long sum = 0, refused = 0, caught = 0;
	[](channel &ch, long &a, long &b, long &c) -> detached {
		char byte;
		for (unsigned i = 0; i < many; ++i) {
			a += co_await at_once();
			b += !co_await ch.recv(-1, &byte, 1);
			if (i % 100 == 0)
				try {
					co_await thrown_at_once();
				} catch (std::runtime_error const &) {
					++c;
				}
		}
	}(none, sum, refused, caught);
	BOOST_TEST(sum == long(many));
	BOOST_TEST(refused == long(many));
	BOOST_TEST(caught == long(many / 100));
}

BOOST_AUTO_TEST_CASE(nor_do_tasks_that_await_each_other)
{
	unsigned depth = 0;
	[](unsigned &d) -> detached { d = co_await deep(many); }(depth);
	BOOST_TEST(depth == many);
}

BOOST_AUTO_TEST_CASE(a_coroutine_started_within_another_one_runs_at_once_to_its_first_wait)
{
	Stream s = unix_stream();
	channel ch;
	std::string order;
	auto inner = [](channel &on, int fd, std::string &o) -> task<> {
		o += "b";
		co_await at_once();
		o += "c";
		co_await on.poll(fd, POLLIN);
		o += "e";
	};
	auto outer = [&](channel &on, int fd, std::string &o) -> task<> {
		o += "a";
		spawn(inner(on, fd, o));
		o += "d";
		co_await at_once();
		co_await on.poll(fd, POLLIN);
		o += "f";
	};
	spawn(outer(ch, s.reader, order));
	BOOST_TEST(order == "abcd");
	put(s.writer, "x");
	ch.run();
	BOOST_TEST((order == "abcdef" || order == "abcdfe")); // both are ready
}

// ---------------------------------------------------------------- lives

BOOST_AUTO_TEST_CASE(a_coroutine_that_is_destroyed_takes_its_request_back)
{
	static char byte; // lasts until the end is shown
	struct Held {
		struct promise_type {
			Held get_return_object()
			{
				return {std::coroutine_handle<promise_type>::from_promise(*this)};
			}
			std::suspend_never initial_suspend() noexcept { return {}; }
			std::suspend_always final_suspend() noexcept { return {}; }
			void return_void() {}
			void unhandled_exception() { std::terminate(); }
		};
		std::coroutine_handle<promise_type> frame;
	};
	Stream s = unix_stream();
	channel ch;
	const Held held = [](channel &on, int fd) -> Held {
		co_await on.recv(fd, &byte, 1);
	}(ch, s.reader);
	ch.run_once(0ns);
	BOOST_TEST(ch.outstanding() == 1u);
	held.frame.destroy();
	BOOST_TEST(ch.outstanding() == 0u);
	event_data_t e;
	BOOST_TEST_REQUIRE(next_event(ch, e));
	BOOST_TEST(e.ev_errno == ECANCELED);
	BOOST_TEST(!ch.dispatch(e));
}

BOOST_AUTO_TEST_CASE(a_channel_that_waits_may_be_moved)
{
	Stream s = unix_stream();
	channel first;
	result outcome;
	spawn(receive(first, s.reader, outcome));
	first.run_once(0ns);
	channel second(std::move(first));
	BOOST_TEST(first.outstanding() == 0u);
	BOOST_TEST(second.outstanding() == 1u);
	put(s.writer, "x");
	BOOST_TEST(bool(second.run()));
	BOOST_TEST(outcome.value == 1);
}

BOOST_AUTO_TEST_CASE(any_number_of_requests_is_found_again)
{
	constexpr size_t pairs = 200;
	channel ch;
	std::vector<Stream> streams;
	std::vector<result> outcomes(pairs);
	for (size_t i = 0; i < pairs; ++i)
		streams.push_back(unix_stream());
	for (size_t i = 0; i < pairs; ++i)
		spawn(receive(ch, streams[i].reader, outcomes[i]));
	for (size_t i = 0; i < pairs; ++i)
		put(streams[(i * 7) % pairs].writer, "x");
	BOOST_TEST(bool(ch.run()));
	for (const result &r : outcomes)
		BOOST_TEST((r.value == 1 && r.error == 0), r.value << " " << r.error);
}
