// SPDX-License-Identifier: MIT
//
// <sigevec.hpp>: coroutines on an event channel. Requests bring their results, run ends when
// nothing is left to wait for, and a request allocates nothing.
#define BOOST_TEST_MODULE hpp
#include "support.hpp"

#include <sigevec.hpp>

#include <arpa/inet.h>
#include <cstddef>
#include <new>
#include <stdexcept>
#include <vector>

using namespace std::literals;
using sigevec::channel, sigevec::detached, sigevec::result, sigevec::spawn, sigevec::task;

namespace {
std::atomic<size_t> allocations;
}

// Not inlined: gcc would see malloc on one side and operator new on the other, and warn.
[[gnu::noinline]] void *operator new(size_t size)
{
	allocations++;
	if (void *memory = malloc(size))
		return memory;
	throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void *memory) noexcept
{
	free(memory);
}
[[gnu::noinline]] void operator delete(void *memory, size_t) noexcept
{
	free(memory);
}

namespace {

/// Runs until the condition holds; false when it hangs.
template <class Condition> bool run_until(channel &ch, Condition condition)
{
	const auto end = std::chrono::steady_clock::now() + hang_limit;
	while (!condition()) {
		if (std::chrono::steady_clock::now() > end)
			return false;
		ch.run_once(100ms);
	}
	return true;
}

detached echo(channel &ch, int fd)
{
	char buffer[64];
	for (;;) {
		const result got = co_await ch.recv(fd, buffer);
		if (got.size() == 0 || !co_await ch.send(fd, buffer, got.size()))
			break;
	}
}

/// Sends `count` messages, each after the answer to the one before.
task<unsigned> talk(channel &ch, int fd, unsigned count)
{
	char answer[64];
	for (unsigned i = 0; i < count; i++) {
		if (const result sent = co_await ch.send(fd, "hello"sv); sent.value != 5)
			co_return i;
		const result got = co_await ch.recv(fd, answer);
		if (std::string_view(answer, got.size()) != "hello")
			co_return i;
	}
	co_return count;
}

/// Talks with an echo at the other end, and closes.
detached converse(channel &ch, int fd, unsigned count, std::atomic<unsigned> &done)
{
	done += co_await talk(ch, fd, count);
	shutdown(fd, SHUT_RDWR);
}

task<> store(channel &ch, int fd, result &outcome)
{
	outcome = co_await ch.poll(fd, POLLIN);
}

} // namespace

BOOST_AUTO_TEST_CASE(messages_there_and_back)
{
	for_each_duplex_stream([](Stream &s) {
		if (s.name == "pty"sv)
			return; // no socket
		channel ch;
		std::atomic<unsigned> done = 0;
		echo(ch, s.reader);
		converse(ch, s.writer, 100, done);
		BOOST_TEST(bool(ch.run()));
		BOOST_TEST(done == 100u);
		BOOST_TEST(ch.outstanding() == 0u);
	});
}

BOOST_AUTO_TEST_CASE(accept_and_connect)
{
	Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
		client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	sockaddr_in address = listen_on_loopback(listener);
	auto *const where = reinterpret_cast<sockaddr *>(&address);

	channel ch;
	std::atomic<unsigned> done = 0;
	auto serve = [](channel &on, int fd) -> detached {
		result const accepted = co_await on.accept(fd);
		if (accepted)
			echo(on, static_cast<int>(*accepted));
	};
	auto call = [&](channel &on, int fd) -> detached {
		result const connected = co_await on.connect(fd, where, sizeof address);
		if (connected.value == 0)
			converse(on, fd, 3, done);
	};
	serve(ch, listener);
	call(ch, client);
	BOOST_TEST(bool(ch.run()));
	BOOST_TEST(done == 3u);
}

BOOST_AUTO_TEST_CASE(messages_in_pieces)
{
	Stream s = unix_stream(SOCK_SEQPACKET);
	channel ch;
	char to[] = "one two", from[16] = "";
	iovec out[] = {{to, 4}, {to + 4, 3}}, in[] = {{from, 2}, {from + 2, 10}};
	msghdr sent{}, got{};
	sent.msg_iov = out, sent.msg_iovlen = 2, got.msg_iov = in, got.msg_iovlen = 2;
	result a, b;
	[](channel &on, Stream &on_stream, msghdr &m1, msghdr &m2, result &r1,
	   result &r2) -> detached {
		r1 = co_await on.sendmsg(on_stream.writer, &m1);
		r2 = co_await on.recvmsg(on_stream.reader, &m2);
	}(ch, s, sent, got, a, b);
	ch.run();
	BOOST_TEST(a.value == 7);
	BOOST_TEST(b.value == 7);
	BOOST_TEST(std::string(from) == "one two");
}

BOOST_AUTO_TEST_CASE(files)
{
	File file = disk_file();
	channel ch;
	std::array<char, 8> back{};
	result write, sync, read;
	[](channel &on, int fd, auto &to, result &r1, result &r2, result &r3) -> detached {
		r1 = co_await on.write(fd, "content", 7, 100);
		r2 = co_await on.fsync(fd);
		r3 = co_await on.read(fd, to.data(), to.size(), 100);
	}(ch, file.fd, back, write, sync, read);
	BOOST_TEST(bool(ch.run()));
	BOOST_TEST(write.value == 7);
	BOOST_TEST((sync.value == 0 && sync.error == 0));
	BOOST_TEST(read.value == 7);
	BOOST_TEST(std::string(back.data()) == "content");
}

BOOST_AUTO_TEST_CASE(errors_are_results)
{
	channel ch;
	char buffer[8];
	result closed, bad_offset, full;
	[](channel &on, char *to, result &r1, result &r2) -> detached {
		r1 = co_await on.recv(-1, to, 8);
		r2 = co_await on.read(0, to, 8, -1);
	}(ch, buffer, closed, bad_offset);
	ch.run();
	BOOST_TEST((!closed && closed.value == -1 && closed.error == EBADF));
	BOOST_TEST((!bad_offset && bad_offset.value == -1 && bad_offset.error == EINVAL));

	Stream s = unix_stream();
	result first;
	ec_set_limit(ch.get(), 1);
	spawn(store(ch, s.reader, first));
	spawn(store(ch, s.reader, full));
	BOOST_TEST((!full && full.error == EAGAIN));
	BOOST_TEST(ch.outstanding() == 1u);
	put(s.writer, "x");
	ch.run();
	BOOST_TEST((first.value & POLLIN) != 0);
}

BOOST_AUTO_TEST_CASE(cancelled_requests_end)
{
	Stream s = unix_stream();
	channel ch;
	char byte;
	auto receive = ch.recv(s.reader, &byte, 1);
	result outcome;
	bool ended = false;
	[](auto &on, result &r, bool &e) -> detached {
		r = co_await on;
		e = true;
	}(receive, outcome, ended);
	ch.run_once(0ns);
	BOOST_TEST(!ended);
	BOOST_TEST(receive.cancel() == 0);
	BOOST_TEST(bool(ch.run()));
	BOOST_TEST((ended && outcome.error == ECANCELED));
	BOOST_TEST(receive.cancel() == ENOENT);
}

BOOST_AUTO_TEST_CASE(tasks_give_values_and_exceptions)
{
	struct Uncopied {
		explicit Uncopied(int v) : value(v) {}
		Uncopied(Uncopied &&) = default;
		int value;
	};
	Stream s = unix_stream();
	channel ch;
	put(s.writer, "x");
	auto inner = [](channel &on, int fd, int value) -> task<Uncopied> {
		co_await on.poll(fd, POLLIN);
		if (value < 0)
			throw std::runtime_error("below 0");
		co_return Uncopied(value);
	};
	int sum = 0;
	std::string thrown;
	auto outer = [&](channel &on, int fd) -> task<> {
		for (int i = 0; i < 10; i++)
			sum += (co_await inner(on, fd, i)).value;
		try {
			co_await inner(on, fd, -1);
		} catch (std::runtime_error const &error) {
			thrown = error.what();
		}
	};
	{
		auto never = outer(ch, s.reader);
	} // not awaited: does not run, and leaves nothing
	BOOST_TEST(ch.outstanding() == 0u);
	spawn(outer(ch, s.reader));
	ch.run();
	BOOST_TEST(sum == 45);
	BOOST_TEST(thrown == "below 0");
}

BOOST_AUTO_TEST_CASE(another_thread_hands_work_over)
{
	channel ch;
	std::atomic<bool> scheduled = false;
	std::thread::id ran;
	auto work = [&]() -> detached {
		co_await ch.schedule();
		ran = std::this_thread::get_id();
		scheduled = true;
	};
	std::thread other([&] { work(); });
	BOOST_TEST(run_until(ch, [&] { return scheduled.load(); }));
	other.join();
	BOOST_TEST((ran == std::this_thread::get_id()));
}

BOOST_AUTO_TEST_CASE(run_returns)
{
	Stream s = unix_stream();
	channel ch;
	result outcome;
	BOOST_TEST(bool(ch.run())); // nothing to wait for
	BOOST_TEST(ch.run_once(0ns).value == 0);
	BOOST_TEST(ch.run_once(5ms).value == 0);

	spawn(store(ch, s.reader, outcome));
	std::atomic<bool> running = false;
	[](channel &on, std::atomic<bool> &r) -> detached {
		co_await on.schedule();
		r = true;
	}(ch, running);
	std::thread stopper([&] {
		eventually([&] { return running.load(); });
		ch.stop();
	});
	BOOST_TEST(bool(ch.run()));
	stopper.join();
	BOOST_TEST(ch.outstanding() == 1u);
	put(s.writer, "x");
	BOOST_TEST(bool(ch.run()));
	BOOST_TEST(outcome.value == POLLIN);
}

BOOST_AUTO_TEST_CASE(a_programs_own_events)
{
	channel ch;
	int mine = 0;
	event_data_t event;
	BOOST_TEST_REQUIRE(ec_post(ch.get(), 7, 0, nullptr) == 0);
	BOOST_TEST_REQUIRE(ec_next_event(ch.get(), &event) == 0);
	BOOST_TEST(!ch.dispatch(event));
	mine = static_cast<int>(event.ev_result);
	BOOST_TEST(mine == 7);
}

BOOST_AUTO_TEST_CASE(a_channel_is_owned)
{
	channel bad(0x40000000u);
	BOOST_TEST((!bad && bad.error() == EINVAL && bad.get() == -1));
	channel ch;
	const int number = ch.get();
	BOOST_TEST_REQUIRE(bool(ch));
	channel moved(std::move(ch));
	BOOST_TEST((!ch && moved.get() == number));
	ch = std::move(moved);
	BOOST_TEST((!moved && ch.get() == number));
	ch = channel();
	BOOST_TEST((ch && fcntl(ch.get(), F_GETFD) == FD_CLOEXEC));
	{
		channel gone = std::move(ch);
	}
	BOOST_TEST((ec_to_fd(number) == -1 && errno == EBADF));
}

BOOST_AUTO_TEST_CASE(a_request_allocates_nothing)
{
	Stream s = unix_stream();
	File file = disk_file();
	channel ch;
	std::atomic<unsigned> done = 0;
	size_t before = 0, after = 0;
	bool at_end = false;
	echo(ch, s.reader);
	auto measured = [&]() -> detached {
		char data[64] = "data";
		size_t const start = allocations;
		for (unsigned i = 0; i < 500; i++) {
			result const sent = co_await ch.send(s.writer, "hello"sv),
				     got = co_await ch.recv(s.writer, data);
			result const wrote = co_await ch.write(file.fd, data, 5, 0),
				     read = co_await ch.read(file.fd, data, 5, 0);
			result const ready = co_await ch.poll(s.writer, POLLOUT),
				     again = co_await ch.schedule();
			done += sent.value == 5 && got.value == 5 && wrote.value == 5 &&
				read.value == 5 && ready && again;
		}
		after = allocations;
		before = start;
		at_end = true;
		shutdown(s.writer, SHUT_RDWR);
	};
	measured();
	BOOST_TEST(bool(ch.run()));
	BOOST_TEST(at_end);
	BOOST_TEST(done == 500u);
	BOOST_TEST(after - before == 0u);
}

BOOST_AUTO_TEST_CASE(several_threads_run_one_channel)
{
	constexpr unsigned pairs = 20, messages = 50;
	channel ch(EC_CLOEXEC);
	std::vector<Stream> streams;
	std::atomic<unsigned> done = 0;
	for (unsigned i = 0; i < pairs; i++)
		streams.push_back(unix_stream());
	for (Stream &s : streams) {
		echo(ch, s.reader);
		converse(ch, s.writer, messages, done);
	}
	std::atomic<bool> hung = false;
	auto run = [&] {
		if (!run_until(ch, [&] { return ch.outstanding() == 0; }))
			hung = true;
	};
	std::vector<std::thread> threads;
	for (unsigned i = 0; i < 3; i++)
		threads.emplace_back(run);
	run();
	for (std::thread &thread : threads)
		thread.join();
	BOOST_TEST(!hung);
	BOOST_TEST(done == pairs * messages);
}
