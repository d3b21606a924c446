// SPDX-License-Identifier: MIT
//
// Rule 3: a stream is an open file, not an inode. Terminals opened by /dev/ptmx, both
// ends of a pipe, a FIFO opened twice and descriptors without an inode of their own
// share a device and an inode number; a duplicate shares more than that.
#define BOOST_TEST_MODULE r03_open_files
#include "channel.hpp"
#include "refusal.hpp"

#include <sys/eventfd.h>
#include <sys/resource.h>

namespace {

BOOST_TEST_GLOBAL_FIXTURE(RefuseAsTold);

struct Terminal {
	Fd master, slave;
	Terminal()
	{
		Stream s = pty_stream();
		master.reset(s.writer.release());
		slave.reset(s.reader.release());
	}
};

/// Opened for writing first, so that neither call waits.
struct Fifo {
	std::string path = temp_name("/tmp");
	Fd writer;
	Fifo()
	{
		BOOST_TEST_REQUIRE(mkfifo(path.c_str(), 0600) == 0);
		writer.reset(open(path.c_str(), O_RDWR | O_CLOEXEC));
	}
	~Fifo() { unlink(path.c_str()); }
	Fd reader(int flags = 0) const
	{
		return Fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | flags));
	}
};

} // namespace

BOOST_AUTO_TEST_CASE(terminals_are_written_apart_though_their_masters_share_an_inode)
{
	Terminal one, two;
	Request &waits = start_write(one.master, pattern(200000));
	BOOST_TEST(finish(start_write(two.master, "two")) == ok(3));
	BOOST_TEST(take(two.slave, 3) == "two");
	BOOST_TEST((take(one.slave, 200000) == pattern(200000)));
	BOOST_TEST(finish(waits) == ok(200000));
}

BOOST_AUTO_TEST_CASE(terminals_are_read_apart_though_their_masters_share_an_inode)
{
	Terminal one, two;
	Request &first = start_read(one.master, 8), &second = start_read(two.master, 8);
	put(two.slave, "two");
	BOOST_TEST(finish(second) == ok(3));
	BOOST_TEST(second.text().substr(0, 3) == "two");
	BOOST_TEST(first.pending());
	put(one.slave, "one");
	BOOST_TEST(finish(first) == ok(3));
	BOOST_TEST(first.text().substr(0, 3) == "one");
}

BOOST_AUTO_TEST_CASE(many_terminals_each_get_their_own)
{
	constexpr int count = 40;
	std::vector<Terminal> terminals(count);
	std::vector<Request *> reads;
	for (int round = 0; round < 3; ++round)
		for (Terminal &t : terminals)
			reads.push_back(&start_read(t.master, 4));
	for (int round = 0; round < 3; ++round)
		for (int i = count - 1; i >= 0; --i) {
			std::string const said = std::to_string(1000 + 100 * round + i);
			put(terminals[size_t(i)].slave, said);
			Request &read = *reads[size_t(round * count + i)];
			BOOST_TEST(finish(read) == ok(4));
			BOOST_TEST(read.text() == said);
		}
}

BOOST_AUTO_TEST_CASE(the_wrong_end_of_a_pipe_is_ebadf_also_behind_requests_of_the_right_one)
{
	Stream s = pipe_stream();
	Request &read = start_read(s.reader, 8);
	BOOST_TEST(finish(start_read(s.writer, 8)) == failed(EBADF));
	put(s.writer, "12345678");
	BOOST_TEST(finish(read) == ok(8));
	const size_t filled = fill(s.writer);
	Request &write = start_write(s.writer, "whole");
	BOOST_TEST(finish(start_write(s.reader, "wrong")) == failed(EBADF));
	take(s.reader, filled);
	BOOST_TEST(take(s.reader, 5) == "whole");
	BOOST_TEST(finish(write) == ok(5));
	BOOST_TEST(!has_data(s.reader));
}

BOOST_AUTO_TEST_CASE(o_nonblock_is_that_of_the_open_file)
{
	Fifo fifo;
	Fd waiting = fifo.reader(), never = fifo.reader(O_NONBLOCK);
	Request &waits = start_read(waiting, 8);
	BOOST_TEST(finish(start_read(never, 8)) == failed(EAGAIN));
	BOOST_TEST(waits.pending());
	put(fifo.writer, "fifo");
	BOOST_TEST(finish(waits) == ok(4));
}

BOOST_AUTO_TEST_CASE(duplicates_of_a_descriptor_are_one_stream)
{
	for_each_stream([](Stream &s) {
		Fd again(dup(s.reader)), and_again(dup(s.writer));
		std::vector<Request *> reads;
		for (int i = 0; i < 20; ++i)
			reads.push_back(&start_read(i % 2 == 0 ? s.reader : again, 1));
		put(s.writer, "abcdefghijklmnopqrst");
		for (int i = 0; i < 20; ++i) {
			BOOST_TEST(finish(*reads[size_t(i)]) == ok(1));
			BOOST_TEST(reads[size_t(i)]->text() == std::string(1, char('a' + i)));
		}
		std::vector<Request *> writes;
		std::string all;
		for (unsigned i = 0; i < 8; ++i) {
			writes.push_back(
				&start_write(i % 2 == 0 ? s.writer : and_again, pattern(30000, i)));
			all += pattern(30000, i);
		}
		BOOST_TEST((take(s.reader, all.size()) == all));
		for (Request *write : writes)
			BOOST_TEST(finish(*write) == ok(30000));
	});
}

BOOST_AUTO_TEST_CASE(what_waits_on_one_file_takes_one_descriptor)
{
	const int status = in_child([] {
		Stream s = unix_stream();
		Fd counter(eventfd(0, EFD_SEMAPHORE));
		rlimit const few{100, 100};
		CHILD_REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
		std::vector<Request *> reads, counts;
		ec_t const ec = ec_create(0);
		constexpr int polls = 500;
		for (int i = 0; i < polls; ++i) {
			reads.push_back(&start_read(s.reader, 1));
			counts.push_back(&start_read(counter, 8));
			CHILD_REQUIRE(ev_poll(s.reader, POLLIN, ec, &reads) == 0);
		}
		uint64_t const all = polls;
		put(counter, {reinterpret_cast<char const *>(&all), sizeof all});
		for (Request *count : counts)
			CHILD_REQUIRE(finish(*count) == ok(8));
		for (Request *read : reads)
			CHILD_REQUIRE(read->pending());
		put(s.writer, pattern(polls + 1));
		for (Request *read : reads)
			CHILD_REQUIRE(finish(*read) == ok(1));
		for (int i = 0; i < polls; ++i) {
			event_data_t event;
			CHILD_REQUIRE(ec_next_event(ec, &event) == 0 && event.ev_errno == 0 &&
				      event.ev_result == POLLIN);
		}
	});
	BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(polls_of_one_file_wait_each_for_its_own)
{
	Channel ec;
	Stream s = unix_stream();
	int in, out, ended;
	BOOST_TEST_REQUIRE(ev_poll(s.reader, POLLIN, ec, &in) == 0);
	const size_t filled = fill(s.reader);
	BOOST_TEST_REQUIRE(ev_poll(s.reader, POLLOUT, ec, &out) == 0);
	BOOST_TEST_REQUIRE(ev_poll(s.reader, 0, ec, &ended) == 0);
	put(s.writer, "x");
	event_data_t event;
	BOOST_TEST((ec_next_event(ec, &event) == 0 && event.ev_data == &in &&
		    event.ev_result == POLLIN));
	take(s.writer, filled);
	BOOST_TEST((ec_next_event(ec, &event) == 0 && event.ev_data == &out &&
		    event.ev_result == POLLOUT));
	s.writer.reset();
	BOOST_TEST((ec_next_event(ec, &event) == 0 && event.ev_data == &ended &&
		    (event.ev_result & POLLHUP) != 0));
}

BOOST_AUTO_TEST_CASE(the_same_where_the_kernel_does_not_compare_files)
{
	if (getenv(refused_name) != nullptr)
		return;
	for (const char *what : {"kcmp", "files"})
		BOOST_TEST(run_self("!the_same_where_the_kernel_does_not_compare_files",
				    {{refused_name, what}}) == 0,
			   "refused: " << what);
}
