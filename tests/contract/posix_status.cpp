// SPDX-License-Identifier: MIT
//
// POSIX.1-2017 aio_error, aio_return and aio_fsync: what the numbered rules do not
// already cover.
#define BOOST_TEST_MODULE posix_status
#include "support.hpp"

BOOST_AUTO_TEST_CASE(the_status_is_einprogress_until_the_request_ends)
{
	for_each_stream([](Stream &s) {
		Request &request = start_read(s.reader, 1);
		for (int i = 0; i < 100; ++i)
			BOOST_TEST_REQUIRE(request.error() == EINPROGRESS);
		put(s.writer, "x");
		BOOST_TEST(finish(request) == ok(1));
		for (int i = 0; i < 100; ++i)
			BOOST_TEST_REQUIRE(request.error() == 0);
	});
}

BOOST_AUTO_TEST_CASE(the_status_is_the_error_that_the_call_would_have_given)
{
	File file = disk_file();
	Fd directory(open(".", O_RDONLY | O_DIRECTORY)), full(open("/dev/full", O_WRONLY));
	struct {
		Request &request;
		int error;
	} const cases[] = {{start_read(-1, 1), EBADF},
			   {start_read(directory, 1), EISDIR},
			   {start_write(full, "x"), ENOSPC},
			   {start_write(file.fd, "x"), 0}};
	for (const auto &expected : cases) {
		BOOST_TEST(finish(expected.request).error == expected.error);
		BOOST_TEST(aio_error(&expected.request.cb) == expected.error);
		BOOST_TEST(aio_return(&expected.request.cb) == (expected.error == 0 ? 1 : -1));
	}
}

BOOST_AUTO_TEST_CASE(errno_changes_only_with_a_result_of_minus_one)
{
	File file = disk_file();
	Request &bad = start_read(-1, 1), &good = start_write(file.fd, "x");
	BOOST_TEST(finish(bad) == failed(EBADF));
	BOOST_TEST(finish(good) == ok(1));
	errno = 12345;
	aio_error(&bad.cb);
	aio_error(&good.cb);
	aio_return(&good.cb);
	BOOST_TEST(errno == 12345);
	// As the manual page promises; POSIX and glibc leave it open.
	BOOST_TEST(aio_return(&bad.cb) == -1);
	BOOST_TEST(errno == EBADF);
}

BOOST_AUTO_TEST_CASE(an_aiocb_is_used_again_after_its_request_has_ended)
{
	File file = disk_file();
	Stream s = unix_stream();
	Request &request = reading(s.reader, 100);
	for (int i = 0; i < 200; ++i) {
		aiocb &cb = request.cb;
		cb.aio_fildes = s.reader;
		BOOST_TEST_REQUIRE(aio_read(&cb) == 0);
		std::string const text(static_cast<size_t>(1 + i % 50), 'x');
		put(s.writer, text);
		BOOST_TEST_REQUIRE(finish(request) == ok(static_cast<ssize_t>(text.size())));
		cb.aio_fildes = file.fd;
		BOOST_TEST_REQUIRE(aio_write(&cb) == 0);
		BOOST_TEST_REQUIRE(finish(request) == ok(100));
		BOOST_TEST_REQUIRE(aio_fsync(O_DSYNC, &cb) == 0);
		BOOST_TEST_REQUIRE(finish(request) == ok(0));
		cb.aio_fildes = -1;
		BOOST_TEST_REQUIRE(aio_read(&cb) == 0);
		BOOST_TEST_REQUIRE(finish(request) == failed(EBADF));
	}
}

BOOST_AUTO_TEST_CASE(an_aiocb_is_used_again_without_aio_return)
{
	Stream s = pipe_stream();
	Request &request = reading(s.reader, 1);
	for (int i = 0; i < 500; ++i) {
		BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
		put(s.writer, "x");
		BOOST_TEST_REQUIRE(eventually([&] { return request.error() == 0; }));
	}
}

BOOST_AUTO_TEST_CASE(memory_of_an_aiocb_may_be_given_up_when_its_request_has_ended)
{
	File file = disk_file();
	for (int i = 0; i < 500; ++i) {
		auto request = std::make_unique<Request>(file.fd, 64, 0);
		BOOST_TEST_REQUIRE(aio_write(&request->cb) == 0);
		BOOST_TEST_REQUIRE(finish(*request) == ok(64));
		memset(&request->cb, 0xdd, sizeof request->cb);
	}
	BOOST_TEST(aio_cancel(file.fd, nullptr) == AIO_ALLDONE);
}

BOOST_AUTO_TEST_CASE(an_aiocb_may_be_copied_after_its_request_has_ended)
{
	File file = disk_file();
	Request &request = start_write(file.fd, "copy");
	BOOST_TEST(eventually([&] { return !request.pending(); }));
	aiocb copy = request.cb;
	BOOST_TEST(aio_error(&copy) == 0);
	BOOST_TEST(aio_return(&copy) == 4);
}

BOOST_AUTO_TEST_CASE(fsync_ends_with_0_for_both_operations_on_every_file)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		for (int op : {O_SYNC, O_DSYNC}) {
			BOOST_TEST(finish(start_write(file.fd, pattern(4096))) == ok(4096));
			Request &request = keep(file.fd, 0);
			BOOST_TEST(aio_fsync(op, &request.cb) == 0);
			BOOST_TEST(finish(request) == ok(0));
		}
	});
}

BOOST_AUTO_TEST_CASE(fsync_of_a_device_without_it_is_reported)
{
	Fd null(open("/dev/null", O_RDWR));
	Request &request = keep(null, 0);
	BOOST_TEST(finish_or_refused(aio_fsync(O_SYNC, &request.cb), request.cb) == failed(EINVAL));
}

BOOST_AUTO_TEST_CASE(fsync_can_be_waited_for_and_cancelled_like_any_request)
{
	File file = disk_file();
	for (int i = 0; i < 20; ++i) {
		BOOST_TEST(finish(start_write(file.fd, pattern(4096), i * 4096)) == ok(4096));
		Request &request = keep(file.fd, 0);
		BOOST_TEST_REQUIRE(aio_fsync(O_SYNC, &request.cb) == 0);
		const int answer = i % 2 == 0 ? AIO_NOTCANCELED : aio_cancel(file.fd, &request.cb);
		const aiocb *list[] = {&request.cb};
		BOOST_TEST(aio_suspend(list, 1, nullptr) == 0);
		BOOST_TEST(finish(request) == (answer == AIO_CANCELED ? failed(ECANCELED) : ok(0)));
	}
}

BOOST_AUTO_TEST_CASE(the_answers_of_unfinished_requests_do_not_mix)
{
	Stream s = unix_stream();
	File file = disk_file();
	Request &pending = start_read(s.reader, 1);
	std::vector<Request *> requests;
	for (int i = 0; i < 50; ++i)
		requests.push_back(&start_write(file.fd, std::string(static_cast<size_t>(i), 'x')));
	for (int i = 0; i < 50; ++i)
		BOOST_TEST(finish(*requests[static_cast<size_t>(i)]) == ok(i));
	BOOST_TEST(pending.pending());
	put(s.writer, "x");
	BOOST_TEST(finish(pending) == ok(1));
}
