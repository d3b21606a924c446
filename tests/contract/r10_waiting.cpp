// SPDX-License-Identifier: MIT
//
// Rule 10: aio_suspend and LIO_WAIT, with timeouts, signals and thread cancellation.
#define BOOST_TEST_MODULE r10_waiting
#include "support.hpp"

#include <csetjmp>
#include <sys/mman.h>
#include <sys/time.h>

namespace {

std::atomic<int> signals;
void count_signal(int)
{
	++signals;
}

} // namespace

BOOST_AUTO_TEST_CASE(null_entries_are_ignored)
{
	Stream s = unix_stream();
	Request &request = start_read(s.reader, 1);
	const aiocb *list[] = {nullptr, nullptr, &request.cb, nullptr};
	const timespec now{};
	BOOST_TEST(aio_suspend(list, 4, &now) == -1);
	BOOST_TEST(errno == EAGAIN);
	put(s.writer, "x");
	BOOST_TEST(aio_suspend(list, 4, nullptr) == 0);
	BOOST_TEST(request.error() == 0);
}

BOOST_AUTO_TEST_CASE(a_list_without_requests_returns_at_once)
{
	const aiocb *list[] = {nullptr, nullptr};
	BOOST_TEST(aio_suspend(list, 2, nullptr) == 0);
	BOOST_TEST(aio_suspend(list, 0, nullptr) == 0);
}

BOOST_AUTO_TEST_CASE(one_completed_entry_is_enough)
{
	File file = disk_file();
	Stream s = unix_stream();
	Request &done = start_write(file.fd, "x"), &pending = start_read(s.reader, 1);
	BOOST_TEST(finish(done) == ok(1));
	for (auto list :
	     {std::array<const aiocb *, 2>{&done.cb, &pending.cb}, {&pending.cb, &done.cb}})
		BOOST_TEST(aio_suspend(list.data(), 2, nullptr) == 0);
	put(s.writer, "x");
	BOOST_TEST(finish(pending) == ok(1));
}

BOOST_AUTO_TEST_CASE(a_failed_request_ends_the_wait_as_well)
{
	Request &request = start_read(-1, 1);
	BOOST_TEST(suspend_on(request.cb) == 0);
	BOOST_TEST(request.error() == EBADF);
}

BOOST_AUTO_TEST_CASE(a_timeout_gives_eagain_and_not_too_early)
{
	for_each_stream([](Stream &s) {
		Request &request = start_read(s.reader, 1);
		for (long nanoseconds : {0L, 1L, 30000000L}) {
			timespec const timeout{0, nanoseconds};
			auto const start = std::chrono::steady_clock::now();
			int const result = suspend_on(request.cb, &timeout);
			int const error = errno;
			auto const waited = std::chrono::steady_clock::now() - start;
			BOOST_TEST(result == -1);
			BOOST_TEST(error == EAGAIN);
			BOOST_TEST((waited >= std::chrono::nanoseconds(nanoseconds)));
		}
		BOOST_TEST(request.pending());
		put(s.writer, "x");
		timespec const hour{3600, 0};
		BOOST_TEST(suspend_on(request.cb, &hour) == 0);
		BOOST_TEST(finish(request) == ok(1));
	});
}

BOOST_AUTO_TEST_CASE(any_one_of_a_thousand_requests_ends_the_wait)
{
	std::vector<Stream> streams;
	std::vector<Request *> reads;
	std::vector<const aiocb *> list;
	for (int i = 0; i < 1000; ++i) {
		if (i % 100 == 0)
			streams.push_back(unix_stream());
		reads.push_back(&start_read(streams.back().reader, 1));
		list.push_back(&reads.back()->cb);
	}
	Waiter waiter([&] { return aio_suspend(list.data(), 1000, nullptr); });
	BOOST_TEST(waiter.asleep());
	put(streams[7].writer, "x");
	BOOST_TEST(waiter.returns());
	BOOST_TEST(waiter.result() == 0);
	BOOST_TEST(finish(*reads[700]) == ok(1));
	for (Stream &s : streams)
		put(s.writer, std::string(100, 'x'));
	for (Request *request : reads)
		BOOST_TEST(finish(*request) == ok(1));
}

BOOST_AUTO_TEST_CASE(every_thread_that_waits_for_a_request_wakes_up)
{
	for_each_stream([](Stream &s) {
		Request &request = start_read(s.reader, 1);
		std::list<Waiter> waiters;
		for (int i = 0; i < 10; ++i)
			waiters.emplace_back([&] { return suspend_on(request.cb); });
		for (Waiter &waiter : waiters)
			BOOST_TEST(waiter.asleep());
		put(s.writer, "x");
		for (Waiter &waiter : waiters) {
			BOOST_TEST(waiter.returns());
			BOOST_TEST(waiter.result() == 0);
		}
		BOOST_TEST(finish(request) == ok(1));
	});
}

BOOST_AUTO_TEST_CASE(threads_wake_for_their_own_requests_only)
{
	Stream one = unix_stream(), two = unix_stream();
	Request &first = start_read(one.reader, 1), &second = start_read(two.reader, 1);
	Waiter first_waiter([&] { return suspend_on(first.cb); }),
		second_waiter([&] { return suspend_on(second.cb); });
	BOOST_TEST(first_waiter.asleep());
	BOOST_TEST(second_waiter.asleep());
	put(two.writer, "x");
	BOOST_TEST(second_waiter.returns());
	BOOST_TEST(!first_waiter.returned());
	put(one.writer, "x");
	BOOST_TEST(first_waiter.returns());
}

BOOST_AUTO_TEST_CASE(a_cancelled_request_ends_the_wait, BETTER_THAN_GLIBC)
{
	for_each_stream([](Stream &s) {
		Request &request = start_read(s.reader, 1);
		Waiter waiter([&] { return suspend_on(request.cb); });
		BOOST_TEST(waiter.asleep());
		BOOST_TEST(aio_cancel(s.reader, &request.cb) == AIO_CANCELED);
		BOOST_TEST(waiter.returns());
		BOOST_TEST(waiter.result() == 0);
	});
}

BOOST_AUTO_TEST_CASE(a_signal_gives_eintr_with_and_without_a_timeout)
{
	SignalHandler handler(SIGUSR1, count_signal);
	const timespec hour{3600, 0};
	for (const timespec *timeout : {static_cast<const timespec *>(nullptr), &hour}) {
		signals = 0;
		Stream s = unix_stream();
		Request &request = start_read(s.reader, 1);
		Waiter waiter([&] { return suspend_on(request.cb, timeout); });
		BOOST_TEST(waiter.asleep());
		BOOST_TEST(waiter.interrupt(SIGUSR1));
		BOOST_TEST(waiter.result() == -1);
		BOOST_TEST(waiter.error() == EINTR);
		BOOST_TEST(signals >= 1);
		BOOST_TEST(request.pending());
		put(s.writer, "x");
		BOOST_TEST(finish(request) == ok(1));
	}
}

BOOST_AUTO_TEST_CASE(a_blocked_signal_does_not_interrupt)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	SignalHandler handler(SIGUSR1, count_signal);
	signals = 0;
	Stream s = unix_stream();
	Request &request = start_read(s.reader, 1);
	std::atomic<pid_t> id{0};
	std::atomic<int> result{-2};
	std::thread thread([&] {
		pthread_sigmask(SIG_BLOCK, &set, nullptr);
		id = thread_id();
		result = suspend_on(request.cb);
	});
	BOOST_TEST(eventually([&] { return id != 0 && thread_state(id) == 'S'; }));
	pthread_kill(thread.native_handle(), SIGUSR1);
	put(s.writer, "x");
	thread.join();
	BOOST_TEST(result == 0);
	BOOST_TEST(signals == 0);
}

namespace {

struct Cancelled {
	aiocb *cb;
	int (*wait)(aiocb &);
	int state;
	std::atomic<pid_t> id{0};
	std::atomic<int> cleanups{0};
	std::atomic<bool> go{true};
	int result = -2;
};
void clean_up(void *data)
{
	forget_frames_that_were_left();
	++static_cast<Cancelled *>(data)->cleanups;
}

void *wait_to_be_cancelled(void *data)
{
	auto *self = static_cast<Cancelled *>(data);
	pthread_cleanup_push(clean_up, data);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
	self->id = thread_id();
	while (!self->go)
		sched_yield();
	pthread_setcancelstate(self->state, nullptr);
	self->result = self->wait(*self->cb);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
	pthread_cleanup_pop(0);
	return nullptr;
}
void *join(pthread_t thread)
{
	void *value = nullptr;
	pthread_join(thread, &value);
	return value;
}
int suspend_for_ever(aiocb &cb)
{
	return suspend_on(cb);
}

} // namespace

BOOST_AUTO_TEST_CASE(aio_suspend_is_a_cancellation_point_and_the_library_stays_usable)
{
	for_each_stream([](Stream &s) {
		Request &request = start_read(s.reader, 1);
		for (int round = 0; round < 20; ++round) {
			Cancelled thread{&request.cb, suspend_for_ever, PTHREAD_CANCEL_ENABLE};
			pthread_t handle;
			pthread_create(&handle, nullptr, wait_to_be_cancelled, &thread);
			BOOST_TEST(eventually(
				[&] { return thread.id != 0 && thread_state(thread.id) == 'S'; }));
			pthread_cancel(handle);
			BOOST_TEST((join(handle) == PTHREAD_CANCELED));
			BOOST_TEST(thread.cleanups == 1);
		}
		BOOST_TEST(request.pending());
		Waiter waiter([&] { return suspend_on(request.cb); });
		BOOST_TEST(waiter.asleep());
		put(s.writer, "x");
		BOOST_TEST(waiter.returns());
		BOOST_TEST(finish(request) == ok(1));
		BOOST_TEST(finish(start_write(s.writer, "y")) == ok(1));
	});
}

BOOST_AUTO_TEST_CASE(a_cancellation_that_came_before_is_acted_upon)
{
	Stream s = unix_stream();
	Request &request = start_read(s.reader, 1);
	Cancelled thread{&request.cb, suspend_for_ever, PTHREAD_CANCEL_ENABLE};
	thread.go = false;
	pthread_t handle;
	pthread_create(&handle, nullptr, wait_to_be_cancelled, &thread);
	BOOST_TEST(eventually([&] { return thread.id != 0; }));
	pthread_cancel(handle);
	thread.go = true;
	BOOST_TEST((join(handle) == PTHREAD_CANCELED));
	BOOST_TEST(thread.cleanups == 1);
	put(s.writer, "x");
	BOOST_TEST(finish(request) == ok(1));
}

BOOST_AUTO_TEST_CASE(a_thread_that_disabled_cancellation_waits_to_the_end)
{
	Stream s = unix_stream();
	Request &request = start_read(s.reader, 1);
	Cancelled thread{&request.cb, suspend_for_ever, PTHREAD_CANCEL_DISABLE};
	pthread_t handle;
	pthread_create(&handle, nullptr, wait_to_be_cancelled, &thread);
	BOOST_TEST(eventually([&] { return thread.id != 0 && thread_state(thread.id) == 'S'; }));
	pthread_cancel(handle);
	put(s.writer, "x");
	BOOST_TEST((join(handle) != PTHREAD_CANCELED));
	BOOST_TEST(thread.result == 0);
	BOOST_TEST(thread.cleanups == 0);
}

BOOST_AUTO_TEST_CASE(cancelling_a_thread_in_lio_wait_leaves_the_library_usable)
{
	Stream s = unix_stream();
	Request &request = reading(s.reader, 1);
	request.cb.aio_lio_opcode = LIO_READ;
	auto wait = [](aiocb &cb) {
		aiocb *list[] = {&cb};
		return lio_listio(LIO_WAIT, list, 1, nullptr);
	};
	Cancelled thread{&request.cb, wait, PTHREAD_CANCEL_ENABLE};
	pthread_t handle;
	pthread_create(&handle, nullptr, wait_to_be_cancelled, &thread);
	BOOST_TEST(eventually([&] {
		return thread.id != 0 && thread_state(thread.id) == 'S' && request.pending();
	}));
	pthread_cancel(handle);
	put(s.writer, "x");
	// POSIX lets lio_listio be a cancellation point or not.
	if (join(handle) == PTHREAD_CANCELED)
		BOOST_TEST(thread.cleanups == 1);
	else
		BOOST_TEST(thread.result == 0);
	BOOST_TEST(finish(request) == ok(1));
	BOOST_TEST(finish(start_write(s.writer, "y")) == ok(1));
}

BOOST_AUTO_TEST_CASE(lio_wait_gives_eintr_on_a_signal_and_the_requests_go_on)
{
	SignalHandler handler(SIGUSR1, count_signal);
	for_each_stream([](Stream &s) {
		Request &one = reading(s.reader, 1), &two = reading(s.reader, 1);
		one.cb.aio_lio_opcode = two.cb.aio_lio_opcode = LIO_READ;
		aiocb *list[] = {&one.cb, &two.cb};
		Waiter waiter([&] { return lio_listio(LIO_WAIT, list, 2, nullptr); });
		BOOST_TEST(eventually([&] { return one.pending() && two.pending(); }));
		put(s.writer, "a");
		BOOST_TEST(finish(one) == ok(1));
		BOOST_TEST(waiter.interrupt(SIGUSR1));
		BOOST_TEST(waiter.result() == -1);
		BOOST_TEST(waiter.error() == EINTR);
		BOOST_TEST(two.pending());
		put(s.writer, "b");
		BOOST_TEST(finish(two) == ok(1));
	});
}

BOOST_AUTO_TEST_CASE(lio_wait_returns_when_the_last_request_is_done)
{
	std::vector<Stream> streams;
	std::vector<aiocb *> list;
	for (int i = 0; i < 10; ++i) {
		streams.push_back(unix_stream());
		list.push_back(&reading(streams.back().reader, 1).cb);
		list.back()->aio_lio_opcode = LIO_READ;
	}
	Waiter waiter([&] { return lio_listio(LIO_WAIT, list.data(), 10, nullptr); });
	for (int i = 9; i >= 0; --i) {
		BOOST_TEST(waiter.asleep());
		put(streams[i].writer, "x");
	}
	BOOST_TEST(waiter.returns());
	BOOST_TEST(waiter.result() == 0);
	for (aiocb *cb : list)
		BOOST_TEST(aio_error(cb) == 0);
}

BOOST_AUTO_TEST_CASE(lio_wait_gives_eio_when_a_request_failed_and_the_others_finish)
{
	File file = disk_file();
	Stream s = unix_stream();
	Request &bad = reading(-1, 1), &good = writing(file.fd, "good"),
		&late = reading(s.reader, 1);
	bad.cb.aio_lio_opcode = late.cb.aio_lio_opcode = LIO_READ;
	good.cb.aio_lio_opcode = LIO_WRITE;
	aiocb *list[] = {&bad.cb, &good.cb, &late.cb};
	Waiter waiter([&] { return lio_listio(LIO_WAIT, list, 3, nullptr); });
	BOOST_TEST(eventually([&] { return late.pending(); }));
	BOOST_TEST(finish(good) == ok(4));
	BOOST_TEST(waiter.asleep());
	put(s.writer, "x");
	BOOST_TEST(waiter.returns());
	BOOST_TEST(waiter.result() == -1);
	BOOST_TEST(waiter.error() == EIO);
	BOOST_TEST(finish(bad) == failed(EBADF));
	BOOST_TEST(finish(late) == ok(1));
}

// A wait for requests of several engines may leave a thread of the library listening to kernel AIO.
// What that one is told must not get lost: a write into a hole is refused there (RWF_NOWAIT), and
// goes on elsewhere.
BOOST_AUTO_TEST_CASE(after_a_wait_for_a_mixed_list_direct_writes_still_succeed)
{
	std::string const directory = disk_directory();
	File big(directory, O_RDWR | O_DIRECT);
	if (big.fd < 0) {
		BOOST_TEST_MESSAGE("skipped: no O_DIRECT here");
		return;
	}
	const size_t bytes = 16u << 20;
	BOOST_TEST(finish(start_write(big.fd, pattern(bytes))) == ok(static_cast<ssize_t>(bytes)));
	Stream never = unix_stream();
	Request &nothing = start_read(never.reader, 1);
	for (int round = 0; round < 10; ++round) {
		Request &long_one = start_read(big.fd, bytes);
		const aiocb *list[] = {&nothing.cb, &long_one.cb};
		BOOST_TEST(aio_suspend(list, 2, nullptr) == 0);
		BOOST_TEST(finish(long_one) == ok(static_cast<ssize_t>(bytes)));
		File holes(directory, O_RDWR | O_DIRECT);
		for (off_t at : {0, 40960, 4096000})
			BOOST_TEST(finish(start_write(holes.fd, pattern(4096), at)) == ok(4096));
		BOOST_TEST((holes.content(4096, 40960) == pattern(4096)));
	}
	put(never.writer, "x");
	BOOST_TEST(finish(nothing) == ok(1));
}
