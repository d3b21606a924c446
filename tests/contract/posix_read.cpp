// SPDX-License-Identifier: MIT
//
// POSIX.1-2017 aio_read: what the numbered rules do not already cover.
#define BOOST_TEST_MODULE posix_read
#include "support.hpp"

#include <sys/epoll.h>

namespace {

File file_with(const FileKind &kind, const std::string &data)
{
	File file = make_file(kind);
	put(Fd(open(file.path.c_str(), O_WRONLY)), data);
	return file;
}

} // namespace

BOOST_AUTO_TEST_CASE(it_reads_the_bytes_at_the_offset_into_the_buffer)
{
	std::string const data = pattern(64 * 4096);
	for_each_file_kind([&](const FileKind &kind) {
		File file = file_with(kind, data);
		for (off_t offset : {0, 4096, 20 * 4096, 63 * 4096}) {
			Request &request = start_read(file.fd, 4096, offset);
			BOOST_TEST(finish(request) == ok(4096));
			BOOST_TEST(
				(request.text() == data.substr(static_cast<size_t>(offset), 4096)));
		}
	});
}

BOOST_AUTO_TEST_CASE(any_offset_and_length_will_do_for_a_buffered_file)
{
	std::string const data = pattern(300000);
	for (const FileKind &kind :
	     {FileKind{"disk", disk_directory(), 0}, FileKind{"tmpfs", "/dev/shm", 0}}) {
		File file = file_with(kind, data);
		for (size_t bytes : {1u, 7u, 511u, 4095u, 4097u, 65537u, 200001u}) {
			const off_t offset = static_cast<off_t>(bytes % 1000) + 13;
			Request &request = start_read(file.fd, bytes, offset);
			BOOST_TEST(finish(request) == ok(static_cast<ssize_t>(bytes)));
			BOOST_TEST((request.text() ==
				    data.substr(static_cast<size_t>(offset), bytes)));
		}
	}
}

BOOST_AUTO_TEST_CASE(only_the_buffer_is_written)
{
	File file = file_with({"disk", disk_directory(), 0}, pattern(100));
	std::string memory(300, '#');
	Request &request = keep(file.fd, 0);
	request.cb.aio_buf = memory.data() + 100;
	request.cb.aio_nbytes = 100;
	BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
	BOOST_TEST(finish(request) == ok(100));
	BOOST_TEST(memory == std::string(100, '#') + pattern(100) + std::string(100, '#'));
}

BOOST_AUTO_TEST_CASE(the_operation_code_is_ignored)
{
	File file = file_with({"disk", disk_directory(), 0}, "content");
	for (int opcode : {int{LIO_WRITE}, int{LIO_NOP}, 77, -1}) {
		Request &request = reading(file.fd, 7);
		request.cb.aio_lio_opcode = opcode;
		BOOST_TEST(aio_read(&request.cb) == 0);
		BOOST_TEST(finish(request) == ok(7));
		BOOST_TEST(request.text() == "content");
	}
	BOOST_TEST(file.content() == "content");
}

BOOST_AUTO_TEST_CASE(many_reads_of_one_file_at_once_each_get_their_part)
{
	std::string const data = pattern(256 * 4096);
	for_each_file_kind([&](const FileKind &kind) {
		File file = file_with(kind, data);
		std::vector<Request *> reads;
		for (int i = 0; i < 256; ++i)
			reads.push_back(&start_read(file.fd, 4096, (i * 37 % 256) * 4096));
		for (int i = 0; i < 256; ++i) {
			BOOST_TEST(finish(*reads[i]) == ok(4096));
			BOOST_TEST((reads[i]->text() == data.substr(i * 37 % 256 * 4096, 4096)));
		}
	});
}

BOOST_AUTO_TEST_CASE(several_threads_read_one_file_at_once)
{
	std::string const data = pattern(64 * 4096);
	for_each_file_kind([&](const FileKind &kind) {
		File file = file_with(kind, data);
		std::atomic<int> wrong{0};
		std::vector<std::thread> threads;
		for (int t = 0; t < 4; ++t)
			threads.emplace_back([&, t] {
				for (int i = 0; i < 200; ++i) {
					int const page = (i * 7 + t) % 64;
					Request request(file.fd, 4096, page * 4096);
					wrong += aio_read(&request.cb) != 0 ||
						 finish(request) != ok(4096) ||
						 request.text() !=
							 data.substr(static_cast<size_t>(page) *
									     4096,
								     4096);
				}
			});
		for (std::thread &thread : threads)
			thread.join();
		BOOST_TEST(wrong == 0);
	});
}

BOOST_AUTO_TEST_CASE(a_hole_reads_as_zeros_also_far_out)
{
	for (const FileKind &kind :
	     {FileKind{"disk", disk_directory(), 0}, FileKind{"tmpfs", "/dev/shm", 0}}) {
		File file = make_file(kind);
		const off_t far = off_t{5} << 30;
		BOOST_TEST_REQUIRE(pwrite(file.fd, "end", 3, far) == 3);
		Request &hole = start_read(file.fd, 100, far - 100),
			&end = start_read(file.fd, 100, far);
		BOOST_TEST(finish(hole) == ok(100));
		BOOST_TEST((hole.text() == std::string(100, '\0')));
		BOOST_TEST(finish(end) == ok(3));
		BOOST_TEST(end.text().substr(0, 3) == "end");
	}
}

BOOST_AUTO_TEST_CASE(zeros_and_nothing_come_from_the_devices)
{
	Fd zero(open("/dev/zero", O_RDONLY)), null(open("/dev/null", O_RDONLY));
	Request &zeros = start_read(zero, 100000), &nothing = start_read(null, 100);
	BOOST_TEST(finish(zeros) == ok(100000));
	BOOST_TEST((zeros.text() == std::string(100000, '\0')));
	BOOST_TEST(finish(nothing) == ok(0));
}

// The kernel looks at that page by page.
BOOST_AUTO_TEST_CASE(zeros_are_all_there_though_others_want_the_processor)
{
	std::atomic<bool> stop{false};
	std::vector<std::thread> others;
	for (unsigned i = 0; i < 2 * std::thread::hardware_concurrency(); ++i)
		others.emplace_back([&] {
			while (!stop)
				;
		});
	for (const char *name : {"/dev/zero", "/dev/full"}) {
		const Fd fd(open(name, O_RDONLY));
		constexpr size_t much = 64 << 20;
		BOOST_TEST(finish(start_read(fd, much)) == ok(much), name);
	}
	stop = true;
	for (std::thread &one : others)
		one.join();
}

BOOST_AUTO_TEST_CASE(what_read_refuses_is_reported)
{
	Fd directory(open(".", O_RDONLY | O_DIRECTORY));
	BOOST_TEST(finish(start_read(directory, 10)) == failed(EISDIR));
	Fd listener(socket(AF_UNIX, SOCK_STREAM, 0));
	BOOST_TEST(finish(start_read(listener, 10)) == failed(EINVAL));
	Fd unconnected(socket(AF_INET, SOCK_STREAM, 0));
	BOOST_TEST(finish(start_read(unconnected, 10)) == failed(ENOTCONN));
	const Fd epoll(epoll_create1(EPOLL_CLOEXEC));
	for (size_t bytes : {10u, 200000u})
		BOOST_TEST(finish(start_read(epoll, bytes)) == failed(EINVAL));
}

BOOST_AUTO_TEST_CASE(a_direct_read_that_is_not_aligned_is_reported_or_done)
{
	File file(disk_directory(), O_RDWR | O_DIRECT);
	if (file.fd < 0)
		return;
	put(Fd(open(file.path.c_str(), O_WRONLY)), pattern(8192));
	Request &request = keep(file.fd, 8192);
	request.cb.aio_buf = request.data() + 1;
	request.cb.aio_nbytes = 511;
	request.cb.aio_offset = 3;
	BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
	const ssize_t like_read = pread(file.fd, request.data() + 4097, 511, 3);
	BOOST_TEST(finish(request) == (like_read < 0 ? failed(EINVAL) : ok(511)));
}

BOOST_AUTO_TEST_CASE(a_file_of_the_kernels_is_read_like_any_other)
{
	Fd file(open("/proc/self/status", O_RDONLY));
	Request &request = start_read(file, 6);
	BOOST_TEST(finish(request) == ok(6));
	BOOST_TEST(request.text() == "Name:\t");
}

BOOST_AUTO_TEST_CASE(data_written_just_before_is_read)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		for (int i = 0; i < 100; ++i) {
			BOOST_TEST(finish(start_write(file.fd, pattern(4096, i))) == ok(4096));
			Request &request = start_read(file.fd, 4096);
			BOOST_TEST(finish(request) == ok(4096));
			BOOST_TEST((request.text() == pattern(4096, i)));
		}
	});
}
