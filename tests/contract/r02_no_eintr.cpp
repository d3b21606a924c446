// SPDX-License-Identifier: MIT
//
// Rule 2: the library causes no spurious EINTR in the application's own system calls.
//
// A thread submits reads and then blocks in a system call of its own. Each request
// is completed only while that thread is seen (in /proc) to sit in that call, so an
// interruption on behalf of the request cannot be missed. No signal is ever sent.
#define BOOST_TEST_MODULE r02_no_eintr
#include "support.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

namespace {

constexpr int requests = 40;

/// One blocking call of the application's, which `wake` ends; libc may use `other` for it.
struct Blocking {
	long number;
	std::function<int()> call;
	std::function<void()> wake;
	long other = -1;
};

struct Submitter {
	std::atomic<pid_t> thread{0};
	std::atomic<int> interruptions{0};
	std::atomic<int> unexpected{0};
};

void submit_then_block(const Blocking &blocking, const std::vector<Request *> &reads,
		       Submitter &self)
{
	for (Request *request : reads)
		if (aio_read(&request->cb) != 0)
			++self.unexpected;
	self.thread = thread_id();
	for (;;) {
		const int result = blocking.call();
		if (result >= 0)
			return;
		if (errno == EINTR)
			++self.interruptions;
		else
			return void(++self.unexpected);
	}
}

/// Completes reads on every kind of stream while the submitting thread is blocked.
int count_interruptions(const Blocking &blocking)
{
	std::vector<Stream> streams;
	for (StreamMaker make : stream_kinds)
		streams.push_back(make());
	std::vector<Request *> reads;
	for (int i = 0; i < requests; ++i)
		reads.push_back(&reading(streams[i % streams.size()].reader, 1));
	Submitter submitter;
	std::thread thread([&] { submit_then_block(blocking, reads, submitter); });
	auto blocked = [&] {
		return submitter.thread != 0 &&
		       blocked_in(submitter.thread, blocking.number, blocking.other);
	};
	for (int i = 0; i < requests; ++i) {
		BOOST_TEST(eventually(blocked));
		put(streams[i % streams.size()].writer, "x");
		BOOST_TEST(finish(*reads[i]) == ok(1));
	}
	BOOST_TEST(eventually(blocked));
	blocking.wake();
	thread.join();
	BOOST_TEST(submitter.unexpected == 0);
	return submitter.interruptions;
}

} // namespace

BOOST_AUTO_TEST_CASE(epoll_wait_is_not_interrupted)
{
	Fd epoll(epoll_create1(0)), event(eventfd(0, 0));
	epoll_event interest{EPOLLIN, {}};
	epoll_ctl(epoll, EPOLL_CTL_ADD, event, &interest);
	const Blocking blocking{SYS_epoll_wait,
				[&] {
					epoll_event got;
					return epoll_wait(epoll, &got, 1, -1);
				},
				[&] { eventfd_write(event, 1); }};
	BOOST_TEST(count_interruptions(blocking) == 0);
}

BOOST_AUTO_TEST_CASE(epoll_wait_with_a_timeout_is_not_interrupted)
{
	Fd epoll(epoll_create1(0)), event(eventfd(0, 0));
	epoll_event interest{EPOLLIN, {}};
	epoll_ctl(epoll, EPOLL_CTL_ADD, event, &interest);
	const Blocking blocking{SYS_epoll_wait,
				[&] {
					epoll_event got;
					return epoll_wait(epoll, &got, 1, 3600000);
				},
				[&] { eventfd_write(event, 1); }};
	BOOST_TEST(count_interruptions(blocking) == 0);
}

BOOST_AUTO_TEST_CASE(poll_is_not_interrupted)
{
	Fd event(eventfd(0, 0));
	const Blocking blocking{SYS_poll,
				[&] {
					pollfd interest{event, POLLIN, 0};
					return poll(&interest, 1, 3600000);
				},
				[&] { eventfd_write(event, 1); }};
	BOOST_TEST(count_interruptions(blocking) == 0);
}

BOOST_AUTO_TEST_CASE(a_timed_recv_is_not_interrupted)
{
	Stream s = unix_stream();
	const timeval hour{3600, 0};
	setsockopt(s.reader, SOL_SOCKET, SO_RCVTIMEO, &hour, sizeof hour);
	const Blocking blocking{SYS_recvfrom,
				[&] {
					char c;
					return static_cast<int>(recv(s.reader, &c, 1, 0));
				},
				[&] { put(s.writer, "x"); }};
	BOOST_TEST(count_interruptions(blocking) == 0);
}

BOOST_AUTO_TEST_CASE(a_timed_send_is_not_interrupted)
{
	Stream s = unix_stream();
	const size_t filled = fill(s.writer);
	const timeval hour{3600, 0};
	setsockopt(s.writer, SOL_SOCKET, SO_SNDTIMEO, &hour, sizeof hour);
	const Blocking blocking{SYS_sendto,
				[&] { return static_cast<int>(send(s.writer, "x", 1, 0)); },
				[&] { take(s.reader, filled); }};
	BOOST_TEST(count_interruptions(blocking) == 0);
}

BOOST_AUTO_TEST_CASE(sigtimedwait_is_not_interrupted)
{
	sigset_t wanted, old;
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGRTMIN + 5);
	pthread_sigmask(SIG_BLOCK, &wanted, &old);
	const Blocking blocking{SYS_rt_sigtimedwait,
				[&] {
					timespec const hour{3600, 0};
					return sigtimedwait(&wanted, nullptr, &hour);
				},
				[&] { kill(getpid(), SIGRTMIN + 5); }};
	BOOST_TEST(count_interruptions(blocking) == 0);
	pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

BOOST_AUTO_TEST_CASE(semop_is_not_interrupted)
{
	const int set = semget(IPC_PRIVATE, 1, 0600);
	BOOST_TEST_REQUIRE(set >= 0);
	auto change = [set](short by) {
		sembuf operation{0, by, 0};
		return semop(set, &operation, 1);
	};
	const Blocking blocking{SYS_semtimedop, [&] { return change(-1); }, [&] { change(1); },
				SYS_semop};
	BOOST_TEST(count_interruptions(blocking) == 0);
	semctl(set, 0, IPC_RMID);
}

BOOST_AUTO_TEST_CASE(msgrcv_is_not_interrupted)
{
	const int queue = msgget(IPC_PRIVATE, 0600);
	BOOST_TEST_REQUIRE(queue >= 0);
	struct Message {
		long type;
		char text[8];
	};
	const Blocking blocking{SYS_msgrcv,
				[&] {
					Message message;
					return static_cast<int>(
						msgrcv(queue, &message, sizeof message.text, 0, 0));
				},
				[&] {
					Message const message{1, "wake"};
					msgsnd(queue, &message, sizeof message.text, 0);
				}};
	BOOST_TEST(count_interruptions(blocking) == 0);
	msgctl(queue, IPC_RMID, nullptr);
}

BOOST_AUTO_TEST_CASE(nanosleep_is_not_interrupted)
{
	std::atomic<bool> stop{false};
	const Blocking blocking{SYS_clock_nanosleep,
				[&] {
					while (!stop) {
						timespec const nap{0, 2000000};
						if (nanosleep(&nap, nullptr) < 0)
							return -1;
					}
					return 0;
				},
				[&] { stop = true; }};
	BOOST_TEST(count_interruptions(blocking) == 0);
}

BOOST_AUTO_TEST_CASE(waiting_right_after_file_requests_is_not_interrupted)
{
	Fd epoll(epoll_create1(0)), event(eventfd(0, 0));
	epoll_event interest{EPOLLIN, {}};
	epoll_ctl(epoll, EPOLL_CTL_ADD, event, &interest);
	for_each_file_kind([&](const FileKind &kind) {
		File file = make_file(kind);
		int interruptions = 0;
		for (int i = 0; i < 200; ++i) {
			Request &request = start_write(file.fd, pattern(4096), i * 4096);
			epoll_event got;
			if (epoll_wait(epoll, &got, 1, 1) < 0 && errno == EINTR)
				++interruptions;
			BOOST_TEST(finish(request) == ok(4096));
			timespec const nap{0, 1};
			if (nanosleep(&nap, nullptr) < 0 && errno == EINTR)
				++interruptions;
		}
		BOOST_TEST(interruptions == 0);
	});
}

BOOST_AUTO_TEST_CASE(pause_returns_only_for_a_signal_of_the_applications)
{
	static std::atomic<int> signals;
	signals = 0;
	SignalHandler handler(
		SIGUSR2, +[](int) { ++signals; });
	Stream s = unix_stream();
	Request &request = reading(s.reader, 1);
	std::atomic<pid_t> sleeper{0};
	std::atomic<int> seen_by_pause{-1};
	std::thread thread([&] {
		aio_read(&request.cb);
		sleeper = thread_id();
		pause();
		seen_by_pause = signals.load();
	});
	BOOST_TEST(eventually([&] { return sleeper != 0 && blocked_in(sleeper, SYS_pause); }));
	put(s.writer, "x");
	BOOST_TEST(finish(request) == ok(1));
	BOOST_TEST(
		eventually([&] { return blocked_in(sleeper, SYS_pause) || seen_by_pause >= 0; }));
	pthread_kill(thread.native_handle(), SIGUSR2);
	thread.join();
	BOOST_TEST(seen_by_pause == 1);
}
