// SPDX-License-Identifier: MIT
//
// What the contract tests share: descriptors that close themselves, requests that
// stay valid, streams and files of every kind, and waiting with a limit that only
// catches hangs; threads and processes are in processes.hpp.
//
// Nothing here knows which library or which engine carries the requests out.
// A program includes this file once, after defining BOOST_TEST_MODULE.
#ifndef CONTRACT_SUPPORT_HPP
#define CONTRACT_SUPPORT_HPP

#include <boost/test/unit_test.hpp>

#include <aio.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

/// Marks a case where glibc is known to be wrong; --run_test='!@better_than_glibc' leaves what
/// glibc passes too.
#define BETTER_THAN_GLIBC *boost::unit_test::label("better_than_glibc")

namespace contract {

// ---------------------------------------------------------------- time limits

#ifdef __SANITIZE_THREAD__
inline constexpr bool thread_sanitizer = true;
#else
inline constexpr bool thread_sanitizer = false;
#endif
#ifdef __SANITIZE_ADDRESS__
inline constexpr bool address_sanitizer = true;
#else
inline constexpr bool address_sanitizer = false;
#endif
/// In a clean-up handler: what cancellation has left behind on the stack. AddressSanitizer has its
/// marks there yet, and finds them when the thread goes on with its end.
[[gnu::noinline]] inline void forget_frames_that_were_left()
{
#ifdef __SANITIZE_ADDRESS__
	constexpr size_t deep = 32768;
	char *const here = static_cast<char *>(__builtin_frame_address(0));
	__asan_unpoison_memory_region(here - deep, deep);
#endif
}
inline constexpr unsigned slowness = thread_sanitizer || address_sanitizer ? 4 : 1;

#ifndef CONTRACT_HANG_SECONDS
#define CONTRACT_HANG_SECONDS 60
#endif
inline constexpr std::chrono::seconds hang_limit{CONTRACT_HANG_SECONDS * slowness};
inline constexpr unsigned case_limit = 150 * slowness; // seconds one test case may take

/// Processor time of the process's other threads, and of the kernel's that work for it.
inline std::chrono::nanoseconds work_of_others()
{
	std::chrono::nanoseconds time[2];
	for (clockid_t clock : {CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID}) {
		timespec t{};
		clock_gettime(clock, &t);
		time[clock == CLOCK_THREAD_CPUTIME_ID] =
			std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
	}
	return time[0] - time[1];
}

/// True as soon as `condition` holds; false only when something hangs. Others that are at work do
/// not hang: gigabytes take their time where many share the processors. The limit of the case
/// stays.
template <class Condition> bool eventually(Condition condition)
{
	auto end = std::chrono::steady_clock::now() + hang_limit;
	auto work = work_of_others();
	for (unsigned spins = 0; !condition(); ++spins) {
		if (std::chrono::steady_clock::now() > end) {
			const auto before = std::exchange(work, work_of_others());
			if (work - before < hang_limit / 20)
				return false;
			end += hang_limit;
		}
		if (spins < 50)
			sched_yield();
		else
			usleep(200);
	}
	return true;
}

/// Ends the program, naming the test case, when a case hangs.
class Watchdog : public boost::unit_test::test_observer {
public:
	void test_unit_start(const boost::unit_test::test_unit &unit) override
	{
		if (unit.p_type != boost::unit_test::TUT_CASE)
			return;
		snprintf(name_, sizeof name_, "hang in %s\n", unit.p_name.get().c_str());
		signal(SIGALRM, bark);
		alarm(case_limit * slowness_of_machine());
	}
	void test_unit_finish(const boost::unit_test::test_unit &, unsigned long) override
	{
		alarm(0);
	}

private:
	/// A guest whose kernel checks all it does is slower by a factor, which it tells.
	static unsigned slowness_of_machine()
	{
		const char *const text = getenv("SIGEVEC_TEST_SLOWNESS");
		return text != nullptr && atoi(text) > 0 ? unsigned(atoi(text)) : 1;
	}
	static void bark(int)
	{
		if (write(STDERR_FILENO, name_, strlen(name_)) < 0)
			_exit(3);
		_exit(2);
	}
	static inline char name_[256];
};

struct InstallWatchdog {
	InstallWatchdog()
	{
		boost::unit_test::framework::register_observer(watchdog_);
		signal(SIGPIPE, SIG_IGN); // a failed check must not end the program; r06 looks at
					  // SIGPIPE itself
	}
	~InstallWatchdog() { boost::unit_test::framework::deregister_observer(watchdog_); }
	static inline Watchdog watchdog_;
};
BOOST_TEST_GLOBAL_FIXTURE(InstallWatchdog);

/// The machine lacks what the whole program needs.
[[noreturn]] inline void skip_program(const char *reason)
{
	printf("skipped: %s\n", reason);
	fflush(stdout);
	_exit(77);
}

// ---------------------------------------------------------------- descriptors

class Fd {
public:
	Fd() = default;
	explicit Fd(int fd) : fd_(fd) {}
	Fd(Fd &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
	Fd &operator=(Fd &&other) noexcept
	{
		if (this != &other)
			reset(std::exchange(other.fd_, -1));
		return *this;
	}
	~Fd() { reset(); }

	operator int() const { return fd_; }
	int release() { return std::exchange(fd_, -1); }
	void reset(int fd = -1)
	{
		if (fd_ >= 0)
			close(fd_);
		fd_ = fd;
	}

private:
	int fd_ = -1;
};

// --------------------------------------------------------------------- checks

/// What several threads call may not use Boost's checks, which write down where each of them was
/// although it holds, and are for one thread at a time. This one touches nothing of theirs then.
#define REQUIRE_ON_ANY_THREAD(condition)                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			BOOST_FAIL(#condition << ", errno " << errno);                             \
	} while (0)

// ------------------------------------------------------------------- requests

/// How a request ended: what aio_error and aio_return say.
struct Outcome {
	int error;
	ssize_t result;
	bool operator==(const Outcome &) const = default;
};
inline Outcome ok(ssize_t result)
{
	return {0, result};
}
inline Outcome failed(int error)
{
	return {error, -1};
}
inline std::ostream &operator<<(std::ostream &out, const Outcome &o)
{
	const char *name = strerrorname_np(o.error);
	return out << "{"
		   << (o.error == 0 ? "success"
		       : name       ? name
				    : "unknown error")
		   << ", " << o.result << "}";
}

struct FreeMemory {
	void operator()(char *p) const { free(p); }
};

/// An aiocb with a buffer. Page aligned when it is large enough for O_DIRECT.
struct Request {
	aiocb cb;
	std::unique_ptr<char, FreeMemory> memory;
	size_t size = 0;

	Request(int fd, size_t bytes, off_t offset) : size(bytes)
	{
		const size_t room = bytes + (bytes == 0);
		memory.reset(static_cast<char *>(
			bytes >= 512 ? aligned_alloc(4096, (room + 4095) / 4096 * 4096)
				     : malloc(room)));
		memset(memory.get(), '?', room);
		memset(&cb, 0, sizeof cb);
		cb.aio_fildes = fd;
		cb.aio_buf = memory.get();
		cb.aio_nbytes = bytes;
		cb.aio_offset = offset;
		cb.aio_sigevent.sigev_notify = SIGEV_NONE;
	}
	char *data() { return memory.get(); }
	std::string text() { return {data(), size}; }
	int error() const { return aio_error(&cb); }
	bool pending() const { return error() == EINPROGRESS; }
};

/// Requests live until the program ends, so that a failed check never leaves
/// the library with a pointer into a dead stack frame.
inline Request &keep(int fd, size_t bytes, off_t offset = 0)
{
	static std::mutex lock;
	static auto &kept = *new std::list<Request>;
	std::lock_guard guard(lock);
	return kept.emplace_back(fd, bytes, offset);
}
inline Request &reading(int fd, size_t bytes, off_t offset = 0)
{
	return keep(fd, bytes, offset);
}
inline Request &writing(int fd, std::string_view data, off_t offset = 0)
{
	Request &request = keep(fd, data.size(), offset);
	memcpy(request.data(), data.data(), data.size());
	return request;
}
inline Request &start_read(int fd, size_t bytes, off_t offset = 0)
{
	Request &request = reading(fd, bytes, offset);
	REQUIRE_ON_ANY_THREAD(aio_read(&request.cb) == 0);
	return request;
}
inline Request &start_write(int fd, std::string_view data, off_t offset = 0)
{
	Request &request = writing(fd, data, offset);
	REQUIRE_ON_ANY_THREAD(aio_write(&request.cb) == 0);
	return request;
}

/// Waits by asking aio_error only; {EINPROGRESS, -2} says that it hung.
inline Outcome finish(aiocb &cb)
{
	if (!eventually([&] { return aio_error(&cb) != EINPROGRESS; }))
		return {EINPROGRESS, -2};
	const int error = aio_error(&cb);
	return {error, aio_return(&cb)};
}
inline Outcome finish(Request &request)
{
	return finish(request.cb);
}

/// For errors that may be reported by the call or by the request.
inline Outcome finish_or_refused(int submitted, aiocb &cb)
{
	return submitted == 0 ? finish(cb) : failed(errno);
}

// -------------------------------------------------------------------- streams

/// What is written to `writer` comes out at `reader`. Duplex: also the other way.
struct Stream {
	const char *name;
	Fd reader, writer;
	bool duplex;
};

inline void make_raw(int tty)
{
	termios attributes{};
	REQUIRE_ON_ANY_THREAD(tcgetattr(tty, &attributes) == 0);
	cfmakeraw(&attributes);
	REQUIRE_ON_ANY_THREAD(tcsetattr(tty, TCSANOW, &attributes) == 0);
}
inline Stream pipe_stream()
{
	int ends[2];
	REQUIRE_ON_ANY_THREAD(pipe2(ends, O_CLOEXEC) == 0);
	return {"pipe", Fd(ends[0]), Fd(ends[1]), false};
}
/// Process numbers come again, and children leave their files behind: the time does not.
inline std::string temp_name(const std::string &directory)
{
	static std::atomic<unsigned> count;
	timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return directory + "/contract-" + std::to_string(getpid()) + "-" + std::to_string(count++) +
	       "-" + std::to_string(now.tv_sec) + "." + std::to_string(now.tv_nsec);
}
inline Stream fifo_stream()
{
	std::string const path = temp_name("/tmp");
	REQUIRE_ON_ANY_THREAD(mkfifo(path.c_str(), 0600) == 0);
	Fd reader(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
	Fd writer(open(path.c_str(), O_WRONLY | O_CLOEXEC));
	unlink(path.c_str());
	REQUIRE_ON_ANY_THREAD((reader >= 0 && writer >= 0 && fcntl(reader, F_SETFL, 0) == 0));
	return {"fifo", std::move(reader), std::move(writer), false};
}
inline Stream pty_stream()
{
	int master, slave;
	REQUIRE_ON_ANY_THREAD(openpty(&master, &slave, nullptr, nullptr, nullptr) == 0);
	make_raw(slave);
	return {"pty", Fd(slave), Fd(master), true};
}
inline Stream unix_stream(int type = SOCK_STREAM)
{
	int ends[2];
	REQUIRE_ON_ANY_THREAD(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) == 0);
	return {"unix socket", Fd(ends[0]), Fd(ends[1]), true};
}
/// A TCP socket listens on some free port, which is returned.
inline sockaddr_in listen_on_loopback(int fd, int backlog = 1)
{
	sockaddr_in address{};
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	socklen_t length = sizeof address;
	auto *const where = reinterpret_cast<sockaddr *>(&address);
	REQUIRE_ON_ANY_THREAD((bind(fd, where, length) == 0 && listen(fd, backlog) == 0));
	REQUIRE_ON_ANY_THREAD(getsockname(fd, where, &length) == 0);
	return address;
}
inline Stream tcp_stream()
{
	Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	Fd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	for (int fd : {int(listener), int(client)})
		for (int option : {SO_SNDBUF, SO_RCVBUF}) { // a size that the kernel will not adapt
			const int bytes = 65536;
			setsockopt(fd, SOL_SOCKET, option, &bytes, sizeof bytes);
		}
	sockaddr_in address = listen_on_loopback(listener);
	auto *const where = reinterpret_cast<sockaddr *>(&address);
	REQUIRE_ON_ANY_THREAD(connect(client, where, sizeof address) == 0);
	Fd server(accept(listener, nullptr, nullptr));
	REQUIRE_ON_ANY_THREAD(server >= 0);
	return {"tcp socket", std::move(server), std::move(client), true};
}

using StreamMaker = Stream (*)();
inline Stream unix_stream_default()
{
	return unix_stream();
}
inline constexpr std::array<StreamMaker, 5> stream_kinds{pipe_stream, fifo_stream, pty_stream,
							 unix_stream_default, tcp_stream};

/// Runs `body` with a fresh stream of every kind.
template <class Body> void for_each_stream(Body body)
{
	for (StreamMaker make : stream_kinds) {
		Stream stream = make();
		BOOST_TEST_CONTEXT("stream: " << stream.name)
		{
			body(stream);
		}
	}
}
template <class Body> void for_each_duplex_stream(Body body)
{
	for_each_stream([&](Stream &stream) {
		if (stream.duplex)
			body(stream);
	});
}

inline void set_nonblocking(int fd, bool on = true)
{
	const int flags = fcntl(fd, F_GETFL);
	REQUIRE_ON_ANY_THREAD(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) ==
			      0);
}
inline void put(int fd, std::string_view data)
{
	while (!data.empty()) {
		const ssize_t n = write(fd, data.data(), data.size());
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			BOOST_FAIL("write returns " << n << ", errno " << errno);
		data.remove_prefix(static_cast<size_t>(n));
	}
}
/// Reads exactly `bytes` unless the stream ends or nothing comes for the hang limit.
inline std::string take(int fd, size_t bytes)
{
	std::string got;
	std::vector<char> piece(65536);
	while (got.size() < bytes) {
		pollfd ready{fd, POLLIN, 0};
		if (poll(&ready, 1, 1000 * int(hang_limit.count())) <= 0)
			break;
		const ssize_t n =
			read(fd, piece.data(), std::min(piece.size(), bytes - got.size()));
		if (n <= 0)
			break;
		got.append(piece.data(), static_cast<size_t>(n));
	}
	return got;
}
/// Bytes that TCP has sent and that the peer has not said to have: when it does, there is room
/// again.
inline bool unacknowledged(int fd)
{
	tcp_info info{};
	socklen_t size = sizeof info;
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_unacked != 0;
}
inline bool is_tcp(int fd)
{
	int protocol = 0;
	socklen_t size = sizeof protocol;
	return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 &&
	       protocol == IPPROTO_TCP;
}
/// Writes 'f' until not one byte more fits; returns how many did. The file's flags stay.
inline size_t fill_up(int fd)
{
	const int flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	const bool tcp = is_tcp(fd), tty = isatty(fd) != 0;
	std::vector<char> block(4096, 'f');
	size_t total = 0;
	// Others carry on what was written.
	const int looks = tcp ? 2 : tty ? 4 : 1;
	for (int left = looks; left > 0;) {
		const size_t before = total;
		for (size_t piece : {block.size(), size_t{1}})
			for (ssize_t n; (n = write(fd, block.data(), piece)) > 0;)
				total += static_cast<size_t>(n);
		left = looks > 1 && total != before ? looks : left - 1;
		if (tcp)
			eventually([&] { return !unacknowledged(fd); });
		else if (tty)
			usleep(500);
	}
	fcntl(fd, F_SETFL, flags);
	return total;
}
/// The same; TCP's buffer grows no more.
inline size_t fill(int fd)
{
	const int room = 65536;
	if (is_tcp(fd))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
	return fill_up(fd);
}
inline bool has_data(int fd)
{
	pollfd ready{fd, POLLIN, 0};
	return poll(&ready, 1, 0) > 0 && (ready.revents & POLLIN) != 0;
}
/// Bytes that differ from place to place, so that a misplaced piece shows.
inline std::string pattern(size_t bytes, unsigned seed = 1)
{
	std::string text(bytes, '\0');
	for (char &c : text) {
		seed = seed * 1103515245u + 12345u;
		c = static_cast<char>('a' + (seed >> 16) % 26);
	}
	return text;
}

// ---------------------------------------------------------------------- files

inline std::string disk_directory()
{
	return access(".", W_OK) == 0 ? "." : "/var/tmp";
}

struct File {
	std::string path;
	Fd fd;
	File(const std::string &directory, int flags) : path(temp_name(directory))
	{
		fd.reset(open(path.c_str(), O_CREAT | O_EXCL | O_CLOEXEC | flags, 0600));
	}
	File(File &&) = default;
	~File()
	{
		if (!path.empty())
			unlink(path.c_str());
	}
	/// Looks through a descriptor of its own.
	std::string content(size_t bytes = SIZE_MAX, off_t offset = 0) const
	{
		Fd in(open(path.c_str(), O_RDONLY | O_CLOEXEC));
		struct stat status {};
		if (fstat(in, &status) != 0 || status.st_size <= offset)
			return {};
		std::string text(std::min(bytes, static_cast<size_t>(status.st_size - offset)),
				 '\0');
		size_t got = 0;
		for (ssize_t n; got < text.size() && (n = pread(in, &text[got], text.size() - got,
								offset + off_t(got))) > 0;)
			got += static_cast<size_t>(n);
		text.resize(got);
		return text;
	}
};

struct FileKind {
	const char *name;
	std::string directory;
	int flags;
};
inline File make_file(const FileKind &kind, int extra = 0)
{
	File file(kind.directory, O_RDWR | kind.flags | extra);
	BOOST_TEST_REQUIRE(file.fd >= 0);
	return file;
}
inline File disk_file(int flags = 0)
{
	return make_file({"disk", disk_directory(), flags});
}
inline File tmpfs_file(int flags = 0)
{
	return make_file({"tmpfs", "/dev/shm", flags});
}

/// The kinds this machine's file systems take. Transfers of whole, aligned pages suit all of them.
inline std::vector<FileKind> file_kinds()
{
	const std::vector<FileKind> wanted{
		{"disk", disk_directory(), 0},
		{"disk, O_DIRECT", disk_directory(), O_DIRECT},
		{"disk, O_SYNC", disk_directory(), O_SYNC},
		{"disk, O_DIRECT|O_DSYNC", disk_directory(), O_DIRECT | O_DSYNC},
		{"tmpfs", "/dev/shm", 0},
		{"tmpfs, O_SYNC", "/dev/shm", O_SYNC},
	};
	std::vector<FileKind> kinds;
	for (const FileKind &kind : wanted)
		if (File probe(kind.directory, O_RDWR | kind.flags); probe.fd >= 0)
			kinds.push_back(kind);
	return kinds;
}
template <class Body> void for_each_file_kind(Body body)
{
	for (const FileKind &kind : file_kinds())
		BOOST_TEST_CONTEXT("file: " << kind.name)
		{
			body(kind);
		}
}

} // namespace contract

#include "processes.hpp"

using namespace contract;

#endif
