// SPDX-License-Identifier: MIT
//
// Rule 12: status first, then notification; SIGEV_SIGNAL, SIGEV_NONE and the zeroed
// sigevent. (r12_thread_notification.cpp: SIGEV_THREAD; r12_list_notification.cpp:
// lio_listio.)
#define BOOST_TEST_MODULE r12_notification
#include "support.hpp"

#include <set>
#include <sys/resource.h>
#include <sys/signalfd.h>

namespace {

struct Seen {
	std::atomic<int> count{0}, code{0}, value{0}, uid{-1}, error{-1};
	std::atomic<pid_t> pid{0};
	std::atomic<ssize_t> result{-2};
} seen;

/// Looks at everything the signal carries and at the request it speaks of.
void look(int, siginfo_t *info, void *)
{
	const int saved = errno;
	auto *cb = static_cast<aiocb *>(info->si_value.sival_ptr);
	seen.code = info->si_code;
	seen.pid = info->si_pid;
	seen.uid = static_cast<int>(info->si_uid);
	seen.error = aio_error(cb);
	seen.result = aio_return(cb);
	++seen.count;
	errno = saved;
}

Request &signalling(Request &request, int number)
{
	request.cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	request.cb.aio_sigevent.sigev_signo = number;
	request.cb.aio_sigevent.sigev_value.sival_ptr = &request.cb;
	return request;
}

void check_signal(const Outcome &expected)
{
	BOOST_TEST_REQUIRE(eventually([] { return seen.count == 1; }));
	BOOST_TEST(seen.code == SI_ASYNCIO);
	BOOST_TEST(seen.pid == getpid());
	BOOST_TEST(seen.uid == int(getuid()));
	BOOST_TEST((Outcome{seen.error, seen.result}) == expected);
	seen.count = 0;
}

/// A descriptor that gives the signal's records one by one while the signal stays blocked.
struct SignalQueue {
	sigset_t set, old;
	Fd fd;
	explicit SignalQueue(int number)
	{
		sigemptyset(&set);
		sigaddset(&set, number);
		pthread_sigmask(SIG_BLOCK, &set, &old);
		fd.reset(signalfd(-1, &set, SFD_CLOEXEC));
	}
	~SignalQueue() { pthread_sigmask(SIG_SETMASK, &old, nullptr); }
	bool next(signalfd_siginfo &info)
	{
		pollfd ready{fd, POLLIN, 0};
		return poll(&ready, 1, 20000) > 0 && read(fd, &info, sizeof info) == sizeof info;
	}
};

} // namespace

BOOST_AUTO_TEST_CASE(a_signal_carries_code_value_and_sender_and_finds_the_status_set)
{
	SignalHandler handler(SIGUSR1, look, SA_RESTART);
	for_each_stream([](Stream &s) {
		Request &read = signalling(reading(s.reader, 5), SIGUSR1);
		BOOST_TEST_REQUIRE(aio_read(&read.cb) == 0);
		put(s.writer, "hello");
		check_signal(ok(5));
		Request &write = signalling(writing(s.writer, "abc"), SIGUSR1);
		BOOST_TEST_REQUIRE(aio_write(&write.cb) == 0);
		check_signal(ok(3));
		BOOST_TEST(take(s.reader, 3) == "abc");
	});
}

BOOST_AUTO_TEST_CASE(file_requests_and_fsync_signal_the_same_way)
{
	SignalHandler handler(SIGUSR1, look, SA_RESTART);
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		Request &write = signalling(writing(file.fd, pattern(4096)), SIGUSR1),
			&read = signalling(reading(file.fd, 4096), SIGUSR1),
			&sync = signalling(keep(file.fd, 0), SIGUSR1);
		BOOST_TEST_REQUIRE(aio_write(&write.cb) == 0);
		check_signal(ok(4096));
		BOOST_TEST_REQUIRE(aio_fsync(O_SYNC, &sync.cb) == 0);
		check_signal(ok(0));
		BOOST_TEST_REQUIRE(aio_read(&read.cb) == 0);
		check_signal(ok(4096));
	});
}

BOOST_AUTO_TEST_CASE(every_signal_of_the_systems_reaches_the_program_each_time)
{
	File file = make_file(file_kinds().front());
	for (int number = 1; number < 32; ++number) {
		if (number == SIGKILL || number == SIGSTOP)
			continue;
		SignalHandler handler(number, look, SA_RESTART);
		for (int i = 0; i < 5; ++i) {
			Request &read = signalling(reading(file.fd, 1), number);
			BOOST_TEST_REQUIRE(aio_read(&read.cb) == 0);
			check_signal(ok(0));
		}
	}
}

// SIGSYS: threads of the library's take it, for filters that trap (sigevec(7)).
BOOST_AUTO_TEST_CASE(a_signal_that_is_pending_for_the_process_stays_the_programs)
{
	for (int number = 1; number < 32; ++number) {
		if (number == SIGKILL || number == SIGSTOP || number == SIGSYS)
			continue;
		SignalQueue queue(number);
		sigval value{};
		value.sival_int = 42;
		BOOST_TEST_REQUIRE(sigqueue(getpid(), number, value) == 0);
		Stream s = pipe_stream();
		for (int i = 0; i < 5; ++i) {
			Request &read = reading(s.reader, 1);
			BOOST_TEST_REQUIRE(aio_read(&read.cb) == 0);
			put(s.writer, "x");
			BOOST_TEST(finish(read) == ok(1));
		}
		signalfd_siginfo info{};
		BOOST_TEST_REQUIRE(queue.next(info));
		BOOST_TEST(info.ssi_int == 42);
		BOOST_TEST(info.ssi_code == SI_QUEUE);
	}
}

BOOST_AUTO_TEST_CASE(a_failed_request_signals_too)
{
	SignalHandler handler(SIGUSR1, look, SA_RESTART);
	Request &request = signalling(reading(-1, 1), SIGUSR1);
	BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
	check_signal(failed(EBADF));
}

BOOST_AUTO_TEST_CASE(realtime_signals_are_queued_one_for_each_request)
{
	constexpr int count = 300;
	SignalQueue queue(SIGRTMIN + 3);
	Stream s = unix_stream();
	File file = disk_file();
	std::vector<Request *> requests;
	for (int i = 0; i < count; ++i) {
		Request &request = i % 2 == 0 ? reading(s.reader, 1) : writing(file.fd, "x", i);
		signalling(request, SIGRTMIN + 3).cb.aio_sigevent.sigev_value.sival_int = i;
		BOOST_TEST_REQUIRE((i % 2 == 0 ? aio_read(&request.cb) : aio_write(&request.cb)) ==
				   0);
		requests.push_back(&request);
	}
	put(s.writer, std::string(count / 2, 'x'));
	std::vector<int> times(count, 0);
	for (int i = 0; i < count; ++i) {
		signalfd_siginfo info{};
		BOOST_TEST_REQUIRE(queue.next(info));
		BOOST_TEST_REQUIRE(info.ssi_code == SI_ASYNCIO);
		BOOST_TEST_REQUIRE((info.ssi_int >= 0 && info.ssi_int < count));
		++times[static_cast<size_t>(info.ssi_int)];
		BOOST_TEST(requests[static_cast<size_t>(info.ssi_int)]->error() == 0);
	}
	BOOST_TEST((times == std::vector<int>(count, 1)));
}

BOOST_AUTO_TEST_CASE(signals_of_a_stream_come_in_the_order_of_its_requests)
{
	SignalQueue queue(SIGRTMIN + 3);
	Stream s = pipe_stream();
	for (int i = 0; i < 50; ++i) {
		Request &request = signalling(reading(s.reader, 1), SIGRTMIN + 3);
		request.cb.aio_sigevent.sigev_value.sival_int = i;
		BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
	}
	put(s.writer, std::string(50, 'x'));
	for (int i = 0; i < 50; ++i) {
		signalfd_siginfo info{};
		BOOST_TEST_REQUIRE(queue.next(info));
		BOOST_TEST(info.ssi_int == i);
	}
}

BOOST_AUTO_TEST_CASE(a_signal_goes_to_any_thread_of_the_process_that_takes_it)
{
	sigset_t set, old;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 4);
	pthread_sigmask(SIG_BLOCK, &set, &old);
	Stream s = unix_stream();
	Request &request = signalling(reading(s.reader, 1), SIGRTMIN + 4);
	int received = 0;
	std::thread receiver([&] { sigwait(&set, &received); });
	BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
	put(s.writer, "x");
	receiver.join();
	BOOST_TEST(received == SIGRTMIN + 4);
	pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

BOOST_AUTO_TEST_CASE(a_zeroed_sigevent_is_signal_0_and_says_nothing)
{
	File file = disk_file();
	Stream s = unix_stream();
	Request &write = writing(file.fd, "x"), &read = reading(s.reader, 1),
		&sync = keep(file.fd, 0);
	for (Request *request : {&write, &read, &sync})
		memset(&request->cb.aio_sigevent, 0, sizeof request->cb.aio_sigevent);
	BOOST_TEST(aio_write(&write.cb) == 0);
	BOOST_TEST(finish(write) == ok(1));
	BOOST_TEST(aio_fsync(O_SYNC, &sync.cb) == 0);
	BOOST_TEST(finish(sync) == ok(0));
	BOOST_TEST(aio_read(&read.cb) == 0);
	put(s.writer, "x");
	BOOST_TEST(finish(read) == ok(1));
}

// What aio_error says then is left open: glibc puts the notification's failure in the place of the
// result.
BOOST_AUTO_TEST_CASE(an_impossible_signal_number_does_not_harm_the_transfer)
{
	for (int number : {-1, 65, 1000}) {
		File file = disk_file();
		Request &request = signalling(writing(file.fd, "x"), number);
		BOOST_TEST(aio_write(&request.cb) == 0);
		BOOST_TEST(finish(request).error != EINPROGRESS);
		BOOST_TEST(file.content() == "x");
	}
}

BOOST_AUTO_TEST_CASE(an_ignored_signal_does_not_harm_the_request)
{
	SignalHandler handler(SIGUSR1, SIG_IGN);
	File file = disk_file();
	Request &request = signalling(writing(file.fd, "x"), SIGUSR1);
	BOOST_TEST(aio_write(&request.cb) == 0);
	BOOST_TEST(finish(request) == ok(1));
}

BOOST_AUTO_TEST_CASE(sigev_none_notifies_nobody)
{
	static std::atomic<int> signals;
	signals = 0;
	SignalHandler handler(
		SIGUSR1, +[](int) { ++signals; }, SA_RESTART);
	File file = disk_file();
	Request &silent = signalling(writing(file.fd, "x"), SIGUSR1),
		&loud = signalling(writing(file.fd, "y"), SIGUSR1);
	silent.cb.aio_sigevent.sigev_notify = SIGEV_NONE;
	BOOST_TEST(aio_write(&silent.cb) == 0);
	BOOST_TEST(finish(silent) == ok(1));
	BOOST_TEST(aio_write(&loud.cb) == 0);
	BOOST_TEST(eventually([] { return signals > 0; }));
	BOOST_TEST(signals == 1);
}

BOOST_AUTO_TEST_CASE(an_aiocb_may_be_submitted_again_from_its_own_signal)
{
	static Request *again;
	Stream s = unix_stream();
	again = &signalling(reading(s.reader, 1), SIGUSR1);
	SignalQueue queue(SIGUSR1);
	BOOST_TEST_REQUIRE(aio_read(&again->cb) == 0);
	for (int i = 0; i < 200; ++i) {
		put(s.writer, "x");
		signalfd_siginfo info{};
		BOOST_TEST_REQUIRE(queue.next(info));
		BOOST_TEST_REQUIRE(again->error() == 0);
		BOOST_TEST_REQUIRE(aio_read(&again->cb) == 0);
	}
	put(s.writer, "x");
	BOOST_TEST(finish(*again) == ok(1));
	signalfd_siginfo info{};
	BOOST_TEST(queue.next(info));
}

/// In a process of its own, where no more signals can be queued.
BOOST_AUTO_TEST_CASE(notification_with_a_full_signal_queue, *boost::unit_test::disabled())
{
	const rlimit none{0, 0};
	BOOST_TEST_REQUIRE(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
	SignalQueue queue(SIGRTMIN + 3);
	File file = disk_file();
	for (int i = 0; i < 20; ++i) {
		Request &request = signalling(writing(file.fd, "x", i), SIGRTMIN + 3);
		BOOST_TEST(aio_write(&request.cb) == 0);
		BOOST_TEST(finish(request).error != EINPROGRESS);
	}
	BOOST_TEST(file.content() == std::string(20, 'x'));
}

BOOST_AUTO_TEST_CASE(a_full_signal_queue_does_not_harm_the_transfers)
{
	BOOST_TEST(run_self("notification_with_a_full_signal_queue", {}) == 0);
}

/// In a process of its own, where no signal can be queued for a while.
BOOST_AUTO_TEST_CASE(signals_without_room, *boost::unit_test::disabled())
{
	constexpr int count = 6;
	rlimit limit;
	BOOST_TEST_REQUIRE(getrlimit(RLIMIT_SIGPENDING, &limit) == 0);
	const rlimit none{0, limit.rlim_max};
	SignalQueue queue(SIGRTMIN + 3);
	File file = disk_file();
	Request *requests[count];
	BOOST_TEST_REQUIRE(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
	for (int i = 0; i < count; ++i) {
		requests[i] = &signalling(writing(file.fd, "x", i), SIGRTMIN + 3);
		BOOST_TEST_REQUIRE(aio_write(&requests[i]->cb) == 0);
		BOOST_TEST(finish(*requests[i]) == ok(1));
	}
	BOOST_TEST_REQUIRE(setrlimit(RLIMIT_SIGPENDING, &limit) == 0);
	// A status is published before its signal is sent, so a later request's may come first.
	std::set<uintptr_t> told;
	for (int i = 0; i < count; ++i) {
		signalfd_siginfo info{};
		BOOST_TEST_REQUIRE(queue.next(info));
		BOOST_TEST(info.ssi_code == SI_ASYNCIO);
		told.insert(info.ssi_ptr);
	}
	for (const Request *r : requests)
		BOOST_TEST(told.count(reinterpret_cast<uintptr_t>(&r->cb)) == 1);
	BOOST_TEST(!has_data(queue.fd));
}

BOOST_AUTO_TEST_CASE(signals_that_find_the_queue_full_come_when_there_is_room)
{
	BOOST_TEST(run_self("signals_without_room", {}) == 0);
}
