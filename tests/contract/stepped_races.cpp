// SPDX-License-Identifier: MIT
//
// Races between two calls, in every order of their steps.
#define BOOST_TEST_MODULE stepped_races
#include "channel.hpp"

#include "stepping.hpp"

#include <sys/un.h>

using namespace contract;

namespace {

/// A control block that is ready to be submitted.
void set_up(aiocb &cb, int fd, void *buffer, size_t bytes)
{
	memset(&cb, 0, sizeof cb);
	cb.aio_fildes = fd;
	cb.aio_buf = buffer;
	cb.aio_nbytes = bytes;
	cb.aio_sigevent.sigev_notify = SIGEV_NONE;
}

bool ends(const aiocb &cb)
{
	return eventually([&] { return aio_error(&cb) != EINPROGRESS; });
}

aiocb cb[2];
char buffer[2][16];

} // namespace

// Of a process that has not used the library before.
BOOST_AUTO_TEST_CASE(aio_waitcomplete_finds_what_two_threads_end_at_once)
{
	static const File file = disk_file();
	put(file.fd, "0123456789abcdef");
	Race race;
	race.fresh = true;
	race.last = 130;
	race.prepare = [] {
		for (int i = 0; i < 2; ++i)
			set_up(cb[i], file.fd, buffer[i], 16);
		aio_cancel(file.fd, nullptr); // which sets the library up
	};
	race.first = [] { aio_read(&cb[0]); };
	race.second = [] { aio_read(&cb[1]); };
	race.judge = []() -> std::string {
		if (!ends(cb[0]) || !ends(cb[1]))
			return "a read does not end";
		for (int i = 0; i < 2; ++i) {
			aiocb *found = nullptr;
			timespec none = at_once;
			if (aio_waitcomplete(&found, &none) != 16)
				return "a request that has ended is not found";
		}
		return "";
	};
	in_every_order(race);
}

// Once aio_suspend has seen a request wait, the end of that is what it is told of, whatever becomes
// of the control block.
BOOST_AUTO_TEST_CASE(aio_suspend_returns_for_a_request_that_ends_and_is_submitted_again)
{
	static const Stream s = unix_stream();
	static std::atomic<bool> returned, late;
	static bool seen;
	static int judged;
	Race race;
	race.prepare = [] {
		returned = late = false;
		set_up(cb[0], s.reader, buffer[0], 1);
		aio_read(&cb[0]);
	};
	race.first = [] {
		suspend_on(cb[0]);
		returned = true;
	};
	// Who cancels has told whoever waits when aio_cancel returns.
	race.second = [] {
		aio_cancel(s.reader, &cb[0]);
		aio_return(&cb[0]);
		aio_read(&cb[0]);
		pid_t first = stepping::shared().first_thread;
		eventually([=] { return returned || (late = stepping::sleeps(first)); });
		aio_cancel(s.reader, &cb[0]);
	};
	race.judge = []() -> std::string {
		if (!ends(cb[0]))
			return "the second read does not end";
		// The first time it slept before anything happened.
		bool missed = late && (seen || judged == 0);
		seen = judged++ > 0 && (seen || !late);
		return missed ? "aio_suspend sleeps on" : "";
	};
	in_every_order(race);
}

BOOST_AUTO_TEST_CASE(lio_wait_leaves_alone_what_has_ended)
{
	static const Stream first = unix_stream(), second = unix_stream();
	static const long page = sysconf(_SC_PAGESIZE);
	static std::atomic<bool> gone;
	static aiocb *mine;
	static int result;
	mine = static_cast<aiocb *>(mmap(nullptr, static_cast<size_t>(page), PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	Race race;
	race.prepare = [] {
		gone = false;
		mprotect(mine, static_cast<size_t>(page), PROT_READ | PROT_WRITE);
		set_up(*mine, first.reader, buffer[0], 1);
		set_up(cb[1], second.reader, buffer[1], 1);
		mine->aio_lio_opcode = cb[1].aio_lio_opcode = LIO_READ;
		mine->aio_sigevent.sigev_notify = SIGEV_THREAD;
		mine->aio_sigevent.sigev_notify_function = [](sigval) {
			mprotect(mine, static_cast<size_t>(page), PROT_NONE);
			gone = true;
		};
	};
	race.first = [] {
		aiocb *list[] = {mine, &cb[1]};
		result = lio_listio(LIO_WAIT, list, 2, nullptr);
	};
	race.second = [] {
		put(first.writer, "x");
		eventually([] { return gone.load(); });
		put(second.writer, "y");
	};
	race.judge = []() -> std::string {
		return result != 0              ? "lio_listio fails"
		       : aio_error(&cb[1]) != 0 ? "a read fails"
						: "";
	};
	in_every_order(race);
}

BOOST_AUTO_TEST_CASE(aio_cancel_answers_truthfully_while_data_arrives)
{
	static const Stream s = unix_stream();
	static int answer;
	Race race;
	race.prepare = [] {
		set_up(cb[0], s.reader, buffer[0], 1);
		aio_read(&cb[0]);
	};
	race.first = [] { answer = aio_cancel(s.reader, &cb[0]); };
	race.second = [] { put(s.writer, "x"); };
	race.judge = []() -> std::string {
		if (!ends(cb[0]))
			return "the read does not end";
		bool cancelled = aio_error(&cb[0]) == ECANCELED;
		if (cancelled != (answer == AIO_CANCELED))
			return "the answer is not what has happened";
		if (!cancelled)
			return aio_return(&cb[0]) == 1 ? "" : "the read fails";
		char c;
		return recv(s.reader, &c, 1, MSG_DONTWAIT) == 1 ? "" : "the byte is lost";
	};
	in_every_order(race);
}

BOOST_AUTO_TEST_CASE(aio_cancel_of_an_accept_leaves_the_connection_or_gives_it)
{
	static const Fd listener(socket(AF_UNIX, SOCK_STREAM, 0));
	static sockaddr_un address{};
	static int answer, client;
	address.sun_family = AF_UNIX;
	BOOST_TEST_REQUIRE(
		bind(listener, reinterpret_cast<sockaddr *>(&address), sizeof(sa_family_t)) == 0);
	BOOST_TEST_REQUIRE(listen(listener, 8) == 0);
	static socklen_t size = sizeof address;
	getsockname(listener, reinterpret_cast<sockaddr *>(&address), &size);
	Race race;
	race.prepare = [] {
		client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		set_up(cb[0], listener, nullptr, 0);
		aio_accept(&cb[0], 0);
	};
	race.first = [] { answer = aio_cancel(listener, &cb[0]); };
	race.second = [] { connect(client, reinterpret_cast<sockaddr *>(&address), size); };
	race.judge = []() -> std::string {
		if (!ends(cb[0]))
			return "the accept does not end";
		bool cancelled = aio_error(&cb[0]) == ECANCELED;
		set_nonblocking(listener);
		int connection = cancelled ? accept(listener, nullptr, nullptr)
					   : static_cast<int>(aio_return(&cb[0]));
		set_nonblocking(listener, false);
		close(client);
		close(connection);
		if (cancelled != (answer == AIO_CANCELED))
			return "the answer is not what has happened";
		return connection >= 0 ? "" : "the connection is lost";
	};
	in_every_order(race);
}

BOOST_AUTO_TEST_CASE(a_channel_that_ends_during_a_submission_leaves_nothing_behind)
{
	static const Stream s = unix_stream();
	static ec_t ec;
	static char c;
	Race race;
	race.prepare = [] { ec = ec_create(0); };
	race.first = [] { ev_recv(s.reader, &c, 1, 0, ec, &c); };
	race.second = [] { ec_destroy(ec); };
	race.judge = []() -> std::string {
		ec_t next = ec_create(0);
		event_data_t e[4];
		for (int i = 0; i < 3; ++i)
			if (ev_recv(s.reader, &c, 1, 0, next, &c) != 0)
				return "a receive is refused";
		bool cancelled = ev_cancel(next, &c) == 0;
		int events = ec_next_events(next, e, 4, &at_once);
		ec_destroy(next);
		return cancelled && events == 3 ? "" : "not as many ends as receives";
	};
	in_every_order(race);
}
