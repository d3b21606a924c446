// SPDX-License-Identifier: MIT
//
// POSIX.1-2017 aio_cancel: what the numbered rules do not already cover.
#define BOOST_TEST_MODULE posix_cancel
#include "support.hpp"

BOOST_AUTO_TEST_CASE(what_has_ended_stays_as_it_is_when_the_rest_is_cancelled)
{
	for_each_stream([](Stream &s) {
		Request &ended = start_read(s.reader, 1), &waiting = start_read(s.reader, 1);
		put(s.writer, "x");
		BOOST_TEST(finish(ended) == ok(1));
		BOOST_TEST(aio_cancel(s.reader, nullptr) == AIO_CANCELED);
		BOOST_TEST(finish(waiting) == failed(ECANCELED));
		BOOST_TEST(finish(ended) == ok(1));
		BOOST_TEST(ended.text() == "x");
	});
}

BOOST_AUTO_TEST_CASE(an_aiocb_is_used_again_as_soon_as_it_is_cancelled)
{
	for_each_stream([](Stream &s) {
		Request &request = reading(s.reader, 1);
		for (int round = 0; round < 200; ++round) {
			BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
			BOOST_TEST_REQUIRE(aio_cancel(s.reader, &request.cb) == AIO_CANCELED);
		}
		BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
		put(s.writer, "x");
		BOOST_TEST(finish(request) == ok(1));
		BOOST_TEST(!has_data(s.reader));
	});
}

BOOST_AUTO_TEST_CASE(memory_of_a_cancelled_request_may_be_given_up_at_once)
{
	for_each_stream([](Stream &s) {
		for (int round = 0; round < 200; ++round) {
			auto request = std::make_unique<Request>(s.reader, 64, 0);
			BOOST_TEST_REQUIRE(aio_read(&request->cb) == 0);
			BOOST_TEST_REQUIRE(aio_cancel(s.reader, &request->cb) == AIO_CANCELED);
			memset(&request->cb, 0xdd, sizeof request->cb);
		}
		put(s.writer, "x");
		BOOST_TEST(take(s.reader, 1) == "x");
	});
}

BOOST_AUTO_TEST_CASE(a_request_that_was_refused_is_done)
{
	Stream s = unix_stream();
	Request &request = reading(s.reader, 1);
	request.cb.aio_reqprio = -1;
	BOOST_TEST(aio_read(&request.cb) == -1);
	BOOST_TEST(aio_cancel(s.reader, &request.cb) == AIO_ALLDONE);
	BOOST_TEST(aio_cancel(s.reader, nullptr) == AIO_ALLDONE);
}

BOOST_AUTO_TEST_CASE(asking_before_any_request, *boost::unit_test::disabled())
{
	Stream s = unix_stream();
	aiocb cb{};
	cb.aio_fildes = s.reader;
	BOOST_TEST(aio_cancel(s.reader, nullptr) == AIO_ALLDONE);
	BOOST_TEST(aio_cancel(s.reader, &cb) == AIO_ALLDONE);
	const aiocb *const list[] = {nullptr};
	BOOST_TEST(aio_suspend(list, 1, nullptr) == 0);
	BOOST_TEST(aio_cancel(-1, nullptr) == -1);
	BOOST_TEST(errno == EBADF);
}

BOOST_AUTO_TEST_CASE(a_process_without_requests_has_nothing_to_cancel)
{
	BOOST_TEST(run_self("asking_before_any_request", {}) == 0);
}
