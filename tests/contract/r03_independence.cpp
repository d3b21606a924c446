// SPDX-License-Identifier: MIT
//
// Rule 3, second part: a pending read never holds up a write on the same descriptor,
// and blocked descriptors never starve others, however many.
#define BOOST_TEST_MODULE r03_independence
#include "support.hpp"

#include <sys/eventfd.h>

namespace {

constexpr int many = 1000;

/// Every kind of request that needs nobody's help must get through.
void check_everything_else_works()
{
	for_each_stream([](Stream &s) {
		Request &read = start_read(s.reader, 4);
		Request &write = start_write(s.writer, "ping");
		BOOST_TEST(finish(write) == ok(4));
		BOOST_TEST(finish(read) == ok(4));
	});
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		BOOST_TEST(finish(start_write(file.fd, pattern(4096))) == ok(4096));
		Request &sync = keep(file.fd, 0);
		BOOST_TEST(aio_fsync(O_SYNC, &sync.cb) == 0);
		BOOST_TEST(finish(sync) == ok(0));
		Request &read = start_read(file.fd, 4096);
		BOOST_TEST(finish(read) == ok(4096));
		BOOST_TEST((read.text() == pattern(4096)));
	});
}

} // namespace

BOOST_AUTO_TEST_CASE(a_pending_read_never_holds_up_a_write_on_the_same_descriptor,
		     BETTER_THAN_GLIBC)
{
	for_each_duplex_stream([](Stream &s) {
		for (int end : {int(s.reader), int(s.writer)}) {
			int const peer = end == s.reader ? s.writer : s.reader;
			Request &read = start_read(end, 1);
			Request &write = start_write(end, "out");
			BOOST_TEST(finish(write) == ok(3));
			BOOST_TEST(take(peer, 3) == "out");
			BOOST_TEST(read.pending());
			put(peer, "i");
			BOOST_TEST(finish(read) == ok(1));
		}
	});
}

BOOST_AUTO_TEST_CASE(both_directions_of_one_descriptor_keep_their_own_order, BETTER_THAN_GLIBC)
{
	for_each_duplex_stream([](Stream &s) {
		std::string const in = pattern(20, 1), out = pattern(20, 2);
		std::vector<Request *> reads, writes;
		for (size_t i = 0; i < 20; ++i) {
			reads.push_back(&start_read(s.reader, 1));
			writes.push_back(&start_write(s.reader, out.substr(i, 1)));
		}
		BOOST_TEST(take(s.writer, 20) == out);
		put(s.writer, in);
		for (size_t i = 0; i < 20; ++i) {
			BOOST_TEST(finish(*reads[i]) == ok(1));
			BOOST_TEST(reads[i]->text() == in.substr(i, 1));
		}
		for (Request *request : writes)
			BOOST_TEST(finish(*request) == ok(1));
	});
}

BOOST_AUTO_TEST_CASE(a_fifo_can_feed_its_own_pending_read, BETTER_THAN_GLIBC)
{
	std::string const path = temp_name("/tmp");
	BOOST_TEST_REQUIRE(mkfifo(path.c_str(), 0600) == 0);
	Fd both(open(path.c_str(), O_RDWR | O_CLOEXEC));
	unlink(path.c_str());
	Request &read = start_read(both, 5);
	Request &write = start_write(both, "hello");
	BOOST_TEST(finish(write) == ok(5));
	BOOST_TEST(finish(read) == ok(5));
	BOOST_TEST(read.text() == "hello");
}

BOOST_AUTO_TEST_CASE(an_eventfd_can_be_read_and_written_at_the_same_time, BETTER_THAN_GLIBC)
{
	Fd event(eventfd(0, EFD_CLOEXEC));
	Request &read = start_read(event, 8);
	const uint64_t seven = 7;
	Request &write = start_write(event, {reinterpret_cast<const char *>(&seven), 8});
	BOOST_TEST(finish(write) == ok(8));
	BOOST_TEST(finish(read) == ok(8));
	uint64_t got;
	memcpy(&got, read.data(), 8);
	BOOST_TEST(got == 7u);
}

BOOST_AUTO_TEST_CASE(a_blocked_write_never_holds_up_a_read_on_the_same_descriptor,
		     BETTER_THAN_GLIBC)
{
	for_each_duplex_stream([](Stream &s) {
		size_t const filled = fill(s.reader);
		Request &write = start_write(s.reader, pattern(1 << 20));
		Request &read = start_read(s.reader, 2);
		put(s.writer, "in");
		BOOST_TEST(finish(read) == ok(2));
		BOOST_TEST(write.pending());
		take(s.writer, filled);
		BOOST_TEST((take(s.writer, 1 << 20) == pattern(1 << 20)));
		BOOST_TEST(finish(write) == ok(1 << 20));
	});
}

/// A read waits on each of so many streams, of these kinds by turns.
static void check_that_blocked_reads_starve_nobody(int count, const std::vector<StreamMaker> &kinds)
{
	std::vector<Stream> streams;
	std::vector<Request *> reads;
	for (int i = 0; i < count; ++i) {
		streams.push_back(kinds[size_t(i) % kinds.size()]());
		reads.push_back(&start_read(streams.back().reader, 1));
	}
	check_everything_else_works();
	for (Stream &s : streams)
		put(s.writer, "x");
	for (Request *request : reads)
		BOOST_TEST_REQUIRE(finish(*request) == ok(1));
}

BOOST_AUTO_TEST_CASE(a_thousand_blocked_reads_starve_nobody_and_all_complete, BETTER_THAN_GLIBC)
{
	check_that_blocked_reads_starve_nobody(many,
					       {pipe_stream, unix_stream_default, tcp_stream});
}

BOOST_AUTO_TEST_CASE(blocked_terminals_starve_nobody, BETTER_THAN_GLIBC)
{
	check_that_blocked_reads_starve_nobody(60, {pty_stream});
}

BOOST_AUTO_TEST_CASE(blocked_event_descriptors_starve_nobody, BETTER_THAN_GLIBC)
{
	std::vector<Fd> events;
	std::vector<Request *> reads;
	for (int i = 0; i < 200; ++i) {
		events.emplace_back(eventfd(0, EFD_CLOEXEC));
		reads.push_back(&start_read(events.back(), 8));
	}
	check_everything_else_works();
	for (Fd &event : events)
		eventfd_write(event, 1);
	for (Request *request : reads)
		BOOST_TEST_REQUIRE(finish(*request) == ok(8));
}

BOOST_AUTO_TEST_CASE(hundreds_of_blocked_writes_starve_nobody_and_all_complete, BETTER_THAN_GLIBC)
{
	std::vector<Stream> streams;
	std::vector<Request *> writes;
	const StreamMaker kinds[] = {pipe_stream, fifo_stream, unix_stream_default};
	for (int i = 0; i < 300; ++i) {
		streams.push_back(kinds[i % 3]());
		fill(streams.back().writer);
		writes.push_back(&start_write(streams.back().writer, pattern(5000)));
	}
	check_everything_else_works();
	for (size_t i = 0; i < writes.size(); ++i) {
		while (writes[i]->pending() || has_data(streams[i].reader)) {
			char block[65536];
			pollfd ready{streams[i].reader, POLLIN, 0};
			if (poll(&ready, 1, 1) > 0)
				BOOST_TEST_REQUIRE(read(streams[i].reader, block, sizeof block) >
						   0);
		}
		BOOST_TEST_REQUIRE(finish(*writes[i]) == ok(5000));
	}
}

BOOST_AUTO_TEST_CASE(long_queues_on_a_few_descriptors_hold_up_no_other, BETTER_THAN_GLIBC)
{
	std::vector<Stream> streams;
	std::vector<Request *> reads;
	for (int i = 0; i < 30; ++i) {
		streams.push_back(unix_stream());
		for (int j = 0; j < 100; ++j)
			reads.push_back(&start_read(streams.back().reader, 1));
	}
	check_everything_else_works();
	for (Stream &s : streams)
		put(s.writer, std::string(100, 'x'));
	for (Request *request : reads)
		BOOST_TEST_REQUIRE(finish(*request) == ok(1));
}

BOOST_AUTO_TEST_CASE(two_descriptors_of_one_socket_do_not_wait_for_each_other)
{
	Stream s = unix_stream();
	Fd again(dup(s.reader));
	Request &read = start_read(s.reader, 1);
	Request &write = start_write(again, "out");
	BOOST_TEST(finish(write) == ok(3));
	BOOST_TEST(take(s.writer, 3) == "out");
	put(s.writer, "i");
	BOOST_TEST(finish(read) == ok(1));
}
