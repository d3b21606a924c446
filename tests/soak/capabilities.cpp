// SPDX-License-Identifier: MIT
//
// What a worker does, a capability at a time. Each checks what comes of it.
#include "soak.hpp"

#include <sigevec/dma.h>
#include <sigevec/ec.h>
#include <sigevec/ev.h>
#include <sigevec/sio.h>

#include <aio.h>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <iterator>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace soak {

namespace {

ssize_t result(struct aiocb *cb)
{
	const struct aiocb *list[] = {cb};
	while (aio_error(cb) == EINPROGRESS)
		aio_suspend(list, 1, nullptr);
	int e = aio_error(cb);
	ssize_t n = aio_return(cb);
	return e != 0 ? -e : n;
}

// EAGAIN: no resources at the moment, and nothing has begun.
template <class F> void submit(F f)
{
	while (f() != 0) {
		REQUIRE(errno == EAGAIN);
		poll(nullptr, 0, 1);
	}
}

struct aiocb request(int fd, void *buf, size_t n, off_t offset = 0)
{
	struct aiocb cb = {};
	cb.aio_fildes = fd;
	cb.aio_buf = buf;
	cb.aio_nbytes = n;
	cb.aio_offset = offset;
	cb.aio_sigevent.sigev_notify = SIGEV_NONE;
	return cb;
}

void put_u64(int fd, uint64_t v)
{
	while (write(fd, &v, sizeof v) < 0)
		REQUIRE(errno == EINTR);
}

// ---- files

void append(Random &random, Log &log)
{
	alignas(4096) static thread_local unsigned char data[8][record_size];
	struct aiocb cb[8], sync;
	unsigned n = 1 + random() % 8;
	for (unsigned i = 0; i < n; i++) {
		make_record(data[i], log.next + i, log.seed);
		cb[i] = request(log.fd, data[i], record_size,
				static_cast<off_t>((log.next + i) * record_size));
		submit([&] { return aio_write(&cb[i]); });
	}
	sync = request(log.fd, nullptr, 0);
	submit([&] { return aio_fsync(O_DSYNC, &sync); });
	REQUIRE(result(&sync) == 0);
	for (unsigned i = 0; i < n; i++)
		REQUIRE(result(&cb[i]) == record_size);
	for (unsigned i = 0; i < n; i++)
		put_u64(log.told, log.next++);
}

void read_back(Random &random, Log &log)
{
	static thread_local unsigned char data[8][record_size];
	unsigned char expected[record_size];
	struct aiocb cb[8], *list[8];
	uint64_t number[8];
	if (log.next == 0)
		return;
	for (unsigned i = 0; i < 8; i++) {
		number[i] = random() % log.next;
		cb[i] = request(log.fd, data[i], record_size,
				static_cast<off_t>(number[i] * record_size));
		cb[i].aio_lio_opcode = LIO_READ;
		list[i] = &cb[i];
	}
	if (lio_listio(LIO_WAIT, list, 8, nullptr) != 0) {
		REQUIRE(errno == EAGAIN || errno == EINTR || errno == EIO);
		for (struct aiocb &c : cb)
			while (aio_error(&c) == EINPROGRESS)
				poll(nullptr, 0, 1);
	}
	for (unsigned i = 0; i < 8; i++) {
		ssize_t got = result(&cb[i]);
		if (got == -EAGAIN)
			continue;
		REQUIRE(got == record_size);
		make_record(expected, number[i], log.seed);
		REQUIRE(memcmp(data[i], expected, record_size) == 0);
	}
}

void full_device(Random &, Log &)
{
	char byte = 'x';
	int fd = open("/dev/full", O_RDWR | O_CLOEXEC);
	REQUIRE(fd >= 0);
	struct aiocb cb = request(fd, &byte, 1);
	submit([&] { return aio_write(&cb); });
	REQUIRE(result(&cb) == -ENOSPC);
	REQUIRE(close(fd) == 0);
}

// ---- streams

void pipes(Random &random, Log &)
{
	int p[2];
	char in[2] = {}, out[2] = {'a', 'b'};
	REQUIRE(pipe2(p, O_CLOEXEC) == 0);
	struct aiocb first = request(p[0], &in[0], 1), second = request(p[0], &in[1], 1);
	submit([&] { return aio_read(&first); });
	submit([&] { return aio_read(&second); });
	bool cancels = random() % 2 == 0;
	if (cancels)
		REQUIRE(aio_cancel(p[0], &second) == AIO_CANCELED);
	struct aiocb put = request(p[1], out, 2);
	submit([&] { return aio_write(&put); });
	REQUIRE(result(&put) == 2);
	REQUIRE(result(&first) == 1 && in[0] == 'a');
	REQUIRE(result(&second) == (cancels ? -ECANCELED : 1));
	REQUIRE(cancels || in[1] == 'b');
	REQUIRE(close(p[0]) == 0 && close(p[1]) == 0);
}

// A number that is closed, and becomes another file's, while a request waits.
void used_again(Random &, Log &)
{
	int p[2];
	char in = 0;
	REQUIRE(pipe2(p, O_CLOEXEC) == 0);
	struct aiocb cb = request(p[0], &in, 1);
	submit([&] { return aio_read(&cb); });
	int number = p[0], kept = fcntl(p[0], F_DUPFD_CLOEXEC, 0);
	REQUIRE(close(p[0]) == 0);
	int other = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	REQUIRE(other == number);
	REQUIRE(write(p[1], "x", 1) == 1);
	REQUIRE(result(&cb) == 1 && in == 'x');
	REQUIRE(close(other) == 0 && close(kept) == 0 && close(p[1]) == 0);
}

void connections(Random &random, Log &)
{
	int s[2];
	char in[64] = {};
	unsigned flags = random() % 2 == 0 ? EC_CLOEXEC : EC_CLOEXEC | EC_SINGLE;
	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0);
	ec_t ec = ec_create(flags);
	REQUIRE(ec_to_fd(ec) >= 0);
	submit([&] { return ev_recv(s[0], in, sizeof in, 0, ec, in); });
	submit([&] { return ev_send(s[1], "hello", 5, 0, ec, nullptr); });
	for (int left = 2; left > 0;) {
		event_data_t d;
		if (ec_next_event(ec, &d) != 0) {
			REQUIRE(errno == EINTR);
			continue;
		}
		REQUIRE(d.ev_result == 5);
		left--;
	}
	REQUIRE(memcmp(in, "hello", 5) == 0);
	// What waits at the end is dropped.
	submit([&] { return ev_recv(s[0], in, sizeof in, 0, ec, in); });
	REQUIRE(ec_destroy(ec) == 0);
	REQUIRE(close(s[0]) == 0 && close(s[1]) == 0);
}

void regions(Random &, Log &)
{
	constexpr size_t size = 256 * 1024;
	int s[2];
	dma_mem_t mem;
	void *got = nullptr;
	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0);
	if (dma_alloc(&mem, size, 0) == 0) {
		REQUIRE(dma_assoc(s[0], mem, size, 0) == 0);
		REQUIRE(write(s[1], "region", 6) == 6);
		int n;
		while ((n = sio_recv(s[0], &got, 64, 0)) < 0)
			REQUIRE(errno == EINTR);
		REQUIRE(n == 6 && memcmp(got, "region", 6) == 0);
		REQUIRE(sio_release(mem, got, 6) == 0);
		REQUIRE(dma_disassoc(s[0], mem, size) == 0);
		REQUIRE(dma_free(mem, size) == 0);
	}
	REQUIRE(close(s[0]) == 0 && close(s[1]) == 0);
}

// ---- notifications

std::atomic<int> called{0};

void functions(Random &, Log &log)
{
	static unsigned char data[4][record_size];
	struct aiocb cb[4];
	called = 0;
	for (int i = 0; i < 4; i++) {
		cb[i] = request(log.fd, data[i], record_size);
		cb[i].aio_sigevent.sigev_notify = SIGEV_THREAD;
		cb[i].aio_sigevent.sigev_notify_function = [](union sigval) { called++; };
		submit([&] { return aio_read(&cb[i]); });
	}
	for (struct aiocb &c : cb)
		REQUIRE(result(&c) >= 0);
	while (called != 4)
		poll(nullptr, 0, 1);
}

void signals(Random &, Log &log)
{
	static unsigned char data[record_size];
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	struct aiocb cb = request(log.fd, data, sizeof data);
	cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	cb.aio_sigevent.sigev_signo = SIGRTMIN;
	cb.aio_sigevent.sigev_value.sival_ptr = data;
	submit([&] { return aio_read(&cb); });
	siginfo_t info;
	while (sigwaitinfo(&set, &info) < 0)
		REQUIRE(errno == EINTR);
	REQUIRE(info.si_value.sival_ptr == data);
	REQUIRE(result(&cb) >= 0);
}

// ---- processes

// Children that call the library, that execute something else, and that end at once.
void children(Random &random, Log &log)
{
	pid_t child[4];
	unsigned n = 1 + random() % 4;
	for (unsigned i = 0; i < n; i++) {
		int what = static_cast<int>(random() % 3);
		child[i] = fork();
		REQUIRE(child[i] >= 0);
		if (child[i] != 0)
			continue;
		if (what == 0)
			_exit(0);
		if (what == 1) {
			execl("/bin/true", "true", nullptr);
			_exit(1);
		}
		unsigned char data[record_size];
		struct aiocb cb = request(log.fd, data, sizeof data);
		submit([&] { return aio_read(&cb); });
		_exit(result(&cb) >= 0 ? 0 : 1);
	}
	for (unsigned i = 0; i < n; i++) {
		int status;
		while (waitpid(child[i], &status, 0) < 0)
			REQUIRE(errno == EINTR);
		REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
}

} // namespace

const Capability capabilities[] = {
	{"append", append},     {"read back", read_back}, {"full device", full_device},
	{"pipes", pipes},       {"numbers", used_again},  {"connections", connections},
	{"regions", regions},   {"functions", functions}, {"signals", signals},
	{"children", children},
};
const unsigned capability_count = std::size(capabilities);

} // namespace soak
