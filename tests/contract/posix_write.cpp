// SPDX-License-Identifier: MIT
//
// POSIX.1-2017 aio_write: what the numbered rules do not already cover.
#define BOOST_TEST_MODULE posix_write
#include "support.hpp"

#include <limits>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

BOOST_AUTO_TEST_CASE(it_writes_the_bytes_of_the_buffer_at_the_offset)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		std::string expected(16 * 4096, '\0');
		for (int page : {3, 0, 15, 7}) {
			BOOST_TEST(finish(start_write(file.fd, pattern(4096, page), page * 4096)) ==
				   ok(4096));
			expected.replace(page * 4096, 4096, pattern(4096, page));
		}
		BOOST_TEST((file.content() == expected));
	});
}

BOOST_AUTO_TEST_CASE(any_offset_and_length_will_do_for_a_buffered_file)
{
	for (const FileKind &kind :
	     {FileKind{"disk", disk_directory(), 0}, FileKind{"tmpfs", "/dev/shm", 0}}) {
		File file = make_file(kind);
		off_t offset = 5;
		std::string expected(5, '\0');
		for (size_t bytes : {1u, 7u, 511u, 4095u, 4097u, 65537u, 200001u}) {
			BOOST_TEST(finish(start_write(file.fd, pattern(bytes), offset)) ==
				   ok(static_cast<ssize_t>(bytes)));
			offset += static_cast<off_t>(bytes);
			expected += pattern(bytes);
		}
		BOOST_TEST((file.content() == expected));
	}
}

BOOST_AUTO_TEST_CASE(the_operation_code_is_ignored)
{
	for (int opcode : {int{LIO_READ}, int{LIO_NOP}, 77, -1}) {
		File file = disk_file();
		Request &request = writing(file.fd, "content");
		request.cb.aio_lio_opcode = opcode;
		BOOST_TEST(aio_write(&request.cb) == 0);
		BOOST_TEST(finish(request) == ok(7));
		BOOST_TEST(file.content() == "content");
		BOOST_TEST(request.text() == "content");
	}
}

BOOST_AUTO_TEST_CASE(many_writes_to_one_file_at_once_each_land_in_their_place)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		std::vector<Request *> writes;
		for (int i = 0; i < 256; ++i) {
			int const page = i * 37 % 256;
			writes.push_back(&start_write(file.fd, pattern(4096, page), page * 4096));
		}
		for (Request *request : writes)
			BOOST_TEST(finish(*request) == ok(4096));
		for (int page = 0; page < 256; ++page)
			BOOST_TEST((file.content(4096, page * 4096) == pattern(4096, page)));
	});
}

BOOST_AUTO_TEST_CASE(several_threads_write_one_file_at_once)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		std::atomic<int> wrong{0};
		std::vector<std::thread> threads;
		for (int t = 0; t < 4; ++t)
			threads.emplace_back([&, t] {
				for (int i = 0; i < 50; ++i) {
					Request request(file.fd, 4096, (i * 4 + t) * 4096);
					memset(request.data(), 'A' + t, 4096);
					wrong += aio_write(&request.cb) != 0 ||
						 finish(request) != ok(4096);
				}
			});
		for (std::thread &thread : threads)
			thread.join();
		BOOST_TEST(wrong == 0);
		std::string const got = file.content();
		BOOST_TEST_REQUIRE(got.size() == 200u * 4096u);
		for (size_t page = 0; page < 200; ++page)
			BOOST_TEST((got.substr(page * 4096, 4096) ==
				    std::string(4096, static_cast<char>('A' + page % 4))));
	});
}

BOOST_AUTO_TEST_CASE(a_write_far_out_leaves_a_hole)
{
	for (const FileKind &kind :
	     {FileKind{"disk", disk_directory(), 0}, FileKind{"tmpfs", "/dev/shm", 0}}) {
		File file = make_file(kind);
		const off_t far = off_t{6} << 30;
		BOOST_TEST(finish(start_write(file.fd, "far", far)) == ok(3));
		BOOST_TEST(file.content(100, far) == "far");
		BOOST_TEST((file.content(4, 1000) == std::string(4, '\0')));
	}
}

BOOST_AUTO_TEST_CASE(a_write_of_nothing_sends_an_empty_datagram_like_write)
{
	int v[2];
	BOOST_TEST_REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, v) == 0);
	const Fd reader(v[0]), writer(v[1]);
	BOOST_TEST(finish(start_write(writer, "")) == ok(0));
	BOOST_TEST(finish(start_write(writer, "next")) == ok(4));
	BOOST_TEST(finish(start_read(reader, 10)) == ok(0));
	BOOST_TEST(finish(start_read(reader, 10)) == ok(4));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_written_is_einval_however_large)
{
	const Fd epoll(epoll_create1(EPOLL_CLOEXEC)),
		timer(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	for (size_t bytes : {8u, 200000u})
		for (int fd : {int(epoll), int(timer)})
			BOOST_TEST(finish(start_write(fd, pattern(bytes))) == failed(EINVAL));
}

BOOST_AUTO_TEST_CASE(devices_take_or_refuse_as_they_do)
{
	Fd null(open("/dev/null", O_WRONLY)), zero(open("/dev/zero", O_WRONLY)),
		full(open("/dev/full", O_WRONLY));
	BOOST_TEST(finish(start_write(null, pattern(100000))) == ok(100000));
	BOOST_TEST(finish(start_write(zero, "x")) == ok(1));
	BOOST_TEST(finish(start_write(full, "x")) == failed(ENOSPC));
}

BOOST_AUTO_TEST_CASE(nothing_is_written_past_the_largest_offset)
{
	for (const FileKind &kind :
	     {FileKind{"disk", disk_directory(), 0}, FileKind{"tmpfs", "/dev/shm", 0}}) {
		File file = make_file(kind);
		Request &request =
			writing(file.fd, "0123456789", std::numeric_limits<off_t>::max() - 1);
		const Outcome end = finish_or_refused(aio_write(&request.cb), request.cb);
		BOOST_TEST(end.result == -1);
		BOOST_TEST((end.error == EFBIG || end.error == EINVAL || end.error == EOVERFLOW),
			   "ended with " << end);
		BOOST_TEST(file.content(1).empty());
	}
}

// The signal goes to the thread that writes, and that is never one of the application's.
BOOST_AUTO_TEST_CASE(writes_beyond_the_file_size_limit, *boost::unit_test::disabled())
{
	const rlimit limit{8192, 8192};
	BOOST_TEST_REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	signal(SIGXFSZ, SIG_DFL);
	for (const FileKind &kind :
	     {FileKind{"disk", disk_directory(), 0}, FileKind{"tmpfs", "/dev/shm", 0},
	      FileKind{"disk, O_DIRECT", disk_directory(), O_DIRECT}}) {
		File file(kind.directory, O_RDWR | kind.flags);
		if (file.fd < 0)
			continue;
		BOOST_TEST_CONTEXT("file: " << kind.name)
		{
			BOOST_TEST(finish(start_write(file.fd, pattern(4096), 8192)) ==
				   failed(EFBIG));
			BOOST_TEST(finish(start_write(file.fd, pattern(8192), 4096)) == ok(4096));
			BOOST_TEST(file.content().size() == 8192u);
		}
	}
}

BOOST_AUTO_TEST_CASE(appends_beyond_the_file_size_limit, *boost::unit_test::disabled())
{
	const rlimit limit{8192, 8192};
	BOOST_TEST_REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	signal(SIGXFSZ, SIG_DFL);
	for (const std::string &directory : {disk_directory(), std::string("/dev/shm")})
		for (const bool later : {false, true}) {
			File file(directory, O_RDWR | (later ? 0 : O_APPEND));
			BOOST_TEST_CONTEXT(directory << (later ? ", later by F_SETFL" : ""))
			{
				for (int i = 0; i < 8; ++i)
					BOOST_TEST(finish(start_write(file.fd, pattern(1000),
								      1000 * i)) == ok(1000));
				BOOST_TEST_REQUIRE(fcntl(file.fd, F_SETFL, O_APPEND) == 0);
				BOOST_TEST(finish(start_write(file.fd, pattern(1000))) == ok(192));
				BOOST_TEST(finish(start_write(file.fd, pattern(1000))) ==
					   failed(EFBIG));
				BOOST_TEST(file.content().size() == 8192u);
			}
		}
}

BOOST_AUTO_TEST_CASE(the_file_size_limit_gives_efbig_and_kills_nobody)
{
	BOOST_TEST(run_self("writes_beyond_the_file_size_limit", {}) == 0);
	BOOST_TEST(run_self("appends_beyond_the_file_size_limit", {}) == 0);
}

BOOST_AUTO_TEST_CASE(the_buffer_is_read_and_never_changed)
{
	File file = disk_file();
	std::string const data = pattern(100000);
	Request &request = start_write(file.fd, data);
	BOOST_TEST(finish(request) == ok(100000));
	BOOST_TEST((request.text() == data));
	// Constant memory will do.
	static const char constant[] = "constant";
	Request &from_constant = keep(file.fd, 0);
	from_constant.cb.aio_buf = const_cast<char *>(constant);
	from_constant.cb.aio_nbytes = 8;
	BOOST_TEST_REQUIRE(aio_write(&from_constant.cb) == 0);
	BOOST_TEST(finish(from_constant) == ok(8));
}

BOOST_AUTO_TEST_CASE(data_of_a_completed_write_is_seen_by_every_other_descriptor)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		Fd other(open(file.path.c_str(), O_RDONLY));
		for (int i = 0; i < 50; ++i) {
			BOOST_TEST(finish(start_write(file.fd, pattern(4096, i))) == ok(4096));
			std::string got(4096, '\0');
			BOOST_TEST(pread(other, got.data(), 4096, 0) == 4096);
			BOOST_TEST((got == pattern(4096, i)));
		}
	});
}
