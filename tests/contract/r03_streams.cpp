// SPDX-License-Identifier: MIT
//
// Rule 3, first part: requests on one stream run in submission order per direction,
// each write whole, as a blocking write would be. (r03_independence.cpp: a blocked
// direction or descriptor never holds up another.)
#define BOOST_TEST_MODULE r03_streams
#include "support.hpp"

namespace {

std::vector<Request *> start_reads(int fd, size_t count, size_t bytes)
{
	std::vector<Request *> reads;
	for (size_t i = 0; i < count; ++i)
		reads.push_back(&start_read(fd, bytes));
	return reads;
}
std::string joined(const std::vector<Request *> &reads)
{
	std::string text;
	for (Request *request : reads) {
		const Outcome end = finish(*request);
		BOOST_TEST(end.error == 0);
		if (end.result > 0)
			text.append(request->data(), static_cast<size_t>(end.result));
	}
	return text;
}

/// Sizes around the limits where an implementation might change its way of working.
std::vector<std::string> uneven_pieces()
{
	std::vector<std::string> pieces;
	unsigned seed = 7;
	for (size_t bytes :
	     {1u, 4095u, 4096u, 4097u, 10u, 65536u, 1u, 65537u, 300u, 200000u, 2u, 1u})
		pieces.push_back(pattern(bytes, seed++));
	return pieces;
}

} // namespace

BOOST_AUTO_TEST_CASE(pending_reads_take_the_data_in_submission_order)
{
	for_each_stream([](Stream &s) {
		std::string const data = pattern(50);
		auto const reads = start_reads(s.reader, 50, 1);
		put(s.writer, data);
		BOOST_TEST(joined(reads) == data);
	});
}

BOOST_AUTO_TEST_CASE(a_read_submitted_when_data_is_there_does_not_overtake_pending_ones)
{
	for_each_stream([](Stream &s) {
		for (int round = 0; round < 50; ++round) {
			std::string const data = pattern(20, round);
			auto reads = start_reads(s.reader, 10, 1);
			put(s.writer, data);
			for (Request *request : start_reads(s.reader, 10, 1))
				reads.push_back(request);
			BOOST_TEST_REQUIRE(joined(reads) == data);
		}
	});
}

BOOST_AUTO_TEST_CASE(data_that_is_already_there_is_read_in_submission_order)
{
	for_each_stream([](Stream &s) {
		std::string const data = pattern(500);
		put(s.writer, data);
		BOOST_TEST(joined(start_reads(s.reader, 500, 1)) == data);
	});
}

BOOST_AUTO_TEST_CASE(a_list_of_reads_runs_in_list_order)
{
	for_each_stream([](Stream &s) {
		std::string const data = pattern(30);
		std::vector<Request *> reads;
		std::vector<aiocb *> list;
		for (int i = 0; i < 30; ++i) {
			reads.push_back(&reading(s.reader, 1));
			reads.back()->cb.aio_lio_opcode = LIO_READ;
			list.push_back(&reads.back()->cb);
		}
		BOOST_TEST_REQUIRE(lio_listio(LIO_NOWAIT, list.data(), 30, nullptr) == 0);
		put(s.writer, data);
		BOOST_TEST(joined(reads) == data);
	});
}

BOOST_AUTO_TEST_CASE(a_list_of_writes_runs_in_list_order)
{
	for_each_stream([](Stream &s) {
		std::string expected;
		std::vector<aiocb *> list;
		for (std::string const &piece : uneven_pieces()) {
			list.push_back(&writing(s.writer, piece).cb);
			list.back()->aio_lio_opcode = LIO_WRITE;
			expected += piece;
		}
		BOOST_TEST_REQUIRE(lio_listio(LIO_NOWAIT, list.data(),
					      static_cast<int>(list.size()), nullptr) == 0);
		BOOST_TEST((take(s.reader, expected.size()) == expected));
		for (aiocb *cb : list)
			BOOST_TEST(finish(*cb) == ok(static_cast<ssize_t>(cb->aio_nbytes)));
	});
}

BOOST_AUTO_TEST_CASE(writes_come_out_in_submission_order_and_unmixed)
{
	for_each_stream([](Stream &s) {
		std::string expected;
		std::vector<Request *> writes;
		for (std::string const &piece : uneven_pieces()) {
			writes.push_back(&start_write(s.writer, piece));
			expected += piece;
		}
		BOOST_TEST((take(s.reader, expected.size()) == expected));
		for (Request *request : writes)
			BOOST_TEST(finish(*request) == ok(static_cast<ssize_t>(request->size)));
	});
}

BOOST_AUTO_TEST_CASE(a_small_write_does_not_overtake_a_blocked_large_one)
{
	for_each_stream([](Stream &s) {
		std::string const large = pattern(1 << 20), small = "small";
		Request &first = start_write(s.writer, large);
		Request &second = start_write(s.writer, small);
		// Room appears bit by bit, so the small one would fit long before the large one is
		// through.
		BOOST_TEST((take(s.reader, large.size()) == large));
		BOOST_TEST(take(s.reader, small.size()) == small);
		BOOST_TEST(finish(first) == ok(1 << 20));
		BOOST_TEST(finish(second) == ok(5));
	});
}

BOOST_AUTO_TEST_CASE(a_write_larger_than_the_streams_buffer_is_reported_when_all_of_it_is_written)
{
	for_each_stream([](Stream &s) {
		std::string const data = pattern(3 << 20);
		Request &request = start_write(s.writer, data);
		std::string got;
		while (got.size() + (1 << 20) < data.size()) {
			got += take(s.reader, 4096);
			// More than a megabyte is still unread, more than any of these streams
			// holds by default.
			BOOST_TEST_REQUIRE(request.pending());
		}
		got += take(s.reader, data.size() - got.size());
		BOOST_TEST((got == data));
		BOOST_TEST(finish(request) == ok(3 << 20));
	});
}

BOOST_AUTO_TEST_CASE(each_threads_writes_stay_in_its_order)
{
	for_each_stream([](Stream &s) {
		auto submit = [&](char from) {
			for (char c = from; c < from + 26; ++c) {
				Request &request = writing(s.writer, std::string(1000, c));
				if (aio_write(&request.cb) != 0)
					abort();
			}
		};
		std::thread lower(submit, 'a'), upper(submit, 'A');
		std::string const got = take(s.reader, 52000);
		lower.join();
		upper.join();
		std::string order[2];
		for (size_t i = 0; i < got.size(); i += 1000) {
			BOOST_TEST_REQUIRE(got.substr(i, 1000) == std::string(1000, got[i]));
			order[got[i] >= 'a'] += got[i];
		}
		BOOST_TEST(order[0] == "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
		BOOST_TEST(order[1] == "abcdefghijklmnopqrstuvwxyz");
	});
}

BOOST_AUTO_TEST_CASE(a_read_takes_what_is_there_like_read)
{
	for_each_stream([](Stream &s) {
		Request &request = start_read(s.reader, 100);
		put(s.writer, "hello");
		BOOST_TEST(finish(request) == ok(5));
		BOOST_TEST(request.text().substr(0, 5) == "hello");
	});
}

BOOST_AUTO_TEST_CASE(the_offset_means_nothing_to_a_stream)
{
	for_each_stream([](Stream &s) {
		Request &write = start_write(s.writer, "hello", 123456);
		Request &read = start_read(s.reader, 5, off_t{1} << 40);
		BOOST_TEST(finish(write) == ok(5));
		BOOST_TEST(finish(read) == ok(5));
		BOOST_TEST(read.text() == "hello");
	});
}

BOOST_AUTO_TEST_CASE(pending_reads_end_with_zero_at_the_end_of_the_stream)
{
	for (StreamMaker make : {pipe_stream, fifo_stream, unix_stream_default, tcp_stream}) {
		Stream s = make();
		BOOST_TEST_CONTEXT("stream: " << s.name)
		{
			const auto reads = start_reads(s.reader, 3, 10);
			s.writer.reset();
			for (Request *request : reads)
				BOOST_TEST(finish(*request) == ok(0));
			BOOST_TEST(finish(start_read(s.reader, 10)) == ok(0));
		}
	}
}

BOOST_AUTO_TEST_CASE(a_hung_up_terminal_ends_its_reads_as_read_would)
{
	Stream s = pty_stream();
	Request &request = start_read(s.writer, 10);
	s.reader.reset();
	BOOST_TEST(finish(request) == failed(EIO));
}

BOOST_AUTO_TEST_CASE(a_terminal_in_canonical_mode_gives_a_line_to_each_read)
{
	int master, slave;
	BOOST_TEST_REQUIRE(openpty(&master, &slave, nullptr, nullptr, nullptr) == 0);
	Fd keyboard(master), terminal(slave);
	Request &first = start_read(terminal, 100);
	Request &second = start_read(terminal, 100);
	put(keyboard, "one");
	BOOST_TEST(first.pending());
	put(keyboard, "\ntwo\n");
	BOOST_TEST(finish(first) == ok(4));
	BOOST_TEST(finish(second) == ok(4));
	BOOST_TEST(first.text().substr(0, 4) == "one\n");
	BOOST_TEST(second.text().substr(0, 4) == "two\n");
}

BOOST_AUTO_TEST_CASE(datagrams_and_packets_keep_their_boundaries)
{
	for (int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
		Stream s = unix_stream(type);
		const auto reads = start_reads(s.reader, 4, 100);
		for (const char *text : {"one", "three", "fifteen", "x"})
			start_write(s.writer, text);
		const ssize_t sizes[] = {3, 5, 7, 1};
		for (size_t i = 0; i < reads.size(); ++i)
			BOOST_TEST(finish(*reads[i]) == ok(sizes[i]));
	}
}

BOOST_AUTO_TEST_CASE(a_failed_request_does_not_stop_those_behind_it)
{
	for_each_stream([](Stream &s) {
		Request &bad = reading(s.reader, 10);
		bad.cb.aio_buf = reinterpret_cast<void *>(8);
		BOOST_TEST_REQUIRE(aio_read(&bad.cb) == 0);
		Request &good = start_read(s.reader, 1);
		put(s.writer, "abc");
		BOOST_TEST(finish(bad) == failed(EFAULT));
		put(s.writer, "abc"); // a terminal loses what it could not deliver
		BOOST_TEST(finish(good) == ok(1));
	});
}

// A terminal has one write at a time: behind one that waits for room, a write of nothing would
// wait.
BOOST_AUTO_TEST_CASE(a_write_of_nothing_to_a_terminal_is_not_overtaken_by_later_ones,
		     BETTER_THAN_GLIBC)
{
	for (int i = 0; i < 60; i++) {
		Stream s = pty_stream();
		std::string const large = pattern(60000);
		Request &nothing = writing(s.reader, ""), &much = writing(s.reader, large);
		nothing.cb.aio_lio_opcode = much.cb.aio_lio_opcode = LIO_WRITE;
		aiocb *list[] = {&nothing.cb, &much.cb};
		BOOST_TEST_REQUIRE(lio_listio(LIO_NOWAIT, list, 2, nullptr) == 0);
		BOOST_TEST_REQUIRE(finish(nothing) == ok(0));
		BOOST_TEST(much.pending());
		BOOST_TEST(take(s.writer, large.size()) == large);
		BOOST_TEST(finish(much) == ok(60000));
	}
}
