// SPDX-License-Identifier: MIT
//
// Rule 17 where RLIMIT_NOFILE leaves the library no descriptor, or fewer than it has requests: what
// glibc carries out is carried out, in order, on the file that was meant; and nothing that has been
// accepted ends with EAGAIN.
#define BOOST_TEST_MODULE r17_no_descriptors
#include "support.hpp"

#include <sys/resource.h>

namespace {

constexpr rlim_t fewest = 0, most = 8;

void allow(rlim_t descriptors)
{
	const rlimit limit{descriptors, descriptors};
	CHILD_REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/// In a process of its own for each limit, reached before the library's first request or after it.
template <class Body> void with_every_limit(Body body)
{
	for (rlim_t n = fewest; n <= most; ++n)
		for (const bool begun : {false, true})
			BOOST_TEST(in_child([&] {
					   File file = disk_file();
					   put(file.fd, "begun");
					   if (begun)
						   CHILD_REQUIRE(finish(start_read(file.fd, 5)) ==
								 ok(5));
					   body(n);
				   }) == 0,
				   "with " << n << " descriptors" << (begun ? " later" : ""));
}

} // namespace

BOOST_AUTO_TEST_CASE(reads_of_a_stream_wait_and_end_in_their_order)
{
	with_every_limit([](rlim_t n) {
		Stream socket = unix_stream(), pipe = pipe_stream();
		allow(n);
		Request &first = start_read(socket.reader, 3),
			&second = start_read(socket.reader, 3), &other = start_read(pipe.reader, 2);
		put(pipe.writer, "xy");
		CHILD_REQUIRE(finish(other) == ok(2));
		CHILD_REQUIRE(aio_error(&first.cb) == EINPROGRESS);
		CHILD_REQUIRE(aio_error(&second.cb) == EINPROGRESS);
		put(socket.writer, "abcdef");
		CHILD_REQUIRE(finish(first) == ok(3));
		CHILD_REQUIRE(finish(second) == ok(3));
		CHILD_REQUIRE(first.text() == "abc");
		CHILD_REQUIRE(second.text() == "def");
	});
}

BOOST_AUTO_TEST_CASE(writes_of_a_stream_are_whole_and_in_their_order)
{
	with_every_limit([](rlim_t n) {
		constexpr size_t much = 1 << 20;
		Stream pipe = pipe_stream();
		allow(n);
		Request &first = start_write(pipe.writer, std::string(much, 'a')),
			&second = start_write(pipe.writer, std::string(much, 'b'));
		std::string got;
		char part[65536];
		while (got.size() < 2 * much) {
			const ssize_t r = read(pipe.reader, part, sizeof part);
			CHILD_REQUIRE(r > 0);
			got.append(part, static_cast<size_t>(r));
		}
		CHILD_REQUIRE(finish(first) == ok(much));
		CHILD_REQUIRE(finish(second) == ok(much));
		CHILD_REQUIRE(got == std::string(much, 'a') + std::string(much, 'b'));
	});
}

BOOST_AUTO_TEST_CASE(files_are_read_written_and_synchronized)
{
	with_every_limit([](rlim_t n) {
		File file = disk_file();
		const int append = open(file.path.c_str(), O_RDWR | O_APPEND);
		const int direct = open(file.path.c_str(), O_RDWR | O_DIRECT);
		alignas(4096) static char page[4096];
		allow(n);
		CHILD_REQUIRE(finish(start_write(file.fd, "file")) == ok(4));
		std::vector<Request *> appended;
		for (const char *const text : {"one", "two", "six"})
			appended.push_back(&start_write(append, text));
		Request &sync = keep(file.fd, 0);
		CHILD_REQUIRE(aio_fsync(O_SYNC, &sync.cb) == 0);
		for (Request *const r : appended)
			CHILD_REQUIRE(finish(*r) == ok(3));
		CHILD_REQUIRE(finish(sync) == ok(0));
		Request &back = start_read(file.fd, 13);
		CHILD_REQUIRE(finish(back) == ok(13));
		CHILD_REQUIRE(back.text() == "fileonetwosix");
		if (direct < 0)
			return;
		Request &hole = keep(direct, 0);
		hole.cb.aio_buf = page;
		hole.cb.aio_nbytes = sizeof page;
		hole.cb.aio_offset = 1 << 20;
		CHILD_REQUIRE(aio_write(&hole.cb) == 0);
		CHILD_REQUIRE(finish(hole) == ok(sizeof page));
	});
}

BOOST_AUTO_TEST_CASE(a_list_is_carried_out_whole)
{
	with_every_limit([](rlim_t n) {
		Stream pipe = pipe_stream(), other = pipe_stream();
		File file = disk_file();
		put(file.fd, "file");
		allow(n);
		Request &a = reading(pipe.reader, 1), &b = reading(other.reader, 1),
			&c = reading(file.fd, 4);
		aiocb *list[] = {&a.cb, &b.cb, &c.cb};
		for (aiocb *const cb : list)
			cb->aio_lio_opcode = LIO_READ;
		CHILD_REQUIRE(lio_listio(LIO_NOWAIT, list, 3, nullptr) == 0);
		put(other.writer, "b");
		CHILD_REQUIRE(finish(b) == ok(1));
		put(pipe.writer, "a");
		CHILD_REQUIRE(finish(a) == ok(1));
		CHILD_REQUIRE(finish(c) == ok(4));
	});
}

BOOST_AUTO_TEST_CASE(a_request_keeps_its_file_when_its_number_becomes_another, BETTER_THAN_GLIBC)
{
	with_every_limit([](rlim_t n) {
		Stream meant = pipe_stream(), later = pipe_stream();
		allow(n);
		Request &read = start_read(meant.reader, 5);
		// The limit is for the new number, not for one that is there.
		if (n > static_cast<rlim_t>(meant.reader))
			CHILD_REQUIRE(dup2(later.reader, meant.reader) == meant.reader);
		else
			meant.reader.reset();
		put(later.writer, "wrong");
		put(meant.writer, "right");
		CHILD_REQUIRE(finish(read) == ok(5));
		CHILD_REQUIRE(read.text() == "right");
	});
}

BOOST_AUTO_TEST_CASE(what_waits_can_be_cancelled_and_lets_go_of_its_file, BETTER_THAN_GLIBC)
{
	with_every_limit([](rlim_t n) {
		Stream pipe = pipe_stream();
		allow(n);
		Request &first = start_read(pipe.reader, 1), &second = start_read(pipe.reader, 1);
		CHILD_REQUIRE(aio_cancel(pipe.reader, &second.cb) == AIO_CANCELED);
		CHILD_REQUIRE(finish(second) == failed(ECANCELED));
		CHILD_REQUIRE(aio_error(&first.cb) == EINPROGRESS);
		CHILD_REQUIRE(aio_cancel(pipe.reader, nullptr) == AIO_CANCELED);
		CHILD_REQUIRE(finish(first) == failed(ECANCELED));
		pipe.reader.reset();
		signal(SIGPIPE, SIG_IGN);
		// Nobody has the reading end any more.
		CHILD_REQUIRE(eventually([&] { return write(pipe.writer, "x", 1) < 0; }));
		CHILD_REQUIRE(errno == EPIPE);
	});
}

BOOST_AUTO_TEST_CASE(many_that_wait_keep_up_nobody)
{
	BOOST_TEST(in_child([] {
			   constexpr int many = 60;
			   std::vector<Stream> streams;
			   std::vector<Request *> reads;
			   for (int i = 0; i < many; ++i)
				   streams.push_back(pipe_stream());
			   allow(fewest);
			   for (Stream &s : streams)
				   reads.push_back(&start_read(s.reader, 1));
			   for (int i = many - 1; i >= 0; --i) {
				   put(streams[i].writer, "x");
				   CHILD_REQUIRE(finish(*reads[i]) == ok(1));
			   }
		   }) == 0);
}
