// SPDX-License-Identifier: MIT
//
// Rule 1: a request outlives the thread that submitted it.
//
// Each case submits from a thread that has been joined before the data comes, so
// the request cannot have been completed on the thread's behalf while it lived.
#define BOOST_TEST_MODULE r01_thread_exit
#include "support.hpp"

namespace {

/// The stream was read to the last byte: nothing was left behind for another reader.
void check_drained(int fd)
{
	BOOST_TEST(!has_data(fd));
}

void submit_read_in_thread(Request &request)
{
	int submitted = -1;
	in_thread([&] { submitted = aio_read(&request.cb); });
	BOOST_TEST_REQUIRE(submitted == 0);
}

} // namespace

BOOST_AUTO_TEST_CASE(a_pending_read_completes_after_its_submitting_thread_has_exited)
{
	for_each_stream([](Stream &s) {
		Request &request = reading(s.reader, 5);
		submit_read_in_thread(request);
		BOOST_TEST(request.pending());
		put(s.writer, "hello");
		BOOST_TEST(finish(request) == ok(5));
		BOOST_TEST(request.text() == "hello");
		check_drained(s.reader);
	});
}

BOOST_AUTO_TEST_CASE(a_queue_of_reads_outlives_its_thread_and_stays_in_order)
{
	for_each_stream([](Stream &s) {
		std::vector<Request *> queue;
		for (int i = 0; i < 8; ++i)
			queue.push_back(&reading(s.reader, 1));
		in_thread([&] {
			for (Request *request : queue)
				aio_read(&request->cb);
		});
		put(s.writer, "abcdefgh");
		for (size_t i = 0; i < queue.size(); ++i) {
			BOOST_TEST(finish(*queue[i]) == ok(1));
			BOOST_TEST(queue[i]->text() == std::string(1, "abcdefgh"[i]));
		}
		check_drained(s.reader);
	});
}

BOOST_AUTO_TEST_CASE(a_blocked_write_completes_after_its_submitting_thread_has_exited)
{
	for_each_stream([](Stream &s) {
		size_t const before = fill(s.writer);
		Request &request = writing(s.writer, pattern(100000));
		in_thread([&] { aio_write(&request.cb); });
		BOOST_TEST(request.pending());
		BOOST_TEST(take(s.reader, before).size() == before);
		BOOST_TEST((take(s.reader, 100000) == pattern(100000)));
		BOOST_TEST(finish(request) == ok(100000));
	});
}

BOOST_AUTO_TEST_CASE(requests_of_a_hundred_threads_that_are_gone_all_complete)
{
	std::vector<Stream> streams;
	std::vector<Request *> requests;
	for (int i = 0; i < 100; ++i) {
		streams.push_back(unix_stream());
		requests.push_back(&reading(streams.back().reader, 1));
		submit_read_in_thread(*requests.back());
	}
	for (Stream &s : streams)
		put(s.writer, "x");
	for (Request *request : requests)
		BOOST_TEST(finish(*request) == ok(1));
}

BOOST_AUTO_TEST_CASE(file_requests_complete_although_their_thread_exits_at_once)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		std::vector<Request *> writes;
		for (int i = 0; i < 64; ++i)
			writes.push_back(&writing(file.fd, pattern(65536, i), i * 65536));
		in_thread([&] {
			for (Request *request : writes)
				aio_write(&request->cb);
		});
		for (Request *request : writes)
			BOOST_TEST(finish(*request) == ok(65536));
		for (int i = 0; i < 64; ++i)
			BOOST_TEST((file.content(65536, i * 65536) == pattern(65536, i)));
	});
}

BOOST_AUTO_TEST_CASE(a_thread_ended_by_pthread_cancel_leaves_its_request)
{
	Stream s = unix_stream();
	Request &request = reading(s.reader, 1);
	std::atomic<bool> submitted{false};
	auto body = [&] {
		aio_read(&request.cb);
		submitted = true;
		for (;;)
			pause();
	};
	std::thread thread(body);
	BOOST_TEST_REQUIRE(eventually([&] { return submitted.load(); }));
	pthread_cancel(thread.native_handle());
	thread.join();
	put(s.writer, "x");
	BOOST_TEST(finish(request) == ok(1));
}

BOOST_AUTO_TEST_CASE(a_request_can_be_cancelled_after_its_thread_has_exited, BETTER_THAN_GLIBC)
{
	for_each_stream([](Stream &s) {
		Request &request = reading(s.reader, 1);
		submit_read_in_thread(request);
		BOOST_TEST(aio_cancel(s.reader, &request.cb) == AIO_CANCELED);
		BOOST_TEST(finish(request) == failed(ECANCELED));
		put(s.writer, "x");
		BOOST_TEST(take(s.reader, 1) == "x");
	});
}

BOOST_AUTO_TEST_CASE(another_thread_can_wait_for_the_request_of_a_thread_that_is_gone)
{
	Stream s = tcp_stream();
	Request &request = reading(s.reader, 1);
	submit_read_in_thread(request);
	std::thread waiter([&] {
		aiocb const *list[] = {&request.cb};
		aio_suspend(list, 1, nullptr);
	});
	put(s.writer, "x");
	waiter.join();
	BOOST_TEST(finish(request) == ok(1));
}

namespace {

struct Relay {
	Request *second;
	std::atomic<pid_t> thread{0};
};

void submit_second(sigval value)
{
	auto *relay = static_cast<Relay *>(value.sival_ptr);
	aio_read(&relay->second->cb);
	relay->thread = thread_id();
}

} // namespace

BOOST_AUTO_TEST_CASE(a_request_submitted_by_a_notification_function_outlives_it)
{
	for_each_stream([](Stream &s) {
		Relay relay{&reading(s.reader, 1)};
		Request &first = writing(s.writer, "");
		first.cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
		first.cb.aio_sigevent.sigev_notify_function = submit_second;
		first.cb.aio_sigevent.sigev_value.sival_ptr = &relay;
		BOOST_TEST_REQUIRE(aio_write(&first.cb) == 0);
		BOOST_TEST_REQUIRE(eventually([&] { return relay.thread != 0; }));
		put(s.writer, "x");
		BOOST_TEST(finish(*relay.second) == ok(1));
	});
}

BOOST_AUTO_TEST_CASE(a_list_outlives_its_thread_and_notifies)
{
	static std::atomic<int> notified;
	notified = 0;
	Stream s = unix_stream();
	Request &one = reading(s.reader, 1), &two = reading(s.reader, 1);
	in_thread([&] {
		aiocb *list[] = {&one.cb, &two.cb};
		sigevent event{};
		event.sigev_notify = SIGEV_THREAD;
		event.sigev_notify_function = [](sigval) { ++notified; };
		lio_listio(LIO_NOWAIT, list, 2, &event);
	});
	put(s.writer, "ab");
	BOOST_TEST(finish(one) == ok(1));
	BOOST_TEST(finish(two) == ok(1));
	BOOST_TEST(eventually([] { return notified == 1; }));
}

BOOST_AUTO_TEST_CASE(a_signal_is_delivered_for_the_request_of_a_thread_that_is_gone)
{
	static std::atomic<int> signals;
	signals = 0;
	SignalHandler handler(
		SIGUSR1, +[](int) { ++signals; }, SA_RESTART);
	Stream s = unix_stream();
	Request &request = reading(s.reader, 1);
	request.cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	request.cb.aio_sigevent.sigev_signo = SIGUSR1;
	submit_read_in_thread(request);
	put(s.writer, "x");
	BOOST_TEST(eventually([] { return signals == 1; }));
	BOOST_TEST(finish(request) == ok(1));
}

/// Runs in a process of its own, and ends it.
BOOST_AUTO_TEST_CASE(process_whose_main_thread_ends, *boost::unit_test::disabled())
{
	Stream s = unix_stream();
	Request &request = start_read(s.reader, 1);
	std::thread([&, main = getpid()] {
		CHILD_REQUIRE(eventually([&] { return thread_state(main) == 'Z'; }));
		CHILD_REQUIRE(write(s.writer, "x", 1) == 1);
		CHILD_REQUIRE(finish(request) == ok(1));
		_exit(0);
	}).detach();
	syscall(SYS_exit, 0); // what pthread_exit comes to, without unwinding the test framework
}

BOOST_AUTO_TEST_CASE(the_main_thread_may_end_before_the_others)
{
	BOOST_TEST(run_self("process_whose_main_thread_ends", {}) == 0);
}
