// SPDX-License-Identifier: MIT
//
// Rule 11: aio_cancel answers truthfully. Queued, or a read still waiting for data:
// AIO_CANCELED, ended with ECANCELED, its notification delivered. A write that has
// begun to transfer: AIO_NOTCANCELED and untouched. (r11_cancel_races.cpp: against
// completions on the way; held_file.cpp: files.)
#define BOOST_TEST_MODULE r11_cancel
#include "support.hpp"

namespace {

/// A write of which some bytes, and not all, are in the stream.
Request &begun_write(Stream &s, const std::string &data)
{
	Request &request = start_write(s.writer, data);
	BOOST_TEST_REQUIRE(eventually([&] { return has_data(s.reader); }));
	BOOST_TEST_REQUIRE(request.pending());
	return request;
}
constexpr size_t large = 8 << 20; // more than any of the streams takes

std::atomic<int> notified;
void count_notification(sigval)
{
	++notified;
}

void notify_by_thread(aiocb &cb)
{
	cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
	cb.aio_sigevent.sigev_notify_function = count_notification;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_read_that_waits_for_data_is_cancelled_and_takes_none, BETTER_THAN_GLIBC)
{
	for_each_stream([](Stream &s) {
		Request &request = start_read(s.reader, 5);
		BOOST_TEST(aio_cancel(s.reader, &request.cb) == AIO_CANCELED);
		BOOST_TEST(finish(request) == failed(ECANCELED));
		put(s.writer, "hello");
		BOOST_TEST(take(s.reader, 5) == "hello");
		BOOST_TEST(request.text() == "?????");
	});
}

BOOST_AUTO_TEST_CASE(after_a_cancelled_read_the_descriptor_works_as_before, BETTER_THAN_GLIBC)
{
	for_each_stream([](Stream &s) {
		for (int round = 0; round < 50; ++round) {
			Request &first = start_read(s.reader, 5);
			BOOST_TEST(aio_cancel(s.reader, &first.cb) == AIO_CANCELED);
			Request &second = start_read(s.reader, 5);
			put(s.writer, "hello");
			BOOST_TEST(finish(second) == ok(5));
			BOOST_TEST(finish(first) == failed(ECANCELED));
		}
	});
}

BOOST_AUTO_TEST_CASE(the_error_status_is_there_when_aio_cancel_returns, BETTER_THAN_GLIBC)
{
	for_each_stream([](Stream &s) {
		Request &request = start_read(s.reader, 5);
		BOOST_TEST(aio_cancel(s.reader, &request.cb) == AIO_CANCELED);
		BOOST_TEST(request.error() == ECANCELED);
		BOOST_TEST(aio_return(&request.cb) == -1);
	});
}

BOOST_AUTO_TEST_CASE(one_of_a_queue_is_cancelled_and_the_others_keep_their_order)
{
	for_each_stream([](Stream &s) {
		std::vector<Request *> reads;
		for (int i = 0; i < 5; ++i)
			reads.push_back(&start_read(s.reader, 1));
		BOOST_TEST(aio_cancel(s.reader, &reads[2]->cb) == AIO_CANCELED);
		BOOST_TEST(aio_cancel(s.reader, &reads[4]->cb) == AIO_CANCELED);
		BOOST_TEST(reads[3]->pending());
		put(s.writer, "abc");
		BOOST_TEST(finish(*reads[2]) == failed(ECANCELED));
		BOOST_TEST(finish(*reads[4]) == failed(ECANCELED));
		for (int i : {0, 1, 3})
			BOOST_TEST(finish(*reads[i]) == ok(1));
		BOOST_TEST(reads[0]->text() + reads[1]->text() + reads[3]->text() == "abc");
	});
}

BOOST_AUTO_TEST_CASE(the_head_of_a_queue_is_cancelled_and_the_next_takes_its_place,
		     BETTER_THAN_GLIBC)
{
	for_each_stream([](Stream &s) {
		Request &first = start_read(s.reader, 1), &second = start_read(s.reader, 1);
		BOOST_TEST(aio_cancel(s.reader, &first.cb) == AIO_CANCELED);
		put(s.writer, "a");
		BOOST_TEST(finish(second) == ok(1));
		BOOST_TEST(second.text() == "a");
		BOOST_TEST(finish(first) == failed(ECANCELED));
	});
}

BOOST_AUTO_TEST_CASE(everything_on_a_descriptor_is_cancelled_and_nothing_else, BETTER_THAN_GLIBC)
{
	for (StreamMaker make : stream_kinds) {
		Stream s = make(), other = make();
		BOOST_TEST_CONTEXT("stream: " << s.name)
		{
			std::vector<Request *> reads;
			for (int i = 0; i < 20; ++i)
				reads.push_back(&start_read(s.reader, 1));
			Request &bystander = start_read(other.reader, 1);
			BOOST_TEST(aio_cancel(s.reader, nullptr) == AIO_CANCELED);
			for (Request *request : reads)
				BOOST_TEST(finish(*request) == failed(ECANCELED));
			BOOST_TEST(bystander.pending());
			put(other.writer, "x");
			BOOST_TEST(finish(bystander) == ok(1));
			put(s.writer, "x");
			BOOST_TEST(take(s.reader, 1) == "x");
		}
	}
}

BOOST_AUTO_TEST_CASE(with_nothing_outstanding_all_is_done)
{
	File file = disk_file();
	Stream s = unix_stream();
	BOOST_TEST(aio_cancel(s.reader, nullptr) == AIO_ALLDONE);
	BOOST_TEST(aio_cancel(file.fd, nullptr) == AIO_ALLDONE);
	Request &request = start_write(file.fd, "done");
	BOOST_TEST(finish(request) == ok(4));
	BOOST_TEST(aio_cancel(file.fd, nullptr) == AIO_ALLDONE);
	BOOST_TEST(aio_cancel(file.fd, &request.cb) == AIO_ALLDONE);
	BOOST_TEST(finish(request) == ok(4));
}

BOOST_AUTO_TEST_CASE(a_second_cancellation_finds_all_done, BETTER_THAN_GLIBC)
{
	Stream s = unix_stream();
	Request &request = start_read(s.reader, 1);
	BOOST_TEST(aio_cancel(s.reader, &request.cb) == AIO_CANCELED);
	BOOST_TEST(finish(request) == failed(ECANCELED));
	BOOST_TEST(aio_cancel(s.reader, &request.cb) == AIO_ALLDONE);
	BOOST_TEST(aio_cancel(s.reader, nullptr) == AIO_ALLDONE);
	BOOST_TEST(finish(request) == failed(ECANCELED));
}

BOOST_AUTO_TEST_CASE(a_write_that_has_begun_is_not_cancelled_and_arrives_whole)
{
	for_each_stream([](Stream &s) {
		std::string const data = pattern(large);
		Request &request = begun_write(s, data);
		BOOST_TEST(aio_cancel(s.writer, &request.cb) == AIO_NOTCANCELED);
		BOOST_TEST(request.pending());
		BOOST_TEST(aio_cancel(s.writer, nullptr) == AIO_NOTCANCELED);
		BOOST_TEST((take(s.reader, large) == data));
		BOOST_TEST(finish(request) == ok(large));
	});
}

BOOST_AUTO_TEST_CASE(a_write_queued_behind_another_is_cancelled_and_writes_nothing)
{
	for_each_stream([](Stream &s) {
		std::string const data = pattern(large);
		Request &first = begun_write(s, data), &second = start_write(s.writer, "second"),
			&third = start_write(s.writer, "third");
		BOOST_TEST(aio_cancel(s.writer, &second.cb) == AIO_CANCELED);
		BOOST_TEST(second.error() == ECANCELED);
		BOOST_TEST((take(s.reader, large) == data));
		BOOST_TEST(take(s.reader, 5) == "third");
		BOOST_TEST(finish(first) == ok(large));
		BOOST_TEST(finish(second) == failed(ECANCELED));
		BOOST_TEST(finish(third) == ok(5));
	});
}

// glibc leaves the queued ones alone when the first has begun.
BOOST_AUTO_TEST_CASE(cancelling_all_ends_what_is_queued_and_spares_what_has_begun,
		     BETTER_THAN_GLIBC)
{
	for_each_stream([](Stream &s) {
		std::string const data = pattern(large);
		Request &begun = begun_write(s, data);
		Request &queued = start_write(s.writer, "queued"),
			&last = start_write(s.writer, "last");
		BOOST_TEST(aio_cancel(s.writer, nullptr) == AIO_NOTCANCELED);
		BOOST_TEST(finish(queued) == failed(ECANCELED));
		BOOST_TEST(finish(last) == failed(ECANCELED));
		BOOST_TEST(begun.pending());
		BOOST_TEST((take(s.reader, large) == data));
		BOOST_TEST(finish(begun) == ok(large));
		BOOST_TEST(!has_data(s.reader));
	});
}

BOOST_AUTO_TEST_CASE(a_waiting_read_and_a_begun_write_of_one_descriptor_are_told_apart,
		     BETTER_THAN_GLIBC)
{
	for_each_duplex_stream([](Stream &s) {
		std::string const data = pattern(large);
		Request &read = start_read(s.writer, 1);
		Request &write = begun_write(s, data);
		BOOST_TEST(aio_cancel(s.writer, nullptr) == AIO_NOTCANCELED);
		BOOST_TEST(finish(read) == failed(ECANCELED));
		BOOST_TEST((take(s.reader, large) == data));
		BOOST_TEST(finish(write) == ok(large));
	});
}

BOOST_AUTO_TEST_CASE(the_read_alone_can_be_cancelled_beside_a_begun_write, BETTER_THAN_GLIBC)
{
	for_each_duplex_stream([](Stream &s) {
		std::string const data = pattern(large);
		Request &write = begun_write(s, data);
		Request &read = start_read(s.writer, 1);
		BOOST_TEST(aio_cancel(s.writer, &read.cb) == AIO_CANCELED);
		BOOST_TEST(finish(read) == failed(ECANCELED));
		BOOST_TEST(write.pending());
		BOOST_TEST((take(s.reader, large) == data));
		BOOST_TEST(finish(write) == ok(large));
	});
}

BOOST_AUTO_TEST_CASE(a_write_that_waits_for_room_is_told_about_truthfully)
{
	for_each_stream([](Stream &s) {
		size_t const filled = fill(s.writer);
		std::string const data = pattern(1000, 99);
		Request &request = start_write(s.writer, data);
		int const answer = aio_cancel(s.writer, &request.cb);
		// A terminal passes bytes on by and by: there may have been room after all.
		if (answer == AIO_ALLDONE)
			BOOST_TEST(!request.pending());
		if (answer == AIO_CANCELED)
			BOOST_TEST(finish(request) == failed(ECANCELED));
		BOOST_TEST(take(s.reader, filled).size() == filled);
		if (answer != AIO_CANCELED) {
			BOOST_TEST((take(s.reader, 1000) == data));
			BOOST_TEST(finish(request) == ok(1000));
		}
		BOOST_TEST(finish(start_write(s.writer, "end")) == ok(3));
		BOOST_TEST(take(s.reader, 3) == "end");
	});
}

BOOST_AUTO_TEST_CASE(a_cancelled_request_is_notified_once, BETTER_THAN_GLIBC)
{
	static std::atomic<int> signals;
	signals = notified = 0;
	SignalHandler handler(
		SIGUSR1, +[](int) { ++signals; }, SA_RESTART);
	for_each_stream([](Stream &s) {
		int const calls = notified, before = signals;
		Request &by_thread = reading(s.reader, 1), &by_signal = reading(s.reader, 1);
		notify_by_thread(by_thread.cb);
		by_signal.cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
		by_signal.cb.aio_sigevent.sigev_signo = SIGUSR1;
		BOOST_TEST_REQUIRE(aio_read(&by_thread.cb) == 0);
		BOOST_TEST_REQUIRE(aio_read(&by_signal.cb) == 0);
		BOOST_TEST(aio_cancel(s.reader, nullptr) == AIO_CANCELED);
		BOOST_TEST(
			eventually([&] { return notified == calls + 1 && signals == before + 1; }));
		BOOST_TEST(finish(by_thread) == failed(ECANCELED));
		BOOST_TEST(finish(by_signal) == failed(ECANCELED));
	});
	BOOST_TEST(notified == int(stream_kinds.size()));
	BOOST_TEST(signals == int(stream_kinds.size()));
}

BOOST_AUTO_TEST_CASE(a_list_notifies_after_its_requests_were_cancelled, BETTER_THAN_GLIBC)
{
	notified = 0;
	Stream s = unix_stream();
	Request &one = reading(s.reader, 1), &two = reading(s.reader, 1);
	one.cb.aio_lio_opcode = two.cb.aio_lio_opcode = LIO_READ;
	aiocb *list[] = {&one.cb, &two.cb};
	sigevent event{};
	event.sigev_notify = SIGEV_THREAD;
	event.sigev_notify_function = count_notification;
	BOOST_TEST_REQUIRE(lio_listio(LIO_NOWAIT, list, 2, &event) == 0);
	BOOST_TEST(aio_cancel(s.reader, &one.cb) == AIO_CANCELED);
	BOOST_TEST(notified == 0);
	BOOST_TEST(aio_cancel(s.reader, &two.cb) == AIO_CANCELED);
	BOOST_TEST(eventually([] { return notified == 1; }));
}

BOOST_AUTO_TEST_CASE(lio_wait_says_eio_when_a_request_was_cancelled, BETTER_THAN_GLIBC)
{
	Stream s = unix_stream();
	Request &request = reading(s.reader, 1);
	request.cb.aio_lio_opcode = LIO_READ;
	aiocb *list[] = {&request.cb};
	int result = 0, error = 0;
	std::thread waiter([&] {
		result = lio_listio(LIO_WAIT, list, 1, nullptr);
		error = errno;
	});
	BOOST_TEST(eventually([&] { return request.pending(); }));
	BOOST_TEST(eventually([&] { return aio_cancel(s.reader, nullptr) == AIO_CANCELED; }));
	waiter.join();
	BOOST_TEST(result == -1);
	BOOST_TEST(error == EIO);
}

BOOST_AUTO_TEST_CASE(requests_of_another_thread_can_be_cancelled, BETTER_THAN_GLIBC)
{
	for_each_stream([](Stream &s) {
		Request &request = start_read(s.reader, 1);
		int answer = -2;
		in_thread([&] { answer = aio_cancel(s.reader, &request.cb); });
		BOOST_TEST(answer == AIO_CANCELED);
		BOOST_TEST(finish(request) == failed(ECANCELED));
	});
}

BOOST_AUTO_TEST_CASE(another_descriptor_of_the_same_file_has_requests_of_its_own)
{
	for_each_stream([](Stream &s) {
		Fd again(dup(s.reader));
		Request &request = start_read(s.reader, 1);
		BOOST_TEST(aio_cancel(again, nullptr) == AIO_ALLDONE);
		BOOST_TEST(request.pending());
		put(s.writer, "x");
		BOOST_TEST(finish(request) == ok(1));
	});
}

BOOST_AUTO_TEST_CASE(a_request_of_another_descriptor_is_einval)
{
	Stream s = unix_stream();
	Request &request = start_read(s.reader, 1);
	BOOST_TEST(aio_cancel(s.writer, &request.cb) == -1);
	BOOST_TEST(errno == EINVAL);
	BOOST_TEST(request.pending());
	put(s.writer, "x");
	BOOST_TEST(finish(request) == ok(1));
}
