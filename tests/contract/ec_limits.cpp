// SPDX-License-Identifier: MIT
//
// Event channels: the limit, which refuses a submission before anything is done, and
// the numbers of ec_stat.
#define BOOST_TEST_MODULE ec_limits
#include "channel.hpp"

namespace {

uint64_t load(const struct ec_stat &s)
{
	return s.outstanding + s.queued;
}

/// Posts until the channel refuses; returns how many it took.
unsigned post_until_refused(ec_t ec)
{
	unsigned count = 0;
	while (ec_post(ec, count, 0, nullptr) == 0)
		++count;
	BOOST_TEST(errno == EAGAIN);
	return count;
}

} // namespace

// ------------------------------------------------------------------ the limit

BOOST_AUTO_TEST_CASE(a_new_channel_admits_65536_events)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST(numbers(ec).limit == 65536u);
		BOOST_TEST(post_until_refused(ec) == 65536u);
		for (ssize_t i = 0; i < 65536; ++i) {
			event_data_t event;
			BOOST_TEST_REQUIRE(take_events(ec, &event, 1, at_once) == 1);
			if (event.ev_result != i)
				BOOST_TEST_REQUIRE(event.ev_result == i);
		}
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(arguments_that_make_no_sense_are_invalid)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST(ec_set_limit(ec, 0) == -1);
		BOOST_TEST(errno == EINVAL);
		BOOST_TEST(ec_stat(ec, nullptr) == -1);
		BOOST_TEST(errno == EINVAL);
		BOOST_TEST(numbers(ec).limit == 65536u);
	});
}

BOOST_AUTO_TEST_CASE(past_the_limit_a_post_is_refused_until_an_event_is_read)
{
	for_each_channel([](Channel &ec) {
		for (unsigned limit : {1u, 2u, 7u}) {
			BOOST_TEST(ec_set_limit(ec, limit) == 0);
			BOOST_TEST(numbers(ec).limit == limit);
			BOOST_TEST(post_until_refused(ec) == limit);
			BOOST_TEST(next_event(ec).ev_result == 0);
			BOOST_TEST(ec_post(ec, limit, 0, nullptr) == 0);
			CHECK_FAILS(ec_post(ec, 99, 0, nullptr), EAGAIN);
			for (unsigned i = 1; i <= limit; ++i)
				BOOST_TEST(next_event(ec).ev_result == i);
			BOOST_TEST(found_empty(ec));
		}
	});
}

BOOST_AUTO_TEST_CASE(a_limit_below_what_there_is_lets_nothing_in_until_there_is_less)
{
	for_each_channel([](Channel &ec) {
		for (uintptr_t i = 0; i < 5; ++i)
			BOOST_TEST_REQUIRE(post(ec, i));
		BOOST_TEST(ec_set_limit(ec, 2) == 0);
		for (ssize_t i = 0; i < 4; ++i) {
			CHECK_FAILS(ec_post(ec, 9, 0, nullptr), EAGAIN);
			BOOST_TEST(next_event(ec).ev_result == i);
		}
		BOOST_TEST(ec_post(ec, 5, 0, nullptr) == 0);
		CHECK_FAILS(ec_post(ec, 9, 0, nullptr), EAGAIN);
		BOOST_TEST(drain(ec) == 2);
	});
}

BOOST_AUTO_TEST_CASE(a_raised_limit_lets_more_in)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST(ec_set_limit(ec, 2) == 0);
		BOOST_TEST(post_until_refused(ec) == 2u);
		BOOST_TEST(ec_set_limit(ec, 5) == 0);
		BOOST_TEST(post_until_refused(ec) == 3u);
		BOOST_TEST(ec_set_limit(ec, UINT_MAX) == 0);
		BOOST_TEST(numbers(ec).limit == UINT_MAX);
		for (uintptr_t i = 0; i < 1000; ++i)
			BOOST_TEST_REQUIRE(ec_post(ec, 0, 0, nullptr) == 0);
		BOOST_TEST(drain(ec) == 1005);
	});
}

BOOST_AUTO_TEST_CASE(more_events_than_the_first_limit_can_wait)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST(ec_set_limit(ec, 200000) == 0);
		BOOST_TEST(post_until_refused(ec) == 200000u);
		BOOST_TEST(drain(ec) == 200000);
	});
}

BOOST_AUTO_TEST_CASE(requests_count_from_their_submission_until_their_event_is_read)
{
	for_each_channel([](Channel &ec) {
		Stream s = unix_stream(), p = pipe_stream();
		BOOST_TEST(ec_set_limit(ec, 2) == 0);
		Request &first = tell(reading(s.reader, 1), ec),
			&second = tell(reading(p.reader, 1), ec);
		Request &third = tell(reading(s.reader, 1), ec);
		BOOST_TEST(ev_recv(s.reader, first.data(), 1, 0, ec, nullptr) == 0);
		BOOST_TEST(aio_read(&second.cb) == 0);
		CHECK_FAILS(ev_recv(s.reader, third.data(), 1, 0, ec, nullptr), EAGAIN);
		CHECK_FAILS(aio_read(&third.cb), EAGAIN);
		CHECK_FAILS(ec_post(ec, 0, 0, nullptr), EAGAIN);
		hand_over(ec);
		put(s.writer, "x");
		BOOST_TEST(becomes_readable(ec));
		CHECK_FAILS(ec_post(ec, 0, 0, nullptr), EAGAIN); // it waits to be read
		BOOST_TEST(outcome(next_event(ec)) == ok(1));
		BOOST_TEST(ec_post(ec, 0, 0, nullptr) == 0);
		BOOST_TEST(next_event(ec).ev_type == event_type_user);
		put(p.writer, "x");
		BOOST_TEST(next_event(ec).ev_un.ev_aio == &second.cb);
		BOOST_TEST(load(numbers(ec)) == 0u);
	});
}

BOOST_AUTO_TEST_CASE(a_refused_request_has_done_nothing)
{
	for_each_channel([](Channel &ec) {
		Stream s = unix_stream();
		File file = disk_file();
		BOOST_TEST(ec_set_limit(ec, 1) == 0);
		BOOST_TEST_REQUIRE(post(ec, 1));
		put(s.writer, "data");
		Request &in = tell(reading(s.reader, 4), ec),
			&out = tell(writing(s.writer, "more"), ec);
		Request &into_file = tell(writing(file.fd, "text"), ec);
		for (int round = 0; round < 3; ++round) {
			CHECK_FAILS(aio_read(&in.cb), EAGAIN);
			CHECK_FAILS(aio_recv(&in.cb, 0), EAGAIN);
			CHECK_FAILS(ev_recv(s.reader, in.data(), 4, 0, ec, nullptr), EAGAIN);
			CHECK_FAILS(aio_write(&out.cb), EAGAIN);
			CHECK_FAILS(aio_send(&out.cb, 0), EAGAIN);
			CHECK_FAILS(ev_send(s.writer, out.data(), 4, 0, ec, nullptr), EAGAIN);
			CHECK_FAILS(aio_write(&into_file.cb), EAGAIN);
			CHECK_FAILS(aio_fsync(O_SYNC, &into_file.cb), EAGAIN);
			CHECK_FAILS(ev_poll(s.reader, POLLIN, ec, nullptr), EAGAIN);
			CHECK_FAILS(ev_accept(s.reader, 0, ec, nullptr), EAGAIN);
		}
		BOOST_TEST(drain(ec) == 1);
		BOOST_TEST(in.text() == "????");
		BOOST_TEST(take(s.reader, 4) == "data");
		BOOST_TEST(!has_data(s.reader));
		BOOST_TEST(file.content() == "");
		BOOST_TEST(numbers(ec).refused == 30u);
		// Now there is room: the same requests are good.
		BOOST_TEST(aio_write(&into_file.cb) == 0);
		BOOST_TEST(outcome(next_event(ec)) == ok(4));
		BOOST_TEST(file.content() == "text");
	});
}

BOOST_AUTO_TEST_CASE(a_list_whose_notification_is_refused_has_done_nothing)
{
	for_each_channel([](Channel &ec) {
		Stream s = unix_stream();
		BOOST_TEST(ec_set_limit(ec, 1) == 0);
		BOOST_TEST_REQUIRE(post(ec, 1));
		Request &out = writing(s.writer, "x");
		out.cb.aio_lio_opcode = LIO_WRITE;
		aiocb *list[] = {&out.cb};
		sigevent event = channel_event(ec);
		CHECK_FAILS(lio_listio(LIO_NOWAIT, list, 1, &event), EAGAIN);
		BOOST_TEST(drain(ec) == 1);
		BOOST_TEST(!has_data(s.reader));
		BOOST_TEST(lio_listio(LIO_NOWAIT, list, 1, &event) == 0);
		BOOST_TEST(outcome(next_event(ec)) == ok(0));
		BOOST_TEST(take(s.reader, 1) == "x");
	});
}

// The application may look at each element to learn which ones were affected.
BOOST_AUTO_TEST_CASE(the_elements_of_a_refused_list_do_not_look_as_they_did_after_an_earlier_use)
{
	for_each_channel([](Channel &ec) {
		File file = disk_file();
		put(file.fd, "text");
		BOOST_TEST(ec_set_limit(ec, 1) == 0);
		BOOST_TEST_REQUIRE(post(ec, 1));
		for (bool exists : {true, false}) {
			Request &a = reading(file.fd, 4), &b = reading(file.fd, 4);
			a.cb.aio_lio_opcode = b.cb.aio_lio_opcode = LIO_READ;
			aiocb *list[] = {&a.cb, nullptr, &b.cb};
			BOOST_TEST_REQUIRE(lio_listio(LIO_WAIT, list, 3, nullptr) == 0);
			BOOST_TEST(finish(a) == ok(4));
			memset(a.data(), '?', 4);
			memset(b.data(), '?', 4);
			sigevent event = channel_event(exists ? ec_t(ec) : 99999);
			const int error = exists ? EAGAIN : EBADF;
			CHECK_FAILS(lio_listio(LIO_NOWAIT, list, 3, &event), error);
			for (Request *r : {&a, &b}) {
				BOOST_TEST(finish(*r) == failed(error));
				BOOST_TEST(r->text() == "????");
			}
		}
	});
}

BOOST_AUTO_TEST_CASE(a_cancelled_request_counts_until_its_event_is_read)
{
	for_each_channel([](Channel &ec) {
		Stream s = unix_stream();
		BOOST_TEST(ec_set_limit(ec, 1) == 0);
		Request &request = tell(reading(s.reader, 1), ec);
		BOOST_TEST(aio_read(&request.cb) == 0);
		hand_over(ec);
		BOOST_TEST(aio_cancel(s.reader, &request.cb) == AIO_CANCELED);
		CHECK_FAILS(ec_post(ec, 0, 0, nullptr), EAGAIN);
		BOOST_TEST(outcome(next_event(ec)) == failed(ECANCELED));
		BOOST_TEST(ec_post(ec, 0, 0, nullptr) == 0);
	});
}

BOOST_AUTO_TEST_CASE(posters_at_once_never_pass_the_limit)
{
	constexpr uintptr_t posters = 3, each = 3000;
	constexpr unsigned limit = 5;
	for_each_channel([&](Channel &ec) {
		BOOST_TEST(ec_set_limit(ec, limit) == 0);
		std::vector<std::thread> threads;
		std::atomic<uint64_t> refused{0};
		for (uintptr_t poster = 0; poster < posters; ++poster)
			threads.emplace_back([&] {
				for (uintptr_t done = 0; done < each;) {
					if (ec_post(ec, 0, 0, nullptr) == 0)
						++done;
					else if (errno == EAGAIN)
						++refused, sched_yield();
					else
						return;
				}
			});
		uintptr_t got = 0;
		std::array<event_data_t, limit + 3> events;
		int most = 0;
		for (int count = 1; got < posters * each && count > 0;
		     got += uintptr_t(std::max(count, 0))) {
			count = take_events(ec, events.data(), events.size());
			most = std::max(most, count);
		}
		for (std::thread &thread : threads)
			thread.join();
		BOOST_TEST(got == posters * each);
		BOOST_TEST(found_empty(ec));
		struct ec_stat const s = numbers(ec);
		BOOST_TEST(s.delivered == posters * each);
		BOOST_TEST(s.refused == refused.load());
		BOOST_TEST(s.high_water <= limit);
		BOOST_TEST(load(s) == 0u);
	});
}

// ---------------------------------------------------------------- the numbers

BOOST_AUTO_TEST_CASE(a_new_channel_has_seen_nothing)
{
	for_each_channel([](Channel &ec) {
		struct ec_stat const s = numbers(ec);
		BOOST_TEST(s.outstanding == 0u);
		BOOST_TEST(s.queued == 0u);
		BOOST_TEST(s.delivered == 0u);
		BOOST_TEST(s.refused == 0u);
		BOOST_TEST(s.dropped == 0u);
		BOOST_TEST(s.high_water == 0u);
	});
}

BOOST_AUTO_TEST_CASE(the_numbers_follow_an_event_from_its_request_to_its_reader)
{
	for_each_channel([](Channel &ec) {
		Stream s = unix_stream();
		for (int i = 0; i < 3; ++i)
			BOOST_TEST(ev_recv(s.reader, reading(s.reader, 1).data(), 1, 0, ec,
					   nullptr) == 0);
		BOOST_TEST(aio_read(&tell(reading(s.reader, 1), ec).cb) == 0);
		BOOST_TEST(numbers(ec).outstanding == 4u);
		BOOST_TEST(numbers(ec).queued == 0u);
		hand_over(ec);
		BOOST_TEST_REQUIRE(post(ec, 1));
		BOOST_TEST(numbers(ec).outstanding == 4u);
		BOOST_TEST(numbers(ec).queued == 1u);
		put(s.writer, "abcd");
		BOOST_TEST(eventually([&] { return numbers(ec).queued == 5; }));
		BOOST_TEST(numbers(ec).outstanding == 0u);
		BOOST_TEST(numbers(ec).delivered == 0u);
		for (unsigned i = 1; i <= 5; ++i) {
			next_event(ec);
			BOOST_TEST(numbers(ec).delivered == i);
			BOOST_TEST(numbers(ec).queued == 5u - i);
		}
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(numbers(ec).high_water == 5u);
		BOOST_TEST(numbers(ec).refused == 0u);
		BOOST_TEST(numbers(ec).dropped == 0u);
	});
}

BOOST_AUTO_TEST_CASE(the_high_water_mark_is_the_most_there_have_been)
{
	for_each_channel([](Channel &ec) {
		for (unsigned most : {3u, 2u, 9u, 1u}) {
			for (unsigned i = 0; i < most; ++i)
				BOOST_TEST_REQUIRE(post(ec, i));
			BOOST_TEST(drain(ec) == int(most));
		}
		BOOST_TEST(numbers(ec).high_water == 9u);
		BOOST_TEST(numbers(ec).delivered == 15u);
	});
}
