// SPDX-License-Identifier: MIT
//
// POSIX.1-2017 lio_listio: what the numbered rules do not already cover.
#define BOOST_TEST_MODULE posix_listio
#include "support.hpp"

namespace {

Request &listed(Request &request, int opcode)
{
	request.cb.aio_lio_opcode = opcode;
	return request;
}
int submit(int mode, const std::vector<aiocb *> &list)
{
	return lio_listio(mode, list.data(), static_cast<int>(list.size()), nullptr);
}

} // namespace

BOOST_AUTO_TEST_CASE(lio_wait_returns_0_when_everything_was_done)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		std::vector<aiocb *> list;
		for (int i = 0; i < 32; ++i)
			list.push_back(
				&listed(writing(file.fd, pattern(4096, i), i * 4096), LIO_WRITE)
					 .cb);
		BOOST_TEST(submit(LIO_WAIT, list) == 0);
		for (aiocb *cb : list) {
			BOOST_TEST(aio_error(cb) == 0);
			BOOST_TEST(aio_return(cb) == 4096);
		}
		list.clear();
		std::vector<Request *> reads;
		for (int i = 0; i < 32; ++i) {
			reads.push_back(&listed(reading(file.fd, 4096, i * 4096), LIO_READ));
			list.push_back(&reads.back()->cb);
		}
		BOOST_TEST(submit(LIO_WAIT, list) == 0);
		for (int i = 0; i < 32; ++i)
			BOOST_TEST((reads[i]->text() == pattern(4096, i)));
	});
}

BOOST_AUTO_TEST_CASE(lio_nowait_returns_while_requests_are_outstanding)
{
	for_each_stream([](Stream &s) {
		Request &one = listed(reading(s.reader, 1), LIO_READ),
			&two = listed(reading(s.reader, 1), LIO_READ);
		BOOST_TEST(submit(LIO_NOWAIT, {&one.cb, &two.cb}) == 0);
		BOOST_TEST(one.pending());
		BOOST_TEST(two.pending());
		put(s.writer, "ab");
		BOOST_TEST(finish(one) == ok(1));
		BOOST_TEST(finish(two) == ok(1));
	});
}

BOOST_AUTO_TEST_CASE(reads_and_writes_of_many_kinds_go_in_one_list)
{
	std::vector<Stream> streams;
	std::list<File> files;
	std::vector<Request *> reads;
	std::vector<aiocb *> list;
	for (StreamMaker make : stream_kinds) {
		streams.push_back(make());
		reads.push_back(&listed(reading(streams.back().reader, 100), LIO_READ));
		list.push_back(&reads.back()->cb);
		list.push_back(&listed(writing(streams.back().writer, "stream"), LIO_WRITE).cb);
	}
	for (const FileKind &kind : file_kinds()) {
		files.push_back(make_file(kind));
		list.push_back(&listed(writing(files.back().fd, pattern(4096)), LIO_WRITE).cb);
	}
	BOOST_TEST(submit(LIO_WAIT, list) == 0);
	for (aiocb *cb : list)
		BOOST_TEST(aio_error(cb) == 0);
	for (Request *read : reads)
		BOOST_TEST(read->text().substr(0, 6) == "stream");
	for (const File &file : files)
		BOOST_TEST((file.content() == pattern(4096)));
}

BOOST_AUTO_TEST_CASE(null_elements_and_lio_nop_are_ignored)
{
	File file = disk_file();
	Request &nothing = listed(writing(file.fd, "never"), LIO_NOP);
	Request &bad_nothing = listed(reading(-1, 1), LIO_NOP);
	Request &real = listed(writing(file.fd, "real"), LIO_WRITE);
	for (int mode : {LIO_WAIT, LIO_NOWAIT}) {
		BOOST_TEST(submit(mode,
				  {nullptr, &nothing.cb, &real.cb, nullptr, &bad_nothing.cb}) == 0);
		BOOST_TEST(finish(real) == ok(4));
		BOOST_TEST(file.content() == "real");
	}
	BOOST_TEST(submit(LIO_WAIT, {nullptr, &nothing.cb}) == 0);
	BOOST_TEST(submit(LIO_WAIT, {nullptr}) == 0);
}

BOOST_AUTO_TEST_CASE(a_failed_request_prevents_no_other)
{
	File file = disk_file();
	Stream s = pipe_stream();
	Request &first = listed(writing(file.fd, "1"), LIO_WRITE),
		&bad = listed(reading(-1, 1), LIO_READ),
		&read = listed(reading(s.reader, 1), LIO_READ),
		&bad_buffer = listed(writing(file.fd, "2", 1), LIO_WRITE),
		&last = listed(writing(file.fd, "3", 2), LIO_WRITE);
	bad_buffer.cb.aio_buf = reinterpret_cast<void *>(8);
	BOOST_TEST(submit(LIO_NOWAIT, {&first.cb, &bad.cb, &read.cb, &bad_buffer.cb, &last.cb}) ==
		   0);
	put(s.writer, "x");
	BOOST_TEST(finish(first) == ok(1));
	BOOST_TEST(finish(bad) == failed(EBADF));
	BOOST_TEST(finish(read) == ok(1));
	BOOST_TEST(finish(bad_buffer) == failed(EFAULT));
	BOOST_TEST(finish(last) == ok(1));
}

BOOST_AUTO_TEST_CASE(a_request_that_cannot_be_queued_is_reported_and_the_others_run)
{
	for (int mode : {LIO_WAIT, LIO_NOWAIT}) {
		File file = disk_file();
		Request &good = listed(writing(file.fd, "good"), LIO_WRITE),
			&bad = listed(writing(file.fd, "bad"), LIO_WRITE);
		bad.cb.aio_reqprio = -7;
		BOOST_TEST(submit(mode, {&bad.cb, &good.cb}) == -1);
		BOOST_TEST((errno == EIO || errno == EINVAL));
		BOOST_TEST(finish(bad) == failed(EINVAL));
		BOOST_TEST(finish(good) == ok(4));
		BOOST_TEST(file.content() == "good");
	}
}

BOOST_AUTO_TEST_CASE(a_list_of_nothing_but_unqueued_requests_returns)
{
	Request &bad = listed(reading(0, 1), LIO_READ);
	bad.cb.aio_reqprio = 99;
	for (int mode : {LIO_WAIT, LIO_NOWAIT}) {
		BOOST_TEST(submit(mode, {&bad.cb}) == -1);
		BOOST_TEST((errno == EIO || errno == EINVAL));
	}
}

BOOST_AUTO_TEST_CASE(statuses_are_those_of_aio_read_and_aio_write)
{
	File file = disk_file();
	Fd directory(open(".", O_RDONLY | O_DIRECTORY)), full(open("/dev/full", O_WRONLY));
	std::vector<std::pair<Request *, Request *>> pairs;
	std::vector<aiocb *> list;
	auto compare = [&](int opcode, int fd, size_t bytes) {
		Request &alone = keep(fd, bytes), &in_list = listed(keep(fd, bytes), opcode);
		BOOST_TEST_REQUIRE(
			(opcode == LIO_READ ? aio_read(&alone.cb) : aio_write(&alone.cb)) == 0);
		pairs.emplace_back(&alone, &in_list);
		list.push_back(&in_list.cb);
	};
	for (int fd : {-1, int(directory), int(full), int(file.fd)})
		compare(LIO_WRITE, fd, 10);
	for (const auto &[alone, in_list] : pairs)
		finish(*alone);
	for (int fd : {-1, int(directory), int(full), int(file.fd)})
		compare(LIO_READ, fd, 10);
	BOOST_TEST(submit(LIO_WAIT, list) == -1);
	BOOST_TEST(errno == EIO);
	for (const auto &[alone, in_list] : pairs)
		BOOST_TEST(finish(*in_list) == finish(*alone));
}

BOOST_AUTO_TEST_CASE(requests_of_a_list_notify_for_themselves)
{
	static std::atomic<int> signals;
	signals = 0;
	SignalHandler handler(
		SIGUSR1, +[](int, siginfo_t *info, void *) { signals += info->si_value.sival_int; },
		SA_RESTART);
	File file = disk_file();
	for (int mode : {LIO_WAIT, LIO_NOWAIT}) {
		const int before = signals;
		Request &request = listed(writing(file.fd, "x"), LIO_WRITE);
		request.cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
		request.cb.aio_sigevent.sigev_signo = SIGUSR1;
		request.cb.aio_sigevent.sigev_value.sival_int = 1;
		const int result = submit(mode, {&request.cb});
		BOOST_TEST((result == 0 || (mode == LIO_WAIT && errno == EINTR)));
		BOOST_TEST(eventually([&] { return signals == before + 1; }));
		BOOST_TEST(finish(request) == ok(1));
	}
}

BOOST_AUTO_TEST_CASE(many_threads_may_submit_lists_at_once)
{
	std::atomic<int> wrong{0};
	std::vector<std::thread> threads;
	std::list<File> files;
	for (int t = 0; t < 4; ++t)
		files.push_back(disk_file());
	for (File &file : files)
		threads.emplace_back([&wrong, fd = int(file.fd)] {
			for (int round = 0; round < 100; ++round) {
				std::list<Request> requests;
				std::vector<aiocb *> list;
				for (int i = 0; i < 16; ++i)
					list.push_back(
						&listed(requests.emplace_back(fd, 512, i * 512),
							LIO_WRITE)
							 .cb);
				wrong += submit(LIO_WAIT, list) != 0;
				for (Request &request : requests)
					wrong += finish(request) != ok(512);
			}
		});
	for (std::thread &thread : threads)
		thread.join();
	BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_CASE(the_array_may_be_changed_after_the_call)
{
	Stream s = unix_stream();
	Request &request = listed(reading(s.reader, 1), LIO_READ);
	auto *list = new aiocb *[1] { &request.cb };
	BOOST_TEST(lio_listio(LIO_NOWAIT, list, 1, nullptr) == 0);
	list[0] = reinterpret_cast<aiocb *>(16);
	delete[] list;
	put(s.writer, "x");
	BOOST_TEST(finish(request) == ok(1));
}

// The application may look at each element to learn which ones were affected.
BOOST_AUTO_TEST_CASE(an_element_that_was_refused_does_not_look_as_it_did_after_an_earlier_use)
{
	File file = disk_file();
	BOOST_TEST(finish(start_write(file.fd, "xy")) == ok(2));
	Request &good = reading(file.fd, 1), &bad = reading(file.fd, 1);
	good.cb.aio_lio_opcode = bad.cb.aio_lio_opcode = LIO_READ;
	aiocb *list[] = {&good.cb, &bad.cb};
	BOOST_REQUIRE(lio_listio(LIO_WAIT, list, 2, nullptr) == 0);
	bad.cb.aio_reqprio = 21;
	BOOST_TEST(lio_listio(LIO_WAIT, list, 2, nullptr) == -1);
	BOOST_TEST(errno == EIO);
	BOOST_TEST(aio_error(&good.cb) == 0);
	BOOST_TEST(aio_error(&bad.cb) == EINVAL);
}
