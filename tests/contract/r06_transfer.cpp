// SPDX-License-Identifier: MIT
//
// Rule 6: O_NONBLOCK, broken pipes, offset -1, requests above 4 GiB and above SSIZE_MAX,
// and transfers of regular files that are short only at the end of the file.
#define BOOST_TEST_MODULE r06_transfer
#include "support.hpp"

#include <climits>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/statvfs.h>

namespace {

constexpr size_t mebi = size_t{1} << 20;
constexpr size_t gibi = size_t{1} << 30;

std::atomic<int> sigpipes;
void count_sigpipe(int)
{
	++sigpipes;
}

bool sigpipe_is_pending()
{
	sigset_t pending;
	sigpending(&pending);
	return sigismember(&pending, SIGPIPE) == 1;
}

/// More than 4 GiB of addresses over little memory: one memfd, again and again, and a last piece of
/// its own.
class LargeBuffer {
public:
	static constexpr size_t piece = 64 * mebi;
	static constexpr size_t size = 4 * gibi + 2 * piece;
	LargeBuffer() : memory_(memfd_create("contract", MFD_CLOEXEC))
	{
		BOOST_TEST_REQUIRE(ftruncate(memory_, 2 * piece) == 0);
		base_ = static_cast<char *>(mmap(nullptr, size, PROT_NONE,
						 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
						 0));
		BOOST_TEST_REQUIRE(base_ != MAP_FAILED);
		for (size_t at = 0; at < size; at += piece) {
			const off_t from = at + piece == size ? off_t(piece) : 0;
			BOOST_TEST_REQUIRE(mmap(base_ + at, piece, PROT_READ | PROT_WRITE,
						MAP_SHARED | MAP_FIXED, memory_,
						from) != MAP_FAILED);
		}
	}
	~LargeBuffer() { munmap(base_, size); }
	char *data() { return base_; }

private:
	Fd memory_;
	char *base_;
};

Request &large_request(int fd, LargeBuffer &buffer)
{
	Request &request = keep(fd, 0);
	request.cb.aio_buf = buffer.data();
	request.cb.aio_nbytes = LargeBuffer::size;
	return request;
}

/// Gigabytes take half a minute of the kernel's time: once for each engine that moves them, in make
/// check. The library's own choice, and the one where io_uring is refused, are two of these;
/// check-deep (SIGEVEC_LONG) has those runs, too.
bool moves_gigabytes()
{
	const char *const engine = getenv("SIGEVEC_ENGINE");
	const std::string_view name = engine != nullptr ? engine : "";
	const bool so = getenv("SIGEVEC_LONG") != nullptr || name == "uring" || name == "kaio" ||
			name == "threads";
	if (!so)
		BOOST_TEST_MESSAGE("left to the runs with uring, kaio and threads");
	return so;
}

size_t available_memory()
{
	std::ifstream in("/proc/meminfo");
	for (std::string key; in >> key;)
		if (size_t kib; key == "MemAvailable:" && in >> kib)
			return kib * 1024;
	return 0;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_nonblocking_read_without_data_gives_eagain)
{
	for_each_stream([](Stream &s) {
		set_nonblocking(s.reader);
		BOOST_TEST(finish(start_read(s.reader, 1)) == failed(EAGAIN));
		put(s.writer, "abc");
		BOOST_TEST(eventually([&] { return has_data(s.reader); }));
		BOOST_TEST(finish(start_read(s.reader, 10)) == ok(3));
		BOOST_TEST(finish(start_read(s.reader, 1)) == failed(EAGAIN));
	});
}

BOOST_AUTO_TEST_CASE(a_nonblocking_write_without_room_gives_eagain)
{
	for_each_stream([](Stream &s) {
		// A terminal passes bytes on by and by, which makes room again for a while.
		BOOST_TEST(eventually([&] {
			fill(s.writer);
			set_nonblocking(s.writer);
			return finish(start_write(s.writer, "x")) == failed(EAGAIN);
		}));
	});
}

BOOST_AUTO_TEST_CASE(a_nonblocking_write_with_some_room_is_short_like_write)
{
	Stream s = pipe_stream();
	const size_t room = static_cast<size_t>(fcntl(s.writer, F_GETPIPE_SZ));
	set_nonblocking(s.writer);
	BOOST_TEST(finish(start_write(s.writer, pattern(room + 50000))) ==
		   ok(static_cast<ssize_t>(room)));
	BOOST_TEST((take(s.reader, room) == pattern(room + 50000).substr(0, room)));
}

BOOST_AUTO_TEST_CASE(a_nonblocking_eventfd_gives_eagain)
{
	Fd event(eventfd(0, EFD_NONBLOCK));
	BOOST_TEST(finish(start_read(event, 8)) == failed(EAGAIN));
}

BOOST_AUTO_TEST_CASE(regular_files_do_not_care_about_nonblocking)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind, O_NONBLOCK);
		BOOST_TEST(finish(start_write(file.fd, pattern(mebi))) == ok(mebi));
		BOOST_TEST(finish(start_read(file.fd, mebi)) == ok(mebi));
	});
}

BOOST_AUTO_TEST_CASE(a_broken_pipe_gives_epipe_and_no_sigpipe)
{
	sigpipes = 0;
	SignalHandler handler(SIGPIPE, count_sigpipe);
	for (StreamMaker make : {pipe_stream, fifo_stream, unix_stream_default}) {
		Stream s = make();
		BOOST_TEST_CONTEXT("stream: " << s.name)
		{
			s.reader.reset();
			for (size_t bytes : {1u, 5000u, 300000u})
				BOOST_TEST(finish(start_write(s.writer, pattern(bytes))) ==
					   failed(EPIPE));
		}
	}
	Stream tcp = tcp_stream();
	BOOST_TEST(shutdown(tcp.writer, SHUT_WR) == 0);
	BOOST_TEST(finish(start_write(tcp.writer, "x")) == failed(EPIPE));
	BOOST_TEST(sigpipes == 0);
	BOOST_TEST(!sigpipe_is_pending());
}

BOOST_AUTO_TEST_CASE(a_pipe_that_breaks_while_a_write_is_blocked_gives_epipe_and_no_sigpipe)
{
	sigpipes = 0;
	SignalHandler handler(SIGPIPE, count_sigpipe);
	for (StreamMaker make : {pipe_stream, fifo_stream, unix_stream_default}) {
		Stream s = make();
		BOOST_TEST_CONTEXT("stream: " << s.name)
		{
			fill(s.writer);
			Request &first = start_write(s.writer, "x"),
				&second = start_write(s.writer, pattern(100000));
			s.reader.reset();
			for (Request *request : {&first, &second}) {
				const Outcome end = finish(*request);
				// A socket says ECONNRESET once, as its peer left data unread.
				const bool reset = s.duplex && end == failed(ECONNRESET);
				BOOST_TEST((end == failed(EPIPE) || reset), "ended with " << end);
			}
		}
	}
	BOOST_TEST(sigpipes == 0);
	BOOST_TEST(!sigpipe_is_pending());
}

BOOST_AUTO_TEST_CASE(a_write_cut_off_half_way_says_how_much_was_written)
{
	sigpipes = 0;
	SignalHandler handler(SIGPIPE, count_sigpipe);
	Stream s = pipe_stream();
	Request &request = start_write(s.writer, pattern(300000));
	BOOST_TEST(take(s.reader, 1000) == pattern(300000).substr(0, 1000));
	s.reader.reset();
	const Outcome end = finish(request);
	BOOST_TEST(end.error == 0);
	BOOST_TEST(end.result >= 1000);
	BOOST_TEST(end.result < 300000);
	BOOST_TEST(sigpipes == 0);
}

/// Run by the next case in a process where SIGPIPE would be fatal.
BOOST_AUTO_TEST_CASE(broken_pipes_under_the_default_action, *boost::unit_test::disabled())
{
	signal(SIGPIPE, SIG_DFL);
	for (StreamMaker make : {pipe_stream, fifo_stream, unix_stream_default}) {
		Stream s = make();
		s.reader.reset();
		BOOST_TEST(finish(start_write(s.writer, "x")) == failed(EPIPE));
		BOOST_TEST(finish(start_write(s.writer, pattern(200000))) == failed(EPIPE));
	}
}

BOOST_AUTO_TEST_CASE(a_broken_pipe_does_not_kill_a_process_that_left_sigpipe_alone)
{
	BOOST_TEST(run_self("broken_pipes_under_the_default_action", {}) == 0);
}

BOOST_AUTO_TEST_CASE(the_applications_own_sigpipe_still_comes)
{
	sigpipes = 0;
	SignalHandler handler(SIGPIPE, count_sigpipe);
	Stream s = pipe_stream();
	s.reader.reset();
	BOOST_TEST(finish(start_write(s.writer, "x")) == failed(EPIPE));
	BOOST_TEST(write(s.writer, "x", 1) == -1);
	BOOST_TEST(sigpipes == 1);
}

BOOST_AUTO_TEST_CASE(offset_minus_one_is_einval)
{
	auto check = [](int fd) {
		Request &read = reading(fd, 1, -1), &write = writing(fd, "x", -1);
		BOOST_TEST(finish_or_refused(aio_read(&read.cb), read.cb) == failed(EINVAL));
		BOOST_TEST(finish_or_refused(aio_write(&write.cb), write.cb) == failed(EINVAL));
		BOOST_TEST(read.text() == "?");
	};
	for_each_file_kind([&](const FileKind &kind) { check(make_file(kind).fd); });
	for_each_duplex_stream([&](Stream &s) {
		put(s.writer, "unread");
		check(s.reader);
	});
	check(make_file({"append", disk_directory(), 0}, O_APPEND).fd);
}

BOOST_AUTO_TEST_CASE(reads_of_a_file_are_short_only_at_its_end)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		std::string const data = pattern(40 * 4096 + 100);
		put(Fd(open(file.path.c_str(), O_WRONLY)), data);
		struct {
			size_t bytes;
			off_t offset;
			ssize_t result;
		} const reads[] = {{40 * 4096, 0, 40 * 4096}, {64 * 4096, 0, 40 * 4096 + 100},
				   {8192, 39 * 4096, 4196},   {4096, 40 * 4096, 100},
				   {4096, 41 * 4096, 0},      {4096, off_t(gibi), 0}};
		for (auto const &expected : reads) {
			Request &request = start_read(file.fd, expected.bytes, expected.offset);
			BOOST_TEST(finish(request) == ok(expected.result));
			size_t const result = static_cast<size_t>(expected.result);
			BOOST_TEST((request.text().substr(0, result) ==
				    data.substr(result ? expected.offset : 0, result)));
		}
	});
}

BOOST_AUTO_TEST_CASE(large_transfers_of_files_are_never_short)
{
	std::string const data = pattern(48 * mebi);
	for_each_file_kind([&](const FileKind &kind) {
		File file = make_file(kind);
		BOOST_TEST(finish(start_write(file.fd, data)) == ok(48 * mebi));
		BOOST_TEST((file.content() == data));
		Request &request = start_read(file.fd, 48 * mebi);
		BOOST_TEST(finish(request) == ok(48 * mebi));
		BOOST_TEST((request.text() == data));
	});
}

// One system call transfers at most 2 GiB - 4 KiB, and glibc makes one.
// ThreadSanitizer keeps a record of each byte, which takes 20 GB here.
BOOST_AUTO_TEST_CASE(more_than_four_gibibytes_are_read_in_one_request,
		     BETTER_THAN_GLIBC *boost::unit_test::enable_if<!thread_sanitizer>())
{
	if (!moves_gigabytes())
		return;
	LargeBuffer buffer;
	for (const FileKind &kind : std::vector<FileKind>{{"tmpfs", "/dev/shm", 0},
							  {"disk", disk_directory(), O_DIRECT}}) {
		File file(kind.directory, O_RDWR | kind.flags);
		if (file.fd < 0)
			continue; // no O_DIRECT here
		BOOST_TEST_REQUIRE(ftruncate(file.fd, LargeBuffer::size + mebi) == 0);
		std::string const tail = pattern(4096);
		Fd plain(open(file.path.c_str(), O_RDWR));
		BOOST_TEST_REQUIRE(pwrite(plain, tail.data(), 4096, LargeBuffer::size - 4096) ==
				   4096);
		Request &request = large_request(file.fd, buffer);
		BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
		BOOST_TEST(finish(request) == ok(LargeBuffer::size), "file: " << kind.name);
		BOOST_TEST((std::string(buffer.data() + LargeBuffer::size - 4096, 4096) == tail));
	}
}

BOOST_AUTO_TEST_CASE(more_than_four_gibibytes_are_written_in_one_request,
		     BETTER_THAN_GLIBC *boost::unit_test::enable_if<!thread_sanitizer>())
{
	if (!moves_gigabytes())
		return;
	struct statvfs space {};
	statvfs("/dev/shm", &space);
	if (available_memory() < 8 * gibi || space.f_bavail * space.f_frsize < 6 * gibi) {
		BOOST_TEST_MESSAGE("not enough memory for a file of more than 4 GiB");
		return;
	}
	LargeBuffer buffer;
	std::string const tail = pattern(4096);
	memcpy(buffer.data() + LargeBuffer::size - 4096, tail.data(), 4096);
	File file = tmpfs_file();
	Request &request = large_request(file.fd, buffer);
	BOOST_TEST_REQUIRE(aio_write(&request.cb) == 0);
	BOOST_TEST(finish(request) == ok(LargeBuffer::size));
	BOOST_TEST((file.content(4096, LargeBuffer::size - 4096) == tail));
}

// The system call looks at the whole length before it moves a byte.
BOOST_AUTO_TEST_CASE(a_buffer_that_ends_nowhere_is_efault_whatever_could_be_moved)
{
	File disk = disk_file(), memory = tmpfs_file();
	put(disk.fd, "content");
	put(memory.fd, "content");
	Stream socket = unix_stream(), pipe = pipe_stream();
	put(socket.writer, "content");
	put(pipe.writer, "content");
	for (int fd : {int(disk.fd), int(memory.fd), int(socket.reader), int(pipe.reader)}) {
		Request &read = keep(fd, 1);
		read.cb.aio_nbytes = SSIZE_MAX;
		BOOST_TEST(finish_or_refused(aio_read(&read.cb), read.cb) == failed(EFAULT));
	}
	for (int fd : {int(disk.fd), int(memory.fd), int(socket.writer), int(pipe.writer)}) {
		Request &write = keep(fd, 1);
		write.cb.aio_nbytes = SSIZE_MAX;
		BOOST_TEST(finish_or_refused(aio_write(&write.cb), write.cb) == failed(EFAULT));
	}
	BOOST_TEST(disk.content() == "content");
	BOOST_TEST(take(socket.reader, 7) == "content");
	BOOST_TEST(take(pipe.reader, 7) == "content");
	BOOST_TEST(!has_data(socket.reader));
	BOOST_TEST(!has_data(pipe.reader));
}

BOOST_AUTO_TEST_CASE(more_than_ssize_max_fails)
{
	File file = disk_file();
	BOOST_TEST(finish(start_write(file.fd, "content")) == ok(7));
	Stream s = unix_stream();
	for (size_t bytes : {size_t{SSIZE_MAX} + 1, SIZE_MAX}) {
		for (int fd : {int(file.fd), int(s.reader)}) {
			Request &read = keep(fd, 1), &write = keep(fd, 1);
			read.cb.aio_nbytes = write.cb.aio_nbytes = bytes;
			for (const Outcome &end :
			     {finish_or_refused(aio_read(&read.cb), read.cb),
			      finish_or_refused(aio_write(&write.cb), write.cb)})
				BOOST_TEST((end == failed(EINVAL) || end == failed(EFAULT)),
					   "ended with " << end);
		}
	}
	BOOST_TEST(file.content() == "content");
	BOOST_TEST(!has_data(s.writer));
}
