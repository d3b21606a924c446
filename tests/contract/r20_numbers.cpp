// SPDX-License-Identifier: MIT
//
// Rule 20: a number is not a file. What the library knows of a file under a number
// does no harm to whatever has the number next; the plain system call, made on a
// twin, is the judge of what a request must give.
#define BOOST_TEST_MODULE r20_numbers
#include "support.hpp"

#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

namespace {

/// Something with data in it, and what else must stay open meanwhile.
struct Source {
	const char *name;
	Fd fd, other;
};

Source filled(const char *name, Stream s)
{
	put(s.writer, "hello");
	return {name, std::move(s.reader), std::move(s.writer)};
}
Source datagrams(int domain, int type)
{
	if (domain == AF_UNIX)
		return filled("datagrams", unix_stream(type));
	Fd receiver(socket(domain, type, 0)), sender(socket(domain, type, 0));
	sockaddr_in address{};
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	socklen_t length = sizeof address;
	auto *const where = reinterpret_cast<sockaddr *>(&address);
	BOOST_TEST_REQUIRE(
		(bind(receiver, where, length) == 0 && getsockname(receiver, where, &length) == 0));
	BOOST_TEST_REQUIRE(
		(connect(sender, where, length) == 0 && send(sender, "hello", 5, 0) == 5));
	return {"udp", std::move(receiver), std::move(sender)};
}
Source expired_timer()
{
	Fd fd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	itimerspec soon{};
	soon.it_value.tv_nsec = 1;
	BOOST_TEST_REQUIRE(timerfd_settime(fd, 0, &soon, nullptr) == 0);
	pollfd ready{fd, POLLIN, 0};
	BOOST_TEST_REQUIRE(poll(&ready, 1, -1) == 1);
	return {"timerfd", std::move(fd), Fd()};
}
Source pending_signal()
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMAX - 3);
	pthread_sigmask(SIG_BLOCK, &set, nullptr);
	kill(getpid(),
	     SIGRTMAX -
		     3); // of the process: another thread's own signals are not there for a helper
	return {"signalfd", Fd(signalfd(-1, &set, SFD_CLOEXEC)), Fd()};
}
Source watched_folder()
{
	std::string const folder = temp_name("/tmp");
	mkdir(folder.c_str(), 0700);
	Fd fd(inotify_init1(IN_CLOEXEC));
	BOOST_TEST_REQUIRE(inotify_add_watch(fd, folder.c_str(), IN_DELETE_SELF) >= 0);
	rmdir(folder.c_str());
	return {"inotify", std::move(fd), Fd()};
}

using SourceMaker = Source (*)();
constexpr SourceMaker sources[] = {
	[] { return filled("pipe", pipe_stream()); },
	[] { return filled("fifo", fifo_stream()); },
	[] { return filled("terminal", pty_stream()); },
	[] { return filled("unix socket", unix_stream()); },
	[] { return filled("tcp socket", tcp_stream()); },
	[] { return datagrams(AF_UNIX, SOCK_DGRAM); },
	[] { return datagrams(AF_UNIX, SOCK_SEQPACKET); },
	[] { return datagrams(AF_INET, SOCK_DGRAM); },
	[] {
		return Source{"eventfd", Fd(eventfd(3, EFD_CLOEXEC)), Fd()};
	},
	expired_timer,
	pending_signal,
	watched_folder,
	[] {
		return Source{"/dev/zero", Fd(open("/dev/zero", O_RDONLY | O_CLOEXEC)), Fd()};
	},
	[] {
		return Source{"/dev/null", Fd(open("/dev/null", O_RDONLY | O_CLOEXEC)), Fd()};
	},
	[] {
		return Source{"folder", Fd(open("/", O_RDONLY | O_CLOEXEC)), Fd()};
	},
	[] {
		return Source{"procfs", Fd(open("/proc/version", O_RDONLY | O_CLOEXEC)), Fd()};
	},
	[] {
		return Source{"write-only file",
			      Fd(open("/dev/shm", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600)), Fd()};
	},
};

/// A whole page of a file, read until the library has no reason to look at the number again.
void make_known(const File &file)
{
	for (int i = 0; i < 3; ++i)
		BOOST_TEST(finish(start_read(file.fd, 4096)) == ok(4096));
}
File known_file(const FileKind &kind)
{
	File file = make_file(kind);
	put(Fd(open(file.path.c_str(), O_WRONLY | O_CLOEXEC)), pattern(3 * 4096));
	make_known(file);
	return file;
}

/// At the offset where there is one, as glibc does it.
Outcome plain_read(int fd, size_t bytes, off_t offset, std::string &text)
{
	text.assign(bytes, '?');
	ssize_t n = pread(fd, text.data(), bytes, offset);
	if (n < 0 && errno == ESPIPE)
		n = read(fd, text.data(), bytes);
	return n < 0 ? failed(errno) : ok(n);
}

/// As read does it, whatever the number named before. Compared with a twin of the source.
void check_reads_as_read(int number, SourceMaker make, size_t bytes, off_t offset)
{
	Source twin = make();
	std::string expected;
	const Outcome plain = plain_read(twin.fd, bytes, offset, expected);
	Source source = make();
	BOOST_TEST_CONTEXT(source.name << ", " << bytes << " bytes at " << offset)
	{
		BOOST_TEST_REQUIRE(dup2(source.fd, number) == number);
		source.fd.reset();
		Request &request = start_read(number, bytes, offset);
		const Outcome outcome = finish(request);
		BOOST_TEST(outcome == plain);
		if (outcome.error == EINPROGRESS)
			aio_cancel(number, nullptr);
		// Who has sent it differs in what a signal says.
		if (source.name != std::string("signalfd"))
			BOOST_TEST((request.text() == expected));
		BOOST_TEST(has_data(number) == has_data(twin.fd));
	}
}

/// Half of it is in the cache, and nothing will be read ahead.
Fd half_cached(const File &file)
{
	Fd fd(open(file.path.c_str(), O_RDONLY | O_CLOEXEC));
	BOOST_TEST_REQUIRE(fsync(fd) == 0);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	char page[4096];
	BOOST_TEST_REQUIRE(pread(fd, page, sizeof page, 0) == 4096);
	return fd;
}

} // namespace

BOOST_AUTO_TEST_CASE(what_has_the_number_of_a_file_that_was_read_is_read_as_what_it_is)
{
	for (const FileKind &kind : file_kinds())
		for (SourceMaker make : sources)
			for (off_t offset : {0, 512}) {
				BOOST_TEST_CONTEXT("after " << kind.name)
				{
					File file = known_file(kind);
					check_reads_as_read(file.fd, make, 4096, offset);
				}
			}
}

BOOST_AUTO_TEST_CASE(a_small_read_that_a_stream_can_fill_is_filled_once)
{
	for (const FileKind &kind : file_kinds())
		for (SourceMaker make : sources) {
			File file = known_file(kind);
			check_reads_as_read(file.fd, make, 5, 0);
		}
}

BOOST_AUTO_TEST_CASE(the_number_may_be_given_to_another_file_by_another_thread)
{
	for (const FileKind &kind : file_kinds()) {
		File file = known_file(kind);
		Stream s = unix_stream();
		std::thread([&] { dup2(s.reader, file.fd); }).join();
		put(s.writer, "other");
		Request &request = start_read(file.fd, 4096);
		BOOST_TEST(finish(request) == ok(5));
		BOOST_TEST(request.text().substr(0, 5) == "other");
	}
}

BOOST_AUTO_TEST_CASE(a_read_is_whole_when_the_number_was_one_with_o_direct)
{
	if (File(disk_directory(), O_RDWR | O_DIRECT).fd < 0)
		return;
	File cached = disk_file();
	put(cached.fd, pattern(1 << 20));
	for (int i = 0; i < 5; ++i) {
		File file = known_file({"direct", disk_directory(), O_DIRECT});
		Fd next = half_cached(cached);
		BOOST_TEST_REQUIRE(dup2(next, file.fd) == file.fd);
		Request &request = start_read(file.fd, 256 * 1024);
		BOOST_TEST(finish(request) == ok(256 * 1024));
		BOOST_TEST((request.text() == pattern(1 << 20).substr(0, 256 * 1024)));
	}
}

BOOST_AUTO_TEST_CASE(a_read_is_whole_when_fcntl_has_changed_o_direct)
{
	if (File(disk_directory(), O_RDWR | O_DIRECT).fd < 0)
		return;
	for (bool direct : {true, false})
		for (int i = 0; i < 5; ++i) {
			File file = known_file({"file", disk_directory(), direct ? O_DIRECT : 0});
			put(Fd(open(file.path.c_str(), O_WRONLY | O_CLOEXEC)), pattern(1 << 20));
			const Fd half = half_cached(file);
			BOOST_TEST_REQUIRE(fcntl(file.fd, F_SETFL, direct ? 0 : O_DIRECT) == 0);
			posix_fadvise(file.fd, 0, 0, POSIX_FADV_RANDOM);
			for (size_t bytes : {8192, 256 * 1024}) {
				Request &request = start_read(file.fd, bytes);
				BOOST_TEST(finish(request) == ok(ssize_t(bytes)));
				BOOST_TEST((request.text() == pattern(1 << 20).substr(0, bytes)));
			}
		}
}

BOOST_AUTO_TEST_CASE(more_than_one_call_moves_is_read_to_its_end_though_the_number_is_closed,
		     BETTER_THAN_GLIBC)
{
	constexpr size_t bytes = size_t{3} << 30, piece = 2 << 20;
	File file(disk_directory(), O_RDWR | O_DIRECT);
	if (file.fd < 0)
		return;
	BOOST_TEST_REQUIRE(ftruncate(file.fd, off_t(bytes)) == 0);
	// One piece of memory again and again; the file is a hole.
	Fd memory(memfd_create("piece", MFD_CLOEXEC));
	BOOST_TEST_REQUIRE(ftruncate(memory, off_t(piece)) == 0);
	auto *const all = static_cast<char *>(mmap(
		nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	for (size_t at = 0; at < bytes; at += piece)
		BOOST_TEST_REQUIRE(mmap(all + at, piece, PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_FIXED, memory, 0) == all + at);
	Request &request = keep(file.fd, 1);
	request.cb.aio_buf = all;
	request.cb.aio_nbytes = bytes;
	BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
	file.fd.reset();
	BOOST_TEST(finish(request) == ok(ssize_t(bytes)));
}

// ---------------------------------------------------------------- no bytes

BOOST_AUTO_TEST_CASE(a_read_of_no_bytes_is_what_read_makes_of_it_and_takes_nothing)
{
	File file = disk_file();
	for (SourceMaker make : sources)
		check_reads_as_read(file.fd, make, 0, 0);
}

BOOST_AUTO_TEST_CASE(a_write_of_no_bytes_is_what_write_makes_of_it)
{
	for (SourceMaker make : sources) {
		Source source = make(), twin = make();
		BOOST_TEST_CONTEXT(source.name)
		{
			const ssize_t n = write(twin.fd, "", 0);
			const Outcome plain = n < 0 ? failed(errno) : ok(n);
			BOOST_TEST(finish(start_write(source.fd, "")) == plain);
		}
	}
}

BOOST_AUTO_TEST_CASE(a_read_of_no_bytes_does_not_wait_behind_one_that_waits)
{
	for_each_stream([](Stream &s) {
		Request &waits = start_read(s.reader, 8);
		BOOST_TEST(finish(start_read(s.reader, 0)) == ok(0));
		BOOST_TEST(waits.pending());
		put(s.writer, "x");
		BOOST_TEST(finish(waits) == ok(1));
	});
}

// ---------------------------------------------------------------- cancelled by a number

BOOST_AUTO_TEST_CASE(a_number_that_has_become_the_other_end_of_a_pipe_cancels_nothing_of_the_first)
{
	for (Stream (*make)() : {pipe_stream, fifo_stream}) {
		Stream s = make();
		BOOST_TEST_CONTEXT(s.name)
		{
			Request &waits = start_read(s.reader, 8);
			BOOST_TEST_REQUIRE(dup2(s.writer, s.reader) == s.reader);
			BOOST_TEST(aio_cancel(s.reader, nullptr) == AIO_ALLDONE);
			put(s.writer, "x");
			BOOST_TEST(finish(waits) == ok(1));
		}
	}
}

namespace {

/// Two open files of one inode, each with its way in.
struct Alike {
	const char *name;
	Fd one, two, into_one, into_two;
};
Alike terminals()
{
	Stream one = pty_stream(), two = pty_stream();
	return {"masters of terminals", std::move(one.writer), std::move(two.writer),
		std::move(one.reader), std::move(two.reader)};
}
Alike counters()
{
	Fd one(eventfd(0, EFD_CLOEXEC)), two(eventfd(0, EFD_CLOEXEC));
	Fd into_one(dup(one)), into_two(dup(two));
	return {"eventfds", std::move(one), std::move(two), std::move(into_one),
		std::move(into_two)};
}
Alike fifo_twice()
{
	std::string const path = temp_name("/tmp");
	BOOST_TEST_REQUIRE(mkfifo(path.c_str(), 0600) == 0);
	Fd into(open(path.c_str(), O_RDWR | O_CLOEXEC));
	Fd one(open(path.c_str(), O_RDONLY | O_CLOEXEC)),
		two(open(path.c_str(), O_RDONLY | O_CLOEXEC));
	unlink(path.c_str());
	Fd same(dup(into));
	return {"opens of a FIFO", std::move(one), std::move(two), std::move(into),
		std::move(same)};
}

} // namespace

BOOST_AUTO_TEST_CASE(a_number_that_has_become_another_open_file_of_the_inode_cancels_its_own_only,
		     BETTER_THAN_GLIBC)
{
	for (Alike (*make)() : {terminals, counters, fifo_twice}) {
		Alike a = make();
		BOOST_TEST_CONTEXT(a.name)
		{
			Request &first = start_read(a.one, 8);
			BOOST_TEST_REQUIRE(dup2(a.two, a.one) == a.one);
			BOOST_TEST(aio_cancel(a.one, nullptr) == AIO_ALLDONE);
			BOOST_TEST(first.pending());
			Request &second = start_read(a.one, 8);
			BOOST_TEST(aio_cancel(a.one, nullptr) == AIO_CANCELED);
			BOOST_TEST(finish(second) == failed(ECANCELED));
			BOOST_TEST(first.pending());
			uint64_t const one = 1;
			put(a.into_one, {reinterpret_cast<const char *>(&one), sizeof one});
			BOOST_TEST(finish(first) == ok(8));
		}
	}
}

BOOST_AUTO_TEST_CASE(many_requests_of_two_open_files_of_an_inode_are_cancelled_apart,
		     BETTER_THAN_GLIBC)
{
	constexpr int many = 150;
	Alike a = terminals();
	std::vector<Request *> first, second;
	for (int i = 0; i < many; ++i)
		first.push_back(&start_read(a.one, 1));
	BOOST_TEST_REQUIRE(dup2(a.two, a.one) == a.one);
	for (int i = 0; i < many; ++i)
		second.push_back(&start_read(a.one, 1));
	BOOST_TEST(aio_cancel(a.one, nullptr) == AIO_CANCELED);
	for (Request *const r : second)
		BOOST_TEST(finish(*r) == failed(ECANCELED));
	put(a.into_one, std::string(many, 'x'));
	for (Request *const r : first)
		BOOST_TEST(finish(*r) == ok(1));
}
