// SPDX-License-Identifier: MIT
//
// A system call that a seccomp filter refuses, from the start or from a moment on, and for which
// there is another way: nothing fails, hangs, or is told as something else for that.
#define BOOST_TEST_MODULE r17_refused_calls
#include "channel.hpp"
#include "refusal.hpp"

#include <time.h>

namespace {

constexpr unsigned errors[] = {EPERM, ENOSYS};
constexpr int unused_number = 900;

void every_transfer()
{
	Stream pipe = pipe_stream(), socket = unix_stream();
	File file = disk_file();
	const Fd append(open(file.path.c_str(), O_RDWR | O_APPEND));
	CHILD_REQUIRE(append >= 0);
	Request &waiting = start_read(socket.reader, 3), &from_pipe = start_read(pipe.reader, 5);
	CHILD_REQUIRE(finish(start_write(file.fd, "file")) == ok(4));
	CHILD_REQUIRE(finish(start_write(append, "more")) == ok(4));
	Request &sync = keep(file.fd, 0);
	CHILD_REQUIRE(aio_fsync(O_SYNC, &sync.cb) == 0);
	CHILD_REQUIRE(finish(sync) == ok(0));
	Request &back = start_read(file.fd, 8);
	CHILD_REQUIRE(finish(back) == ok(8));
	CHILD_REQUIRE(back.text() == "filemore");
	CHILD_REQUIRE(finish(start_write(pipe.writer, "bytes")) == ok(5));
	CHILD_REQUIRE(finish(from_pipe) == ok(5));
	put(socket.writer, "abc");
	CHILD_REQUIRE(finish(waiting) == ok(3));
	Request &cancelled = start_read(socket.reader, 1);
	CHILD_REQUIRE(aio_cancel(socket.reader, &cancelled.cb) == AIO_CANCELED);
	CHILD_REQUIRE(finish(start_read(unused_number, 1)) == failed(EBADF));
}

bool next_is(ec_t ec, event_data_t *event)
{
	// The library's own doings interrupt nobody.
	return ec_next_events(ec, event, 1, &until_it_hangs) == 1;
}

void every_event(unsigned flags)
{
	event_data_t event{};
	int datum;
	Channel ec(flags);
	Stream socket = unix_stream();
	char bytes[8];
	CHILD_REQUIRE(ec_post(ec, 1, 0, &datum) == 0);
	CHILD_REQUIRE(next_is(ec, &event));
	CHILD_REQUIRE(ev_recv(socket.reader, bytes, sizeof bytes, 0, ec, &datum) == 0);
	CHILD_REQUIRE(ec_submit(ec) >= 0);
	put(socket.writer, "abc");
	CHILD_REQUIRE(next_is(ec, &event));
	CHILD_REQUIRE(event.ev_result == 3);

	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHILD_REQUIRE(ev_signal(&set, ec, &datum) == 0);
	sigval value{};
	value.sival_int = 42;
	CHILD_REQUIRE(sigqueue(getpid(), SIGUSR1, value) == 0);
	CHILD_REQUIRE(next_is(ec, &event));
	CHILD_REQUIRE(event.ev_type == event_type_sig);
	CHILD_REQUIRE(event.ev_un.ev_sig.sigev_signo == SIGUSR1);
	CHILD_REQUIRE(event.ev_un.ev_sig.sigev_value.sival_int == 42);
	CHILD_REQUIRE(pthread_kill(pthread_self(), SIGUSR1) == 0);
	CHILD_REQUIRE(next_is(ec, &event));
	CHILD_REQUIRE(event.ev_type == event_type_sig);

	timer_t timer;
	sigevent told = channel_event(ec, &datum);
	CHILD_REQUIRE(timer_create(CLOCK_MONOTONIC, &told, &timer) == 0);
	const itimerspec soon{{0, 0}, {0, 1000000}};
	CHILD_REQUIRE(timer_settime(timer, 0, &soon, nullptr) == 0);
	CHILD_REQUIRE(next_is(ec, &event));
	CHILD_REQUIRE(event.ev_type == event_type_timer);
	CHILD_REQUIRE(event.ev_un.ev_obj == timer);
	CHILD_REQUIRE(event.ev_result == 1);
}

void every_region()
{
	Stream socket = unix_stream();
	dma_mem_t region;
	constexpr size_t size = 1 << 16;
	CHILD_REQUIRE(dma_alloc(&region, size, 0) == 0);
	CHILD_REQUIRE(dma_assoc(socket.reader, region, size, 0) == 0);
	for (const char *const text : {"first", "again"}) {
		void *piece;
		put(socket.writer, text);
		CHILD_REQUIRE(sio_recv(socket.reader, &piece, 16, 0) == 5);
		CHILD_REQUIRE(memcmp(piece, text, 5) == 0);
		CHILD_REQUIRE(sio_release(region, piece, 5) == 0);
	}
	CHILD_REQUIRE(dma_disassoc(socket.reader, region, size) == 0);
}

/// Refused before the library's first call, and between others.
template <class Body> void with_refused(const std::vector<unsigned> &calls, Body body)
{
	for (const unsigned error : errors)
		for (const bool later : {false, true})
			BOOST_TEST(in_child([&] {
					   if (later)
						   body();
					   CHILD_REQUIRE(refuse(calls, error, later));
					   body();
				   }) == 0,
				   "refused with " << strerror(int(error))
						   << (later ? ", later" : ""));
}

void all_of_it()
{
	every_transfer();
	for (const ChannelKind &kind : channel_kinds)
		every_event(kind.flags);
	every_region();
}

} // namespace

BOOST_AUTO_TEST_CASE(without_fcntl)
{
	with_refused({SYS_fcntl}, all_of_it);
}

BOOST_AUTO_TEST_CASE(without_rt_sigtimedwait)
{
	with_refused({SYS_rt_sigtimedwait}, all_of_it);
}

BOOST_AUTO_TEST_CASE(without_ppoll)
{
	with_refused({SYS_ppoll}, all_of_it);
}

BOOST_AUTO_TEST_CASE(without_epoll_pwait)
{
	with_refused({SYS_epoll_pwait}, all_of_it);
}
