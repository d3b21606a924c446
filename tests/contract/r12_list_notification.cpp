// SPDX-License-Identifier: MIT
//
// Rule 12, lio_listio: it notifies once, after the last of its requests and their own
// notifications, failed ones included; an empty list notifies at once; the caller's
// sigevent is copied.
#define BOOST_TEST_MODULE r12_list_notification
#include "support.hpp"

#include <sys/signalfd.h>

namespace {

/// One notification of the list's own, whichever way it comes.
struct List {
	std::vector<aiocb *> blocks;
	std::atomic<int> calls{0}, unfinished{-1};

	Request &add(Request &request, int opcode)
	{
		request.cb.aio_lio_opcode = opcode;
		blocks.push_back(&request.cb);
		return request;
	}
	int submit(sigevent *event)
	{
		return lio_listio(LIO_NOWAIT, blocks.data(), int(blocks.size()), event);
	}
	bool notified()
	{
		return eventually([&] { return calls > 0; });
	}
};

/// Counts the requests of the list that are not finished when the notification comes.
void count_unfinished(sigval value)
{
	auto *list = static_cast<List *>(value.sival_ptr);
	int unfinished = 0;
	for (aiocb *cb : list->blocks)
		if (cb != nullptr && cb->aio_lio_opcode != LIO_NOP)
			unfinished += aio_error(cb) == EINPROGRESS;
	list->unfinished = unfinished;
	++list->calls;
}

sigevent thread_event(List &list)
{
	sigevent event{};
	event.sigev_notify = SIGEV_THREAD;
	event.sigev_notify_function = count_unfinished;
	event.sigev_value.sival_ptr = &list;
	return event;
}
List &new_list()
{
	return *new List;
}

/// Another notification that comes after everything that was due before it.
void let_late_notifications_come()
{
	static std::atomic<int> called;
	called = 0;
	for (int i = 0; i < 5; ++i) {
		sigevent event{};
		event.sigev_notify = SIGEV_THREAD;
		event.sigev_notify_function = [](sigval) { ++called; };
		aiocb *none[] = {nullptr};
		BOOST_TEST(lio_listio(LIO_NOWAIT, none, 1, &event) == 0);
	}
	BOOST_TEST(eventually([] { return called == 5; }));
}

} // namespace

BOOST_AUTO_TEST_CASE(a_list_notifies_once_after_the_last_of_its_requests)
{
	for_each_stream([](Stream &s) {
		List &list = new_list();
		File file = disk_file();
		for (int i = 0; i < 10; ++i) {
			list.add(reading(s.reader, 1), LIO_READ);
			list.add(writing(file.fd, "x", i), LIO_WRITE);
		}
		sigevent event = thread_event(list);
		BOOST_TEST_REQUIRE(list.submit(&event) == 0);
		put(s.writer, "123456789");
		for (size_t i = 0; i < 18; i += 2)
			BOOST_TEST(finish(*list.blocks[i]) == ok(1));
		BOOST_TEST(list.calls == 0);
		put(s.writer, "0");
		BOOST_TEST(list.notified());
		BOOST_TEST(list.unfinished == 0);
		let_late_notifications_come();
		BOOST_TEST(list.calls == 1);
	});
}

BOOST_AUTO_TEST_CASE(a_list_of_file_requests_notifies_once_when_all_are_done)
{
	for_each_file_kind([](const FileKind &kind) {
		for (int round = 0; round < 20; ++round) {
			File file = make_file(kind);
			List &list = new_list();
			for (int i = 0; i < 16; ++i)
				list.add(writing(file.fd, pattern(4096), i * 4096), LIO_WRITE);
			sigevent event = thread_event(list);
			BOOST_TEST_REQUIRE(list.submit(&event) == 0);
			BOOST_TEST(list.notified());
			BOOST_TEST(list.unfinished == 0);
			for (aiocb *cb : list.blocks)
				BOOST_TEST(finish(*cb) == ok(4096));
			BOOST_TEST(list.calls == 1);
		}
	});
}

BOOST_AUTO_TEST_CASE(a_list_signal_carries_code_and_value)
{
	static std::atomic<int> count, code, value;
	static std::atomic<pid_t> pid;
	count = 0;
	SignalHandler handler(
		SIGUSR1,
		+[](int, siginfo_t *info, void *) {
			code = info->si_code;
			value = info->si_value.sival_int;
			pid = info->si_pid;
			++count;
		},
		SA_RESTART);
	Stream s = unix_stream();
	List &list = new_list();
	list.add(reading(s.reader, 1), LIO_READ);
	sigevent event{};
	event.sigev_notify = SIGEV_SIGNAL;
	event.sigev_signo = SIGUSR1;
	event.sigev_value.sival_int = 42;
	BOOST_TEST_REQUIRE(list.submit(&event) == 0);
	put(s.writer, "x");
	BOOST_TEST(eventually([] { return count == 1; }));
	BOOST_TEST(code == SI_ASYNCIO);
	BOOST_TEST(value == 42);
	BOOST_TEST(pid == getpid());
}

BOOST_AUTO_TEST_CASE(the_lists_signal_comes_after_those_of_its_requests)
{
	sigset_t set, old;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 3);
	pthread_sigmask(SIG_BLOCK, &set, &old);
	Fd queue(signalfd(-1, &set, SFD_CLOEXEC));
	for (int round = 0; round < 50; ++round) {
		Stream s = unix_stream();
		File file = disk_file();
		List &list = new_list();
		for (int i = 0; i < 8; ++i) {
			Request &request =
				i % 2 == 0 ? reading(s.reader, 1) : writing(file.fd, "x", i);
			request.cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
			request.cb.aio_sigevent.sigev_signo = SIGRTMIN + 3;
			request.cb.aio_sigevent.sigev_value.sival_int = i;
			list.add(request, i % 2 == 0 ? LIO_READ : LIO_WRITE);
		}
		sigevent event{};
		event.sigev_notify = SIGEV_SIGNAL;
		event.sigev_signo = SIGRTMIN + 3;
		event.sigev_value.sival_int = 100;
		BOOST_TEST_REQUIRE(list.submit(&event) == 0);
		put(s.writer, "abcd");
		for (int i = 0; i < 9; ++i) {
			signalfd_siginfo info{};
			pollfd ready{queue, POLLIN, 0};
			BOOST_TEST_REQUIRE(poll(&ready, 1, 20000) == 1);
			BOOST_TEST_REQUIRE(read(queue, &info, sizeof info) == sizeof info);
			BOOST_TEST_REQUIRE((info.ssi_int == 100) == (i == 8));
		}
	}
	pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

BOOST_AUTO_TEST_CASE(failed_requests_count_as_done)
{
	File file = disk_file();
	List &list = new_list();
	list.add(reading(-1, 1), LIO_READ);
	list.add(writing(file.fd, "good"), LIO_WRITE);
	list.add(writing(-1, "x"), LIO_WRITE);
	sigevent event = thread_event(list);
	BOOST_TEST_REQUIRE(list.submit(&event) == 0);
	BOOST_TEST(list.notified());
	BOOST_TEST(list.unfinished == 0);
	BOOST_TEST(finish(*list.blocks[0]) == failed(EBADF));
	BOOST_TEST(finish(*list.blocks[1]) == ok(4));
}

BOOST_AUTO_TEST_CASE(a_list_of_nothing_but_failures_notifies)
{
	List &list = new_list();
	list.add(reading(-1, 1), LIO_READ);
	list.add(writing(-1, "x"), LIO_WRITE);
	sigevent event = thread_event(list);
	BOOST_TEST_REQUIRE(list.submit(&event) == 0);
	BOOST_TEST(list.notified());
	let_late_notifications_come();
	BOOST_TEST(list.calls == 1);
}

BOOST_AUTO_TEST_CASE(a_list_with_a_refused_request_runs_the_others_and_notifies)
{
	File file = disk_file();
	List &list = new_list();
	list.add(writing(file.fd, "good"), LIO_WRITE);
	list.add(writing(file.fd, "bad", 4), LIO_WRITE).cb.aio_reqprio = 1000;
	list.add(writing(file.fd, "also", 4), LIO_WRITE);
	sigevent event = thread_event(list);
	BOOST_TEST(list.submit(&event) == -1);
	BOOST_TEST(finish(*list.blocks[0]) == ok(4));
	BOOST_TEST(finish(*list.blocks[1]) == failed(EINVAL));
	BOOST_TEST(finish(*list.blocks[2]) == ok(4));
	BOOST_TEST(list.notified());
	BOOST_TEST(file.content() == "goodalso");
}

BOOST_AUTO_TEST_CASE(an_empty_list_notifies_at_once)
{
	Request &nothing = keep(-1, 0);
	nothing.cb.aio_lio_opcode = LIO_NOP;
	for (const auto &blocks :
	     std::vector<std::vector<aiocb *>>{{nullptr, nullptr}, {&nothing.cb}, {}}) {
		List &list = new_list();
		list.blocks = blocks;
		sigevent event = thread_event(list);
		aiocb *none[] = {nullptr};
		BOOST_TEST(lio_listio(LIO_NOWAIT, blocks.empty() ? none : blocks.data(),
				      int(blocks.size()), &event) == 0);
		BOOST_TEST(list.notified());
		let_late_notifications_come();
		BOOST_TEST(list.calls == 1);
	}
	static std::atomic<int> signals;
	signals = 0;
	SignalHandler handler(
		SIGUSR1, +[](int) { ++signals; }, SA_RESTART);
	sigevent event{};
	event.sigev_notify = SIGEV_SIGNAL;
	event.sigev_signo = SIGUSR1;
	aiocb *none[] = {nullptr};
	BOOST_TEST(lio_listio(LIO_NOWAIT, none, 1, &event) == 0);
	BOOST_TEST(eventually([] { return signals == 1; }));
}

BOOST_AUTO_TEST_CASE(no_sigevent_means_no_notification)
{
	File file = disk_file();
	List &list = new_list();
	list.add(writing(file.fd, "x"), LIO_WRITE);
	BOOST_TEST(list.submit(nullptr) == 0);
	BOOST_TEST(finish(*list.blocks[0]) == ok(1));
}

BOOST_AUTO_TEST_CASE(a_zeroed_or_silent_sigevent_says_nothing)
{
	for (int notify : {SIGEV_SIGNAL, SIGEV_NONE}) {
		File file = disk_file();
		List &list = new_list();
		list.add(writing(file.fd, "x"), LIO_WRITE);
		sigevent event{};
		event.sigev_notify = notify;
		BOOST_TEST(list.submit(&event) == 0);
		BOOST_TEST(finish(*list.blocks[0]) == ok(1));
	}
}

BOOST_AUTO_TEST_CASE(lio_wait_ignores_the_sigevent)
{
	static std::atomic<int> signals;
	signals = 0;
	SignalHandler handler(
		SIGUSR1, +[](int) { ++signals; }, SA_RESTART);
	File file = disk_file();
	List &list = new_list();
	list.add(writing(file.fd, "x"), LIO_WRITE);
	sigevent event{};
	event.sigev_notify = SIGEV_SIGNAL;
	event.sigev_signo = SIGUSR1;
	BOOST_TEST(lio_listio(LIO_WAIT, list.blocks.data(), 1, &event) == 0);
	let_late_notifications_come();
	BOOST_TEST(signals == 0);
}

BOOST_AUTO_TEST_CASE(the_sigevent_and_the_list_are_copied)
{
	Stream s = unix_stream();
	List &list = new_list();
	list.add(reading(s.reader, 1), LIO_READ);
	list.add(reading(s.reader, 1), LIO_READ);
	std::vector<aiocb *> blocks = list.blocks;
	sigevent event = thread_event(list);
	BOOST_TEST_REQUIRE(lio_listio(LIO_NOWAIT, blocks.data(), 2, &event) == 0);
	memset(&event, 0x5a, sizeof event);
	std::fill(blocks.begin(), blocks.end(), reinterpret_cast<aiocb *>(16));
	put(s.writer, "ab");
	BOOST_TEST(list.notified());
	BOOST_TEST(list.unfinished == 0);
}

namespace {

struct Order {
	std::atomic<int> own{0}, own_when_list_came{-1};
};
void own_notification(sigval value)
{
	++static_cast<Order *>(value.sival_ptr)->own;
}
void lists_notification(sigval value)
{
	auto *order = static_cast<Order *>(value.sival_ptr);
	order->own_when_list_came = order->own.load();
}

} // namespace

BOOST_AUTO_TEST_CASE(the_requests_own_functions_are_called_beside_the_lists)
{
	auto &order = *new Order;
	File file = disk_file();
	List &list = new_list();
	for (int i = 0; i < 8; ++i) {
		Request &request = list.add(writing(file.fd, "x", i), LIO_WRITE);
		request.cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
		request.cb.aio_sigevent.sigev_notify_function = own_notification;
		request.cb.aio_sigevent.sigev_value.sival_ptr = &order;
	}
	sigevent event{};
	event.sigev_notify = SIGEV_THREAD;
	event.sigev_notify_function = lists_notification;
	event.sigev_value.sival_ptr = &order;
	BOOST_TEST_REQUIRE(list.submit(&event) == 0);
	BOOST_TEST(eventually([&] { return order.own == 8 && order.own_when_list_came >= 0; }));
}
