// SPDX-License-Identifier: MIT
//
// Rule 4: with O_APPEND, writes land in the order of the calls; aio_fsync covers every
// request on that descriptor queued before it, whatever its priority. (held_file.cpp
// shows the same where the test decides when a write gets through, and that aio_fsync
// stalls nobody else.)
#define BOOST_TEST_MODULE r04_append_fsync
#include "refusal.hpp"
#include "support.hpp"

#include <sys/mman.h>
#include <sys/uio.h>

namespace {

BOOST_TEST_GLOBAL_FIXTURE(RefuseAsTold);

/// Sizes from one byte to above the limits where an implementation might change its way of working.
size_t uneven_size(int i)
{
	static const size_t sizes[] = {1, 5000, 17, 70000, 4096, 3, 300000, 512, 1, 65536};
	return sizes[i % 10];
}

std::vector<FileKind> appendable_kinds()
{
	std::vector<FileKind> kinds;
	for (const FileKind &kind : file_kinds())
		if ((kind.flags & O_DIRECT) == 0)
			kinds.push_back(kind);
	return kinds;
}

Request &start_fsync(int fd, int op = O_SYNC)
{
	Request &request = keep(fd, 0);
	BOOST_TEST_REQUIRE(aio_fsync(op, &request.cb) == 0);
	return request;
}

} // namespace

BOOST_AUTO_TEST_CASE(appends_of_any_size_land_in_the_order_of_the_calls)
{
	for (const FileKind &kind : appendable_kinds()) {
		BOOST_TEST_CONTEXT("file: " << kind.name)
		{
			File file = make_file(kind, O_APPEND);
			std::vector<Request *> writes;
			std::string expected;
			for (int i = 0; i < 100; ++i) {
				expected += pattern(uneven_size(i), i);
				writes.push_back(&start_write(file.fd, pattern(uneven_size(i), i)));
			}
			for (Request *request : writes)
				BOOST_TEST(finish(*request) ==
					   ok(static_cast<ssize_t>(request->size)));
			BOOST_TEST((file.content() == expected));
		}
	}
}

BOOST_AUTO_TEST_CASE(direct_appends_land_in_the_order_of_the_calls)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind, O_APPEND);
		std::vector<Request *> writes;
		std::string expected;
		for (int i = 0; i < 200; ++i) {
			std::string const block = pattern(4096 * (1 + i % 3), i);
			expected += block;
			writes.push_back(&start_write(file.fd, block));
		}
		for (Request *request : writes)
			BOOST_TEST(finish(*request) == ok(static_cast<ssize_t>(request->size)));
		BOOST_TEST((file.content() == expected));
	});
}

BOOST_AUTO_TEST_CASE(the_offset_means_nothing_to_an_append)
{
	File file = disk_file(O_APPEND);
	Request &first = start_write(file.fd, "one", 777);
	Request &second = start_write(file.fd, "two", 0);
	BOOST_TEST(finish(first) == ok(3));
	BOOST_TEST(finish(second) == ok(3));
	BOOST_TEST(file.content() == "onetwo");
}

BOOST_AUTO_TEST_CASE(a_list_of_appends_lands_in_list_order)
{
	for (const FileKind &kind : appendable_kinds()) {
		File file = make_file(kind, O_APPEND);
		std::vector<aiocb *> list;
		std::string expected;
		for (int i = 0; i < 50; ++i) {
			expected += pattern(uneven_size(i), i);
			list.push_back(&writing(file.fd, pattern(uneven_size(i), i)).cb);
			list.back()->aio_lio_opcode = LIO_WRITE;
		}
		BOOST_TEST(lio_listio(LIO_WAIT, list.data(), 50, nullptr) == 0);
		BOOST_TEST((file.content() == expected), "file: " << kind.name);
	}
}

BOOST_AUTO_TEST_CASE(each_threads_appends_stay_in_its_order_and_whole)
{
	File file = disk_file(O_APPEND);
	auto submit = [&](char from) {
		std::vector<Request *> writes;
		for (char c = from; c < from + 26; ++c)
			writes.push_back(&writing(file.fd, std::string(5000, c)));
		for (Request *request : writes)
			if (aio_write(&request->cb) != 0)
				abort();
		for (Request *request : writes)
			eventually([&] { return !request->pending(); });
	};
	std::thread lower(submit, 'a'), upper(submit, 'A');
	lower.join();
	upper.join();
	std::string const got = file.content();
	BOOST_TEST_REQUIRE(got.size() == 52u * 5000u);
	std::string order[2];
	for (size_t i = 0; i < got.size(); i += 5000) {
		BOOST_TEST_REQUIRE((got.substr(i, 5000) == std::string(5000, got[i])));
		order[got[i] >= 'a'] += got[i];
	}
	BOOST_TEST(order[0] == "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
	BOOST_TEST(order[1] == "abcdefghijklmnopqrstuvwxyz");
}

BOOST_AUTO_TEST_CASE(when_fsync_is_done_everything_queued_before_it_is_done)
{
	for_each_file_kind([](const FileKind &kind) {
		for (int op : {O_SYNC, O_DSYNC}) {
			File file = make_file(kind);
			std::vector<Request *> writes;
			for (int i = 0; i < 64; ++i)
				writes.push_back(
					&start_write(file.fd, pattern(65536, i), i * 65536));
			Request &sync = start_fsync(file.fd, op);
			BOOST_TEST(eventually([&] { return !sync.pending(); }));
			for (Request *request : writes)
				BOOST_TEST(!request->pending());
			BOOST_TEST(finish(sync) == ok(0));
			for (Request *request : writes)
				BOOST_TEST(finish(*request) == ok(65536));
		}
	});
}

// glibc sorts the queue of a descriptor by priority, and the fsync with it.
BOOST_AUTO_TEST_CASE(fsync_covers_requests_of_every_priority, BETTER_THAN_GLIBC)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		for (int round = 0; round < 10; ++round) {
			std::vector<Request *> writes;
			for (int priority = 0; priority <= 20; ++priority) {
				writes.push_back(
					&writing(file.fd, pattern(65536), priority * 65536));
				writes.back()->cb.aio_reqprio = priority;
				BOOST_TEST_REQUIRE(aio_write(&writes.back()->cb) == 0);
			}
			Request &sync = start_fsync(file.fd);
			BOOST_TEST(eventually([&] { return !sync.pending(); }));
			for (Request *request : writes)
				BOOST_TEST(!request->pending());
			BOOST_TEST(finish(sync) == ok(0));
			for (Request *request : writes)
				finish(*request);
		}
	});
}

BOOST_AUTO_TEST_CASE(several_fsyncs_on_one_descriptor_all_complete)
{
	File file = disk_file();
	std::vector<Request *> requests;
	for (int i = 0; i < 20; ++i) {
		requests.push_back(&start_write(file.fd, "x", i));
		requests.push_back(&start_fsync(file.fd, i % 2 == 0 ? O_SYNC : O_DSYNC));
	}
	for (size_t i = 0; i < requests.size(); ++i)
		BOOST_TEST(finish(*requests[i]) == ok(i % 2 == 0 ? 1 : 0));
}

BOOST_AUTO_TEST_CASE(fsync_after_a_failed_write_still_succeeds)
{
	File file = disk_file();
	Request &bad = writing(file.fd, "x");
	bad.cb.aio_buf = reinterpret_cast<void *>(8);
	BOOST_TEST_REQUIRE(aio_write(&bad.cb) == 0);
	Request &sync = start_fsync(file.fd);
	BOOST_TEST(finish(bad) == failed(EFAULT));
	BOOST_TEST(finish(sync) == ok(0));
}

BOOST_AUTO_TEST_CASE(fsync_lets_later_requests_through)
{
	File file = disk_file();
	Request &before = start_write(file.fd, pattern(1 << 20));
	Request &sync = start_fsync(file.fd);
	Request &after = start_write(file.fd, "after", 1 << 20);
	BOOST_TEST(finish(after) == ok(5));
	BOOST_TEST(finish(sync) == ok(0));
	BOOST_TEST(finish(before) == ok(1 << 20));
}

BOOST_AUTO_TEST_CASE(fsync_of_what_cannot_be_synchronised_is_reported)
{
	for (StreamMaker make : stream_kinds) {
		Stream s = make();
		BOOST_TEST_CONTEXT("stream: " << s.name)
		{
			Request &request = keep(s.writer, 0);
			BOOST_TEST(finish_or_refused(aio_fsync(O_SYNC, &request.cb), request.cb) ==
				   failed(EINVAL));
		}
	}
}

BOOST_AUTO_TEST_CASE(fsync_covers_a_list_submitted_before_it)
{
	File file = disk_file();
	std::vector<aiocb *> list;
	for (int i = 0; i < 64; ++i) {
		list.push_back(&writing(file.fd, pattern(16384, i), i * 16384).cb);
		list.back()->aio_lio_opcode = LIO_WRITE;
	}
	BOOST_TEST_REQUIRE(lio_listio(LIO_NOWAIT, list.data(), 64, nullptr) == 0);
	Request &sync = start_fsync(file.fd);
	BOOST_TEST(eventually([&] { return !sync.pending(); }));
	for (aiocb *cb : list)
		BOOST_TEST(aio_error(cb) == 0);
	BOOST_TEST(finish(sync) == ok(0));
}

BOOST_AUTO_TEST_CASE(appends_stay_in_the_order_of_the_calls_whatever_fcntl_does_in_between,
		     BETTER_THAN_GLIBC)
{
	constexpr size_t piece = 100000;
	for (int others : {O_NONBLOCK, O_NOATIME}) {
		File file = disk_file(O_APPEND);
		std::vector<Request *> writes;
		for (unsigned i = 0; i < 60; ++i) {
			// Cleared behind each one, with others on their way: it appends all the
			// same.
			BOOST_TEST_REQUIRE(
				fcntl(file.fd, F_SETFL, O_APPEND | (i % 2 == 0 ? 0 : others)) == 0);
			writes.push_back(&start_write(file.fd, pattern(piece, i), off_t(i % 3)));
			BOOST_TEST_REQUIRE(fcntl(file.fd, F_SETFL, i % 4 == 0 ? 0 : O_APPEND) == 0);
		}
		for (Request *write : writes)
			BOOST_TEST(finish(*write) == ok(ssize_t(piece)));
		for (unsigned i = 0; i < 60; ++i)
			BOOST_TEST((file.content(piece, off_t(i * piece)) == pattern(piece, i)),
				   "write " << i);
		BOOST_TEST(file.content().size() == 60 * piece);
	}
}

BOOST_AUTO_TEST_CASE(a_write_lands_at_its_offset_though_o_append_is_set_behind_it,
		     BETTER_THAN_GLIBC)
{
	// Linux 6.9 can be asked for it.
	File probe = disk_file(O_APPEND);
	iovec one{const_cast<char *>("x"), 1};
	if (pwritev2(probe.fd, &one, 1, 0, 0x20) != 1)
		return;
	constexpr size_t piece = 100000;
	File file = disk_file();
	BOOST_TEST_REQUIRE(ftruncate(file.fd, 40 * piece) == 0);
	std::vector<Request *> writes;
	// All at once, so that they wait for one another. The first one lands last, should they be
	// appended.
	for (unsigned i = 40; i-- > 0;)
		writes.push_back(&writing(file.fd, pattern(piece, i), off_t(i * piece)));
	for (Request *write : writes)
		BOOST_TEST_REQUIRE(aio_write(&write->cb) == 0);
	BOOST_TEST_REQUIRE(fcntl(file.fd, F_SETFL, O_APPEND) == 0);
	for (Request *write : writes)
		BOOST_TEST(finish(*write) == ok(ssize_t(piece)));
	for (unsigned i = 0; i < 40; ++i)
		BOOST_TEST((file.content(piece, off_t(i * piece)) == pattern(piece, i)),
			   "write " << i);
	BOOST_TEST(file.content().size() == 40 * piece);
}

BOOST_AUTO_TEST_CASE(each_open_files_appends_stay_in_its_order_and_whole, BETTER_THAN_GLIBC)
{
	constexpr size_t piece = 20000;
	File file = disk_file(O_APPEND);
	Fd other(open(file.path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC)), again(dup(other));
	std::vector<Request *> writes;
	for (unsigned i = 0; i < 90; ++i)
		writes.push_back(&start_write(i % 3 == 0   ? file.fd
					      : i % 3 == 1 ? other
							   : again,
					      pattern(piece, i)));
	for (Request *write : writes)
		BOOST_TEST(finish(*write) == ok(ssize_t(piece)));
	std::string const all = file.content();
	BOOST_TEST_REQUIRE(all.size() == 90 * piece);
	unsigned next[2] = {0, 1};
	for (size_t at = 0; at < all.size(); at += piece) {
		const auto is = [&](unsigned i) {
			return i < 90 && all.compare(at, piece, pattern(piece, i)) == 0;
		};
		const unsigned who = is(next[0]) ? 0 : 1;
		BOOST_TEST_REQUIRE(is(next[who]));
		next[who] += who == 0 ? 3 : next[1] % 3 == 1 ? 1 : 2;
	}
}

BOOST_AUTO_TEST_CASE(the_same_where_the_kernel_does_not_compare_files)
{
	if (getenv(refused_name) != nullptr)
		return;
	for (const char *what : {"kcmp", "files"})
		BOOST_TEST(run_self("*append*:!the_same*", {{refused_name, what}}) == 0,
			   "refused: " << what);
}

// write(2) itself is the judge, on a file of its own.
BOOST_AUTO_TEST_CASE(what_has_been_appended_in_part_is_not_appended_again)
{
	const size_t page = size_t(getpagesize());
	auto *const memory = static_cast<char *>(mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE,
						      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	BOOST_TEST_REQUIRE(memory != MAP_FAILED);
	memcpy(memory, pattern(page).data(), page);
	BOOST_TEST_REQUIRE(mprotect(memory + page, page, PROT_NONE) == 0);
	for (const FileKind &kind : appendable_kinds())
		BOOST_TEST_CONTEXT("file: " << kind.name)
		{
			File file = make_file(kind, O_APPEND), twin = make_file(kind, O_APPEND);
			for (int i = 0; i < 3; ++i) {
				Request &request = keep(file.fd, 0);
				request.cb.aio_buf = memory;
				request.cb.aio_nbytes = 2 * page;
				BOOST_TEST_REQUIRE(aio_write(&request.cb) == 0);
				BOOST_TEST(finish(request) == ok(write(twin.fd, memory, 2 * page)));
				BOOST_TEST((file.content() == twin.content()));
			}
		}
	munmap(memory, 2 * page);
}
