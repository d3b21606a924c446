// SPDX-License-Identifier: MIT
//
// Races between two calls, in every order of their steps.
#define BOOST_TEST_MODULE stepped_races
#include "dma.hpp"

#include "stepping.hpp"

#include <csetjmp>
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
		// Once, one after the other, it slept before anything happened; before that
		// round, for warming up, and in the first ones after it the wait may begin when
		// all has happened.
		bool missed = late && (seen || judged == 1);
		seen = judged++ > 1 && (seen || !late);
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

// ---- who leaves by a jump, and who is still inside

namespace {

sigjmp_buf out;
std::atomic<bool> may_jump;

void leave(int)
{
	if (may_jump.exchange(false))
		siglongjmp(out, 1);
}

/// Large enough that it has not ended when somebody comes to wait for it, mostly.
constexpr size_t long_read = 32 << 20;

} // namespace

BOOST_AUTO_TEST_CASE(who_leaves_aio_suspend_by_siglongjmp_leaves_nothing_undone)
{
	static File file = disk_file(O_DIRECT);
	if (file.fd < 0)
		return;
	{
		const Fd writer(open(file.path.c_str(), O_WRONLY));
		put(writer, pattern(long_read));
		BOOST_TEST_REQUIRE(fsync(writer) == 0); // or a thread reads it
	}
	static auto *memory = static_cast<char *>(mmap(nullptr, long_read, PROT_READ | PROT_WRITE,
						       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	memset(memory, 1, long_read);
	signal(SIGUSR1, leave);
	Race race;
	race.prepare = [] { may_jump = false; };
	// The kernel-AIO context is that of who submits.
	race.before = [] {
		sigset_t one;
		sigemptyset(&one);
		sigaddset(&one, SIGUSR1);
		pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
		set_up(cb[0], file.fd, memory, long_read);
		aio_read(&cb[0]);
	};
	race.first = [] {
		if (sigsetjmp(out, 1) == 0) {
			may_jump = true;
			suspend_on(cb[0]);
		}
		may_jump = false;
	};
	race.second = [] {
		syscall(SYS_tgkill, getpid(), stepping::shared().first_thread.load(), SIGUSR1);
	};
	race.judge = []() -> std::string {
		if (suspend_on(cb[0], &until_it_hangs) != 0)
			return "another thread's aio_suspend does not end";
		return aio_return(&cb[0]) == static_cast<ssize_t>(long_read) ? ""
									     : "the read fails";
	};
	in_every_order(race);
	signal(SIGUSR1, SIG_DFL);
}

BOOST_AUTO_TEST_CASE(a_reader_of_a_channel_that_ends_gets_ebadf)
{
	static const Stream s = unix_stream();
	static ec_t ec;
	static unsigned flags;
	static char c;
	static int result, error;
	for (unsigned kind : {unsigned(EC_SINGLE), 0u}) {
		flags = kind;
		Race race;
		race.prepare = [] {};
		race.before = [] {
			ec = ec_create(flags);
			ev_recv(s.reader, &c, 1, 0, ec, &c);
		};
		race.first = [] {
			event_data_t event;
			result = ec_next_event(ec, &event);
			error = errno;
		};
		race.second = [] { ec_destroy(ec); };
		race.judge = []() -> std::string {
			return result == -1 && error == EBADF ? "" : "it gets something else";
		};
		in_every_order(race);
	}
}

namespace {

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t condition = PTHREAD_COND_INITIALIZER;

/// The library knows glibc's, of some versions.
bool condition_variables_known()
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t c = PTHREAD_COND_INITIALIZER;
	const Channel ec;
	pthread_mutex_lock(&m);
	if (ev_pthread_cond_wait(&c, &m, ec, nullptr) != 0)
		return false;
	pthread_cond_signal(&c);
	return next_event(ec).ev_errno == 0;
}

/// What the next event says; -1: there is none.
int next_error(ec_t ec)
{
	event_data_t event;
	if (take_events(ec, &event, 1) != 1)
		return -1;
	if (event.ev_errno == 0)
		pthread_mutex_unlock(&mutex);
	return event.ev_errno;
}

} // namespace

BOOST_AUTO_TEST_CASE(of_two_waits_for_a_condition_one_is_signalled_while_the_other_is_cancelled)
{
	static ec_t ec = -1, other = -1;
	static char a, b;
	if (!condition_variables_known())
		return;
	Race race;
	race.prepare = [] {
		if (ec < 0) { // a channel is its own process's
			ec = ec_create(0);
			other = ec_create(0);
		}
		for (auto [channel, data] : {std::pair{ec, &a}, std::pair{other, &b}}) {
			pthread_mutex_lock(&mutex);
			ev_pthread_cond_wait(&condition, &mutex, channel, data);
		}
	};
	race.first = [] { ev_cancel(other, &b); };
	race.second = [] { pthread_cond_signal(&condition); };
	// A signal that was on its way reaches the other one.
	race.judge = []() -> std::string {
		int end = next_error(other);
		if (end != 0 && end != ECANCELED)
			return "the cancelled wait does not end";
		if (end == 0)
			pthread_cond_signal(&condition);
		if (next_error(ec) != 0)
			return "the signal is lost";
		if (!eventually([] { return pthread_mutex_trylock(&mutex) == 0; }))
			return "somebody has kept the lock";
		pthread_mutex_unlock(&mutex);
		return "";
	};
	in_every_order(race);
}

// ---- room in a region

// A little is given back before the rest: enough to be told of, and too little to receive into.
BOOST_AUTO_TEST_CASE(a_receiver_without_room_is_told_of_the_room_that_comes)
{
	struct Scene {
		Region region{1 << 17}; // the smallest that a ring is lent pieces of

		Channel ec{unsigned(EC_SINGLE)};
		Associated s{unix_stream_kind, region};
		std::vector<std::pair<void *, size_t>> pieces;
	};
	static std::unique_ptr<Scene> scene;
	static bool found;
	Race race;
	race.prepare = [] { found = false; };
	race.before = [] {
		scene = std::make_unique<Scene>();
		Scene &x = *scene;
		ev_recv(x.s, nullptr, 512, AIO_DMA_BUF | EV_MULTISHOT, x.ec, nullptr);
		void *little = x.region.reserve(128);
		for (size_t size = 512; size >= 128; size /= 2)
			for (void *p; sio_reserve(x.region, &p, size) == 0;)
				x.pieces.emplace_back(p, size);
		std::string const text = pattern(512);
		event_data_t event;
		const auto full = x.region.stat().full;
		while (x.region.stat().full == full) {
			send(x.s.s.b, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
			if (take_events(x.ec, &event, 1, at_once) == 1)
				x.pieces.emplace_back(event.ev_un.ev_dma.buf, event.ev_result);
		}
		x.region.release(little, 128);
	};
	race.first = [] {
		event_data_t event;
		found = take_events(scene->ec, &event, 1) == 1;
	};
	race.second = [] { scene->region.release(scene->pieces); };
	race.judge = []() -> std::string {
		scene.reset();
		return found ? "" : "it sleeps on";
	};
	in_every_order(race);
}
