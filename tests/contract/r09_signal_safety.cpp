// SPDX-License-Identifier: MIT
//
// Rule 9: aio_error, aio_return and aio_suspend are async-signal-safe; a repeated
// aio_return gives the value again.
//
// A second thread interrupts the main one while it is in the library or in malloc.
// Each signal is sent only after the one before was handled, and their number is fixed.
#define BOOST_TEST_MODULE r09_signal_safety
#include "support.hpp"

#include <csetjmp>
#include <sys/syscall.h>
#include <ucontext.h>

namespace {

constexpr int interruptions = 2000;

std::atomic<int> handled;
std::atomic<int> wrong;
aiocb *done_block;
aiocb *pending_block;

void expect(bool condition)
{
	if (!condition)
		++wrong;
}

/// Everything that rule 9 allows, on a request that is done and one that is not.
void use_the_library(int)
{
	const int saved = errno;
	const timespec now{};
	const aiocb *done[] = {nullptr, done_block};
	const aiocb *pending[] = {pending_block, nullptr};
	expect(aio_error(done_block) == 0);
	expect(aio_return(done_block) == 4);
	expect(aio_suspend(done, 2, nullptr) == 0);
	expect(aio_error(pending_block) == EINPROGRESS);
	expect(aio_suspend(pending, 2, &now) == -1 && errno == EAGAIN);
	const timespec moment{0, 1000};
	expect(aio_suspend(pending, 2, &moment) == -1 && (errno == EAGAIN || errno == EINTR));
	errno = saved;
	++handled;
}

/// Interrupts the calling thread while it repeats `work`.
template <class Work> void interrupt_while(Work work)
{
	Stream s = unix_stream();
	File file = disk_file();
	Request &done = start_write(file.fd, "done"), &pending = start_read(s.reader, 1);
	BOOST_TEST_REQUIRE(finish(done) == ok(4));
	done_block = &done.cb;
	pending_block = &pending.cb;
	handled = wrong = 0;
	SignalHandler handler(SIGUSR1, use_the_library);
	std::atomic<bool> stop{false};
	std::thread sender([&, target = pthread_self()] {
		for (int i = 0; i < interruptions; ++i) {
			pthread_kill(target, SIGUSR1);
			if (!eventually([&] { return handled > i; }))
				break;
		}
		stop = true;
	});
	while (!stop)
		work();
	sender.join();
	BOOST_TEST(handled == interruptions);
	BOOST_TEST(wrong == 0);
	put(s.writer, "x");
	BOOST_TEST(finish(pending) == ok(1));
}

void wait_by_suspend(aiocb &cb)
{
	const aiocb *list[] = {&cb};
	while (aio_error(&cb) == EINPROGRESS)
		aio_suspend(list, 1, nullptr);
}

} // namespace

BOOST_AUTO_TEST_CASE(a_repeated_aio_return_gives_the_value_again)
{
	File file = disk_file();
	Request &good = start_write(file.fd, "four"), &bad = start_read(-1, 1);
	for (int i = 0; i < 3; ++i) {
		BOOST_TEST(finish(good) == ok(4));
		BOOST_TEST(finish(bad) == failed(EBADF));
	}
}

// glibc takes its lock in all three functions.
BOOST_AUTO_TEST_CASE(handlers_may_interrupt_submitting_and_waiting, BETTER_THAN_GLIBC)
{
	File file = disk_file();
	Request &request = reading(file.fd, 4096);
	interrupt_while([&] {
		if (aio_read(&request.cb) == 0)
			wait_by_suspend(request.cb);
		aio_return(&request.cb);
	});
}

BOOST_AUTO_TEST_CASE(handlers_may_interrupt_waiting_for_a_stream, BETTER_THAN_GLIBC)
{
	Stream s = pipe_stream();
	Request &request = reading(s.reader, 1);
	interrupt_while([&] {
		if (aio_read(&request.cb) != 0)
			abort();
		put(s.writer, "x");
		wait_by_suspend(request.cb);
	});
}

BOOST_AUTO_TEST_CASE(handlers_may_interrupt_aio_suspend_itself, BETTER_THAN_GLIBC)
{
	Stream s = unix_stream();
	Request &request = start_read(s.reader, 1);
	const aiocb *list[] = {&request.cb};
	interrupt_while([&] {
		timespec const pause{0, 2000000};
		aio_suspend(list, 1, &pause);
	});
	put(s.writer, "x");
	BOOST_TEST(finish(request) == ok(1));
}

BOOST_AUTO_TEST_CASE(handlers_may_interrupt_malloc)
{
	interrupt_while([] {
		for (size_t bytes = 16; bytes < 300000; bytes *= 2) {
			auto *volatile block = static_cast<char *>(malloc(bytes));
			free(block);
		}
	});
}

BOOST_AUTO_TEST_CASE(handlers_may_interrupt_lists, BETTER_THAN_GLIBC)
{
	File file = disk_file();
	Request &one = reading(file.fd, 512), &two = writing(file.fd, pattern(512));
	one.cb.aio_lio_opcode = LIO_READ;
	two.cb.aio_lio_opcode = LIO_WRITE;
	aiocb *list[] = {&one.cb, &two.cb};
	interrupt_while([&] {
		lio_listio(LIO_WAIT, list, 2, nullptr);
		wait_by_suspend(one.cb);
		wait_by_suspend(two.cb);
	});
}

BOOST_AUTO_TEST_CASE(handlers_may_interrupt_cancelling, BETTER_THAN_GLIBC)
{
	Stream s = unix_stream();
	Request &request = reading(s.reader, 1);
	interrupt_while([&] {
		if (aio_read(&request.cb) != 0)
			abort();
		if (aio_cancel(s.reader, &request.cb) != AIO_CANCELED)
			put(s.writer, "x");
		wait_by_suspend(request.cb);
	});
}

BOOST_AUTO_TEST_CASE(handlers_may_interrupt_fsync, BETTER_THAN_GLIBC)
{
	File file = tmpfs_file();
	Request &request = keep(file.fd, 0);
	interrupt_while([&] {
		if (aio_fsync(O_SYNC, &request.cb) == 0)
			wait_by_suspend(request.cb);
	});
}

namespace {

std::atomic<bool> waiting;
std::atomic<int> waited;

void wait_in_handler(int)
{
	const int saved = errno;
	const aiocb *list[] = {pending_block};
	waiting = true;
	waited = aio_suspend(list, 1, nullptr) == 0 ? 1 : -1;
	errno = saved;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_handler_may_wait_for_a_request_until_it_completes)
{
	for_each_stream([](Stream &s) {
		Request &request = start_read(s.reader, 1);
		pending_block = &request.cb;
		waiting = false;
		waited = 0;
		SignalHandler handler(SIGUSR1, wait_in_handler);
		std::thread writer([&] {
			eventually([] { return waiting.load(); });
			if (write(s.writer, "x", 1) != 1)
				abort();
		});
		raise(SIGUSR1);
		writer.join();
		BOOST_TEST(waited == 1);
		BOOST_TEST(finish(request) == ok(1));
	});
}

BOOST_AUTO_TEST_CASE(a_handler_for_the_notification_itself_may_use_the_request, BETTER_THAN_GLIBC)
{
	static std::atomic<int> notified, correct;
	notified = correct = 0;
	SignalHandler handler(
		SIGUSR2,
		+[](int, siginfo_t *info, void *) {
			int const saved = errno;
			auto *cb = static_cast<aiocb *>(info->si_value.sival_ptr);
			aiocb const *list[] = {cb};
			if (aio_suspend(list, 1, nullptr) == 0 && aio_error(cb) == 0 &&
			    aio_return(cb) == 1)
				++correct;
			++notified;
			errno = saved;
		},
		SA_RESTART);
	File file = disk_file();
	for (int i = 0; i < 500; ++i) {
		Request &request = writing(file.fd, "x", i);
		request.cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
		request.cb.aio_sigevent.sigev_signo = SIGUSR2;
		request.cb.aio_sigevent.sigev_value.sival_ptr = &request.cb;
		const int before = notified;
		BOOST_TEST_REQUIRE(aio_write(&request.cb) == 0);
		BOOST_TEST_REQUIRE(eventually([&] { return notified > before; }));
	}
	BOOST_TEST(correct == 500);
}

#ifdef __x86_64__
namespace {

sigjmp_buf way_out;
volatile sig_atomic_t may_leave;

/// Leaves the interrupted call if it sleeps: on a futex that is to be waited for once more.
void leave_sleep(int, siginfo_t *, void *context)
{
	const auto &registers = static_cast<ucontext_t *>(context)->uc_mcontext.gregs;
	const auto *next = reinterpret_cast<const unsigned char *>(registers[REG_RIP]);
	const bool sleeps = registers[REG_RAX] == SYS_futex && next[0] == 0x0f && next[1] == 0x05;
	if (may_leave == 0 || !sleeps)
		return;
	may_leave = 0;
	siglongjmp(way_out, 1);
}

/// Signals of a timer of its own, which interrupt the only thread that takes them.
void interrupt_often()
{
	sigevent by_signal{};
	by_signal.sigev_notify = SIGEV_SIGNAL;
	by_signal.sigev_signo = SIGUSR2;
	timer_t timer;
	CHILD_REQUIRE(timer_create(CLOCK_MONOTONIC, &by_signal, &timer) == 0);
	const itimerspec often{{0, 20'000}, {0, 20'000}};
	CHILD_REQUIRE(timer_settime(timer, 0, &often, nullptr) == 0);
}

void leave_first_request()
{
	Stream s = unix_stream();
	Request &first = reading(s.reader, 1);
	first.cb.aio_lio_opcode = LIO_READ;
	aiocb *list[] = {&first.cb};
	static SignalHandler handler(SIGUSR2, leave_sleep, SA_RESTART); // the timer outlives this
	if (sigsetjmp(way_out, 1) == 0) {
		may_leave = 1;
		interrupt_often();
		while (lio_listio(LIO_WAIT, list, 1, nullptr) != 0)
			CHILD_REQUIRE(errno == EINTR);
		CHILD_REQUIRE(!"nothing was there to be read");
	}
	CHILD_REQUIRE(first.pending());
	CHILD_REQUIRE(write(s.writer, "x", 1) == 1);
	CHILD_REQUIRE(eventually([&] { return !first.pending(); }));
	CHILD_REQUIRE(first.text() == "x");
	Request &second = start_read(s.reader, 1);
	CHILD_REQUIRE(write(s.writer, "y", 1) == 1);
	CHILD_REQUIRE(eventually([&] { return !second.pending(); }));
}

} // namespace

// The first request of a process starts the library's threads and waits for that. Who is
// interrupted then, and never comes back, has made the request all the same, and holds no lock.
// ThreadSanitizer keeps a signal until a call that it knows returns, so with it no handler runs in
// the library's sleep.
BOOST_AUTO_TEST_CASE(a_handler_may_leave_the_wait_of_the_first_request_by_siglongjmp,
		     BETTER_THAN_GLIBC *boost::unit_test::enable_if<!thread_sanitizer>())
{
	for (int i = 0; i < 50; ++i)
		BOOST_TEST_REQUIRE(in_child(leave_first_request) == 0);
}
#endif
