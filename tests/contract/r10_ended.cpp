// SPDX-License-Identifier: MIT
//
// Rule 10: what has ended is the program's again, and a caller may leave by siglongjmp.
#define BOOST_TEST_MODULE r10_ended
#include "support.hpp"

#include <csetjmp>
#include <sys/mman.h>
#include <sys/time.h>

namespace {

/// An aiocb in a page of its own, which its notification function takes away.
struct Vanishing {
	aiocb *cb;
	std::atomic<bool> gone{false};
	Vanishing()
	    : cb(static_cast<aiocb *>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)))
	{
	}
	static void vanish(sigval value)
	{
		auto *self = static_cast<Vanishing *>(value.sival_ptr);
		while (aio_error(self->cb) == EINPROGRESS)
			sched_yield();
		munmap(self->cb, 4096);
		self->gone = true;
	}
	/// A read of one byte, to be freed when it has been told.
	void prepare(int fd, char *buffer)
	{
		cb->aio_fildes = fd;
		cb->aio_buf = buffer;
		cb->aio_nbytes = 1;
		cb->aio_lio_opcode = LIO_READ;
		cb->aio_sigevent.sigev_notify = SIGEV_THREAD;
		cb->aio_sigevent.sigev_notify_function = vanish;
		cb->aio_sigevent.sigev_value.sival_ptr = this;
	}
};

} // namespace

BOOST_AUTO_TEST_CASE(lio_wait_never_looks_at_an_element_that_has_ended)
{
	Stream first = unix_stream(), second = unix_stream();
	Vanishing vanishing;
	char byte;
	vanishing.prepare(first.reader, &byte);
	Request &late = reading(second.reader, 1);
	late.cb.aio_lio_opcode = LIO_READ;
	for (bool in_front : {true, false}) {
		if (!in_front) {
			vanishing.cb =
				static_cast<aiocb *>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE,
							  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
			vanishing.gone = false;
			vanishing.prepare(first.reader, &byte);
		}
		aiocb *list[] = {in_front ? vanishing.cb : &late.cb,
				 in_front ? &late.cb : vanishing.cb};
		Waiter waiter([&] { return lio_listio(LIO_WAIT, list, 2, nullptr); });
		BOOST_TEST(waiter.asleep());
		put(first.writer, "x");
		BOOST_TEST(eventually([&] { return vanishing.gone.load(); }));
		BOOST_TEST(waiter.asleep());
		put(second.writer, "y");
		BOOST_TEST(waiter.returns());
		BOOST_TEST(waiter.result() == 0);
	}
}

// Another thread is quicker than the sleeper: it takes the result and submits the same control
// block again. The sleeper is made slow: it gets the one processor that both may use only while the
// other sleeps, which is when the control block has been submitted.
BOOST_AUTO_TEST_CASE(aio_suspend_returns_for_a_request_that_was_submitted_anew_meanwhile)
{
	Stream s = unix_stream();
	Request &request = start_read(s.reader, 1);
	cpu_set_t before, one;
	sched_getaffinity(0, sizeof before, &before);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof one, &one);
	for (int round = 0; round < 20; ++round) {
		Waiter waiter([&] {
			sched_param const none{};
			sched_setscheduler(0, SCHED_IDLE, &none);
			return suspend_on(request.cb);
		});
		BOOST_TEST(waiter.asleep());
		put(s.writer, "x");
		while (aio_error(&request.cb) == EINPROGRESS) {
		}
		aio_return(&request.cb);
		BOOST_REQUIRE(aio_read(&request.cb) == 0);
		const bool returned = waiter.returns();
		BOOST_TEST(returned);
		if (!returned)
			put(s.writer, "x"); // so that it comes to an end
		BOOST_TEST(waiter.returns());
		BOOST_TEST(waiter.result() == 0);
		if (!returned)
			break;
	}
	sched_setaffinity(0, sizeof before, &before);
	put(s.writer, "x");
	BOOST_TEST(finish(request) == ok(1));
}

namespace {

sigjmp_buf way_out;
volatile sig_atomic_t may_leave = 0;

void leave(int)
{
	if (may_leave == 0)
		return;
	may_leave = 0;
	siglongjmp(way_out, 1);
}

} // namespace

// aio_suspend is async-signal-safe, so a handler that interrupts it may leave it. Afterwards others
// are told and waited for as before.
BOOST_AUTO_TEST_CASE(a_handler_may_leave_aio_suspend_by_siglongjmp)
{
	File file(disk_directory(), O_RDWR | O_DIRECT);
	if (file.fd < 0) {
		BOOST_TEST_MESSAGE("skipped: no O_DIRECT here");
		return;
	}
	const size_t bytes = 16u << 20;
	BOOST_TEST(finish(start_write(file.fd, pattern(bytes))) == ok(static_cast<ssize_t>(bytes)));
	SignalHandler handler(SIGUSR2, leave, 0);
	static std::atomic<int> told;
	told = 0;
	const pthread_t self = pthread_self();
	for (int round = 0, left = 0; round < 200 && left < 10; ++round) {
		Request &request = start_read(file.fd, bytes);
		std::atomic<bool> over{false};
		std::thread sender([&] {
			for (int i = 0; !over; ++i) {
				if (i >= round % 10)
					pthread_kill(self, SIGUSR2);
				sched_yield();
			}
		});
		if (sigsetjmp(way_out, 1) == 0) {
			may_leave = 1;
			while (suspend_on(request.cb) != 0) {
			}
			may_leave = 0;
		} else
			++left;
		over = true;
		sender.join();
		Request &next = reading(file.fd, 4096);
		next.cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
		next.cb.aio_sigevent.sigev_notify_function = [](sigval) { ++told; };
		BOOST_REQUIRE(aio_read(&next.cb) == 0);
		BOOST_TEST_REQUIRE(eventually([&] { return told == round + 1; }));
		in_thread([&] {
			Request &other = start_read(file.fd, 4096);
			BOOST_TEST(suspend_on(other.cb) == 0);
		});
		BOOST_TEST(finish(request) == ok(static_cast<ssize_t>(bytes)));
	}
}
