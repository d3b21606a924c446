// SPDX-License-Identifier: MIT
//
// Rule 8: no limit on requests but memory and EAGAIN from a limit the user can set;
// the state of a request is in its aiocb alone; a submission returns at once.
// (held_file.cpp: the same for files, where the test decides when a transfer ends.)
#define BOOST_TEST_MODULE r08_limits
#include "support.hpp"

#include <sys/resource.h>

namespace {

constexpr int limit = 8; // what the cases below set SIGEVEC_REQUESTS to

/// Plain memory for very many requests of one byte.
struct Crowd {
	std::vector<aiocb> blocks;
	std::vector<char> bytes;
	explicit Crowd(size_t count) : blocks(count), bytes(count, '?') {}
	aiocb &prepare(size_t i, int fd)
	{
		aiocb &cb = blocks[i];
		memset(&cb, 0, sizeof cb);
		cb.aio_fildes = fd;
		cb.aio_buf = &bytes[i];
		cb.aio_nbytes = 1;
		cb.aio_sigevent.sigev_notify = SIGEV_NONE;
		return cb;
	}
};

/// As keep() does.
Crowd &keep_crowd(size_t count)
{
	static auto &kept = *new std::list<Crowd>;
	return kept.emplace_back(count);
}

std::vector<Stream> few_streams()
{
	std::vector<Stream> streams;
	for (StreamMaker make : {pipe_stream, fifo_stream, unix_stream_default, tcp_stream}) {
		streams.push_back(make());
		streams.push_back(make());
	}
	return streams;
}

/// Fills the limit with reads that wait.
std::vector<Request *> fill_the_limit(int fd)
{
	std::vector<Request *> reads;
	for (int i = 0; i < limit; ++i)
		reads.push_back(&start_read(fd, 1));
	return reads;
}
void check_refused(int result)
{
	BOOST_TEST(result == -1);
	BOOST_TEST(errno == EAGAIN);
}
int with_limit(const char *test_case)
{
	return run_self(test_case, {{"SIGEVEC_REQUESTS", "8"}});
}

} // namespace

BOOST_AUTO_TEST_CASE(tens_of_thousands_of_reads_wait_on_a_few_descriptors_and_complete_in_order)
{
	constexpr size_t count = 40000;
	std::vector<Stream> streams = few_streams();
	Crowd &crowd = keep_crowd(count);
	for (size_t i = 0; i < count; ++i)
		BOOST_TEST_REQUIRE(
			aio_read(&crowd.prepare(i, streams[i % streams.size()].reader)) == 0);
	std::string const data = pattern(count / streams.size());
	for (Stream &s : streams)
		put(s.writer, data);
	for (size_t i = 0; i < count; ++i) {
		BOOST_TEST_REQUIRE(finish(crowd.blocks[i]) == ok(1));
		BOOST_TEST_REQUIRE(crowd.bytes[i] == data[i / streams.size()]);
	}
}

BOOST_AUTO_TEST_CASE(ten_thousand_writes_wait_on_one_full_pipe)
{
	constexpr size_t count = 10000;
	Stream s = pipe_stream();
	const size_t filled = fill(s.writer);
	Crowd &crowd = keep_crowd(count);
	std::string const data = pattern(count);
	for (size_t i = 0; i < count; ++i) {
		crowd.bytes[i] = data[i];
		BOOST_TEST_REQUIRE(aio_write(&crowd.prepare(i, s.writer)) == 0);
	}
	take(s.reader, filled);
	BOOST_TEST((take(s.reader, count) == data));
	for (aiocb &cb : crowd.blocks)
		BOOST_TEST_REQUIRE(finish(cb) == ok(1));
}

BOOST_AUTO_TEST_CASE(ten_thousand_waiting_reads_are_cancelled_in_one_call, BETTER_THAN_GLIBC)
{
	constexpr size_t count = 10000;
	Stream s = unix_stream();
	Crowd &crowd = keep_crowd(count);
	for (size_t i = 0; i < count; ++i)
		BOOST_TEST_REQUIRE(aio_read(&crowd.prepare(i, s.reader)) == 0);
	BOOST_TEST(aio_cancel(s.reader, nullptr) == AIO_CANCELED);
	for (aiocb &cb : crowd.blocks)
		BOOST_TEST_REQUIRE(finish(cb) == failed(ECANCELED));
}

BOOST_AUTO_TEST_CASE(thousands_of_file_requests_at_once_all_complete)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		size_t const count = (kind.flags & O_DSYNC) != 0 ? 200 : 4000;
		std::vector<Request *> writes;
		for (size_t i = 0; i < count; ++i)
			writes.push_back(&start_write(
				file.fd, pattern(4096, static_cast<unsigned>(i)), off_t(i) * 4096));
		for (Request *request : writes)
			BOOST_TEST_REQUIRE(finish(*request) == ok(4096));
		for (size_t i = 0; i < count; i += 97)
			BOOST_TEST((file.content(4096, off_t(i) * 4096) ==
				    pattern(4096, static_cast<unsigned>(i))));
	});
}

BOOST_AUTO_TEST_CASE(a_long_list_is_taken_whole)
{
	constexpr int count = 20000;
	std::vector<Stream> streams = few_streams();
	Crowd &crowd = keep_crowd(count);
	std::vector<aiocb *> list;
	for (int i = 0; i < count; ++i) {
		list.push_back(&crowd.prepare(i, streams[i % streams.size()].reader));
		list.back()->aio_lio_opcode = LIO_READ;
	}
	BOOST_TEST_REQUIRE(lio_listio(LIO_NOWAIT, list.data(), count, nullptr) == 0);
	for (Stream &s : streams)
		put(s.writer, std::string(count / streams.size(), 'x'));
	std::vector<const aiocb *> waiting(list.begin(), list.end());
	BOOST_TEST(aio_suspend(waiting.data(), count, nullptr) == 0);
	for (aiocb &cb : crowd.blocks)
		BOOST_TEST_REQUIRE(finish(cb) == ok(1));
}

BOOST_AUTO_TEST_CASE(a_submission_on_a_full_stream_returns_at_once)
{
	for_each_stream([](Stream &s) {
		size_t const filled = fill(s.writer);
		// The call returned although not one byte fits.
		Request &write = start_write(s.writer, pattern(1 << 20)),
			&small = start_write(s.writer, "x");
		BOOST_TEST(write.pending());
		BOOST_TEST(small.pending());
		BOOST_TEST(take(s.reader, filled + (1 << 20) + 1).size() == filled + (1 << 20) + 1);
		BOOST_TEST(finish(write) == ok(1 << 20));
		BOOST_TEST(finish(small) == ok(1));
	});
}

// ------------------------------------------------------------- with a limit of 8

#define UNDER_THE_LIMIT *boost::unit_test::disabled()

BOOST_AUTO_TEST_CASE(one_more_than_the_limit, UNDER_THE_LIMIT)
{
	Stream s = unix_stream();
	std::vector<Request *> reads = fill_the_limit(s.reader);
	static std::atomic<int> signals;
	SignalHandler handler(
		SIGUSR1, +[](int) { ++signals; });
	Request &refused = reading(s.reader, 1);
	refused.cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	refused.cb.aio_sigevent.sigev_signo = SIGUSR1;
	check_refused(aio_read(&refused.cb));
	Request &write = writing(s.reader, "not sent");
	check_refused(aio_write(&write.cb));
	File file = disk_file();
	Request &sync = keep(file.fd, 0);
	check_refused(aio_fsync(O_SYNC, &sync.cb));
	BOOST_TEST(!has_data(s.writer));
	put(s.writer, "abcdefgh");
	for (int i = 0; i < limit; ++i) {
		BOOST_TEST(finish(*reads[i]) == ok(1));
		BOOST_TEST(reads[i]->text() == std::string(1, "abcdefgh"[i]));
	}
	put(s.writer, "i");
	BOOST_TEST(take(s.reader, 1) == "i");
	BOOST_TEST(refused.text() == "?");
	BOOST_TEST(signals == 0);
}

BOOST_AUTO_TEST_CASE(room_returns_with_each_completion, UNDER_THE_LIMIT)
{
	Stream s = pipe_stream();
	std::vector<Request *> reads = fill_the_limit(s.reader);
	for (size_t i = 0; i < 50; ++i) {
		Request &next = reading(s.reader, 1);
		check_refused(aio_read(&next.cb));
		put(s.writer, "x");
		BOOST_TEST_REQUIRE(finish(*reads[i]) == ok(1));
		// aio_return needs no call for room: completion is enough.
		BOOST_TEST_REQUIRE(
			eventually([&] { return aio_read(&next.cb) == 0 || errno != EAGAIN; }));
		reads.push_back(&next);
	}
}

BOOST_AUTO_TEST_CASE(a_completed_request_takes_no_room_even_if_nobody_asks_for_it, UNDER_THE_LIMIT)
{
	File file = disk_file();
	for (int i = 0; i < 100; ++i) {
		Request &request = writing(file.fd, "x", i);
		BOOST_TEST_REQUIRE(
			eventually([&] { return aio_write(&request.cb) == 0 || errno != EAGAIN; }));
		BOOST_TEST_REQUIRE(eventually([&] { return request.error() == 0; }));
	}
}

BOOST_AUTO_TEST_CASE(a_cancelled_request_takes_no_room, UNDER_THE_LIMIT)
{
	Stream s = pipe_stream();
	for (int round = 0; round < 20; ++round) {
		std::vector<Request *> reads;
		for (int i = 0; i < limit; ++i) {
			reads.push_back(&reading(s.reader, 1));
			aiocb &cb = reads.back()->cb;
			BOOST_TEST_REQUIRE(
				eventually([&] { return aio_read(&cb) == 0 || errno != EAGAIN; }));
		}
		for (Request *request : reads) {
			BOOST_TEST(aio_cancel(s.reader, &request->cb) == AIO_CANCELED);
			BOOST_TEST(finish(*request) == failed(ECANCELED));
		}
	}
}

BOOST_AUTO_TEST_CASE(a_list_beyond_the_limit, UNDER_THE_LIMIT)
{
	Stream s = unix_stream();
	std::vector<Request *> reads;
	std::vector<aiocb *> list;
	for (int i = 0; i < 12; ++i) {
		reads.push_back(&reading(s.reader, 1));
		reads.back()->cb.aio_lio_opcode = LIO_READ;
		list.push_back(&reads.back()->cb);
	}
	check_refused(lio_listio(LIO_NOWAIT, list.data(), 12, nullptr));
	std::string expected;
	std::vector<Request *> queued;
	for (Request *request : reads) {
		if (request->pending())
			queued.push_back(request);
		else
			BOOST_TEST(request->error() == EAGAIN);
	}
	BOOST_TEST(queued.size() <= size_t{limit});
	put(s.writer, "abcdefghijkl");
	for (size_t i = 0; i < queued.size(); ++i) {
		BOOST_TEST(finish(*queued[i]) == ok(1));
		BOOST_TEST(queued[i]->text() == std::string(1, "abcdefghijkl"[i]));
	}
	BOOST_TEST(take(s.reader, 12 - queued.size()).size() == 12 - queued.size());
}

BOOST_AUTO_TEST_CASE(the_limit_set_by_environment_is_kept_and_the_request_beyond_it_does_nothing,
		     BETTER_THAN_GLIBC)
{
	BOOST_TEST(with_limit("one_more_than_the_limit") == 0);
	BOOST_TEST(with_limit("a_list_beyond_the_limit") == 0);
}

BOOST_AUTO_TEST_CASE(only_outstanding_requests_count_against_the_limit, BETTER_THAN_GLIBC)
{
	BOOST_TEST(with_limit("room_returns_with_each_completion") == 0);
	BOOST_TEST(with_limit("a_completed_request_takes_no_room_even_if_nobody_asks_for_it") == 0);
	BOOST_TEST(with_limit("a_cancelled_request_takes_no_room") == 0);
}

/// Its own process, so that the library meets the shortage at its very first request.
BOOST_AUTO_TEST_CASE(first_request_without_a_free_descriptor, *boost::unit_test::disabled())
{
	Stream s = pipe_stream();
	File file = disk_file();
	const rlimit none{static_cast<rlim_t>(file.fd) + 1, static_cast<rlim_t>(file.fd) + 1};
	BOOST_TEST_REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
	BOOST_TEST_REQUIRE(dup(file.fd) == -1);
	Request &write = writing(file.fd, "x"), &read = reading(s.reader, 1);
	const Outcome written = finish_or_refused(aio_write(&write.cb), write.cb);
	BOOST_TEST((written == ok(1) || written == failed(EAGAIN)), "ended with " << written);
	const int submitted = aio_read(&read.cb);
	put(s.writer, "x");
	const Outcome got = finish_or_refused(submitted, read.cb);
	BOOST_TEST((got == ok(1) || got == failed(EAGAIN)), "ended with " << got);
}

// The undefined behaviour sanitizer looks at objects through a pipe of its own: without one it
// takes them for broken.
BOOST_AUTO_TEST_CASE(without_a_free_descriptor_requests_work_or_give_eagain,
		     *boost::unit_test::enable_if<!address_sanitizer>())
{
	BOOST_TEST(run_self("first_request_without_a_free_descriptor", {}) == 0);
}
