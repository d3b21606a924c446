// SPDX-License-Identifier: MIT
//
// Rules 1, 3, 4, 5, 8, 11 and 13 for regular files, at a moment that the test chooses:
// while a file's read, write or fsync is under way. See held_file_system.hpp.
#define BOOST_TEST_MODULE held_file
#include "held_file_system.hpp"

#include <sigevec/info.h>

namespace {

/// Before the library reads its environment.
struct MoreThreads {
	MoreThreads() { setenv("SIGEVEC_THREADS", "150", 1); }
};
BOOST_TEST_GLOBAL_FIXTURE(MoreThreads);

} // namespace

BOOST_AUTO_TEST_CASE(a_write_is_never_carried_out_inside_the_call)
{
	for (int flags : {0, O_SYNC, O_DSYNC, O_APPEND, O_APPEND | O_SYNC, O_DIRECT}) {
		for (size_t bytes : {size_t{4096}, size_t{3} << 20}) {
			BOOST_TEST_CONTEXT("flags " << flags << ", " << bytes << " bytes")
			{
				const int number = next_file();
				Fd fd = HeldFileSystem::get().open_file(number, O_RDWR | flags);
				Holding holding{held_write};
				Request &request = start_write(fd, pattern(bytes));
				BOOST_TEST(holding.reached(held_write));
				BOOST_TEST(request.pending());
				const timespec now{};
				const aiocb *list[] = {&request.cb};
				BOOST_TEST(aio_suspend(list, 1, &now) == -1);
				BOOST_TEST(errno == EAGAIN);
				holding.release();
				BOOST_TEST(finish(request) == ok(static_cast<ssize_t>(bytes)));
				BOOST_TEST((file_content(number, bytes) == pattern(bytes)));
			}
		}
	}
}

BOOST_AUTO_TEST_CASE(a_read_is_never_carried_out_inside_the_call)
{
	for (int flags : {0, O_DIRECT}) {
		Fd fd = HeldFileSystem::get().open_file(next_file(), O_RDWR | flags);
		BOOST_TEST(finish(start_write(fd, pattern(1 << 20))) == ok(1 << 20));
		for (size_t bytes : {size_t{512}, size_t{1} << 20}) {
			Holding holding{held_read};
			Request &request = start_read(fd, bytes);
			BOOST_TEST(holding.reached(held_read));
			BOOST_TEST(request.pending());
			holding.release();
			BOOST_TEST(finish(request) == ok(static_cast<ssize_t>(bytes)));
			BOOST_TEST((request.text() == pattern(1 << 20).substr(0, bytes)));
		}
	}
}

BOOST_AUTO_TEST_CASE(a_list_is_never_carried_out_inside_the_call)
{
	Fd fd = HeldFileSystem::get().open_file(next_file());
	Holding holding{held_read, held_write};
	std::vector<aiocb *> list;
	for (int i = 0; i < 20; ++i) {
		list.push_back(&writing(fd, pattern(4096, i), i * 4096).cb);
		list.back()->aio_lio_opcode = i % 2 == 0 ? LIO_READ : LIO_WRITE;
	}
	BOOST_TEST(lio_listio(LIO_NOWAIT, list.data(), 20, nullptr) == 0);
	BOOST_TEST(eventually(
		[&] { return holding.arrived(held_read) + holding.arrived(held_write) > 0; }));
	BOOST_TEST(aio_error(list.back()) == EINPROGRESS);
	holding.release();
	for (aiocb *cb : list)
		BOOST_TEST(finish(*cb).error == 0);
}

BOOST_AUTO_TEST_CASE(a_held_write_outlives_its_thread)
{
	const int number = next_file();
	Fd fd = HeldFileSystem::get().open_file(number);
	Holding holding{held_write};
	Request &request = writing(fd, "outlives");
	in_thread([&] { aio_write(&request.cb); });
	BOOST_TEST(holding.reached(held_write));
	holding.release();
	BOOST_TEST(finish(request) == ok(8));
	BOOST_TEST(file_content(number, 100) == "outlives");
}

BOOST_AUTO_TEST_CASE(files_that_do_not_answer_hold_up_no_others_however_many)
{
	sigevec_limits limits;
	BOOST_TEST_REQUIRE(sigevec_get_limits(&limits) == 0);
	const sigevec_limits before = limits;
	limits.threads = 2; // those that are there already stay for a while
	BOOST_TEST_REQUIRE(sigevec_set_limits(&limits) == 0);
	Holding holding{held_write};
	std::vector<Fd> files;
	std::vector<Request *> held;
	for (int i = 0; i < 6; ++i) {
		files.push_back(HeldFileSystem::get().open_file(next_file()));
		held.push_back(&start_write(files.back(), "held"));
	}
	const File other = make_file({"a disk", disk_directory(), 0});
	BOOST_TEST_REQUIRE(write(other.fd, "on its way", 10) == 10);
	for (int i = 0; i < 20; ++i)
		BOOST_TEST(finish(writes_share_lanes()
					  ? start_read(other.fd, 10)
					  : start_write(other.fd, "on its way", i)) == ok(10));
	BOOST_TEST(finish(start_fsync(other.fd)) == ok(0));
	for (Request *request : held)
		BOOST_TEST(request->pending());
	holding.release();
	for (Request *request : held)
		BOOST_TEST(finish(*request) == ok(4));
	BOOST_TEST(sigevec_set_limits(&before) == 0);
}

BOOST_AUTO_TEST_CASE(a_limit_that_is_raised_counts_for_what_already_waits_for_a_thread)
{
	sigevec_limits limits;
	BOOST_TEST_REQUIRE(sigevec_get_limits(&limits) == 0);
	const sigevec_limits before = limits;
	limits.threads = 1;
	BOOST_TEST_REQUIRE(sigevec_set_limits(&limits) == 0);
	std::vector<Fd> files;
	std::vector<Request *> held;
	for (int i = 0; i < 100; ++i) {
		files.push_back(HeldFileSystem::get().open_file(next_file()));
		put(files.back(), "x"); // the kernel answers a read of an empty file itself
	}
	Holding holding{held_read};
	for (const Fd &file : files)
		held.push_back(&start_read(file, 1));
	// All there may be are stuck.
	BOOST_TEST(holding.reached(held_read, 2));
	BOOST_TEST(sigevec_set_limits(&before) == 0);
	BOOST_TEST(holding.reached(held_read, 100));
	holding.release();
	for (Request *request : held)
		BOOST_TEST(finish(*request) == ok(1));
}

// A file's blocking call takes a thread, so the limit on threads is one on files that do not
// answer: see MoreThreads.
BOOST_AUTO_TEST_CASE(a_hundred_files_that_do_not_answer_starve_nobody_where_there_may_be_threads)
{
	HeldFileSystem &fs = HeldFileSystem::get();
	for (Operation operation : {held_read, held_write, held_fsync}) {
		BOOST_TEST_CONTEXT("operation " << operation)
		{
			std::vector<Fd> files;
			std::vector<Request *> requests;
			for (int i = 0; i < 100; ++i) {
				files.push_back(fs.open_file(next_file()));
				put(files.back(),
				    "x"); // the kernel answers a read of an empty file itself
			}
			Holding holding{operation};
			for (const Fd &file : files)
				requests.push_back(operation == held_read ? &start_read(file, 1)
						   : operation == held_write
							   ? &start_write(file, "x")
							   : &start_fsync(file));
			BOOST_TEST(holding.reached(operation, 100));
			check_everything_else_works();
			holding.release();
			for (Request *request : requests)
				BOOST_TEST(finish(*request).error == 0);
		}
	}
}

BOOST_AUTO_TEST_CASE(writes_under_way_and_queued_stay_with_their_file, BETTER_THAN_GLIBC)
{
	HeldFileSystem &fs = HeldFileSystem::get();
	const int number = next_file(), other_number = next_file();
	Fd fd = fs.open_file(number), other = fs.open_file(other_number);
	Holding holding{held_write};
	std::vector<Request *> writes;
	for (int i = 0; i < 20; ++i)
		writes.push_back(&start_write(fd, pattern(4096, i), i * 4096));
	Request &sync = start_fsync(fd);
	BOOST_TEST(holding.reached(held_write));
	BOOST_TEST_REQUIRE(dup2(other, fd) == fd);
	holding.release();
	for (Request *request : writes)
		BOOST_TEST(finish(*request) == ok(4096));
	BOOST_TEST(finish(sync) == ok(0));
	for (int i = 0; i < 20; ++i)
		BOOST_TEST((file_content(number, 4096, i * 4096) == pattern(4096, i)));
	BOOST_TEST(file_content(other_number, 4096).empty());
}

BOOST_AUTO_TEST_CASE(a_file_is_let_go_after_its_last_request)
{
	HeldFileSystem &fs = HeldFileSystem::get();
	Fd fd = fs.open_file(next_file());
	Request &write = start_write(fd, pattern(65536));
	Request &sync = start_fsync(fd);
	BOOST_TEST(finish(write) == ok(65536));
	BOOST_TEST(finish(sync) == ok(0));
	BOOST_TEST(finish(start_read(fd, 65536)) == ok(65536));
	const unsigned before = fs.released();
	fd.reset();
	BOOST_TEST(eventually([&] { return fs.released() > before; }));
}

BOOST_AUTO_TEST_CASE(appends_keep_their_order_behind_a_write_under_way)
{
	const int number = next_file();
	Fd fd = HeldFileSystem::get().open_file(number, O_WRONLY | O_APPEND);
	Holding holding{held_write};
	std::vector<Request *> writes;
	std::string expected;
	for (int i = 0; i < 30; ++i) {
		expected += pattern(100 + 997 * (i % 7), i);
		writes.push_back(&start_write(fd, pattern(100 + 997 * (i % 7), i)));
	}
	BOOST_TEST(holding.reached(held_write));
	holding.release();
	for (Request *request : writes)
		BOOST_TEST(finish(*request) == ok(static_cast<ssize_t>(request->size)));
	BOOST_TEST((file_content(number, 1 << 20) == expected));
}

BOOST_AUTO_TEST_CASE(a_file_write_under_way_is_not_cancelled)
{
	const int number = next_file();
	Fd fd = HeldFileSystem::get().open_file(number);
	Holding holding{held_write};
	Request &request = start_write(fd, pattern(4096));
	BOOST_TEST(holding.reached(held_write));
	BOOST_TEST(aio_cancel(fd, &request.cb) == AIO_NOTCANCELED);
	BOOST_TEST(request.pending());
	BOOST_TEST(aio_cancel(fd, nullptr) == AIO_NOTCANCELED);
	BOOST_TEST(request.pending());
	holding.release();
	BOOST_TEST(finish(request) == ok(4096));
	BOOST_TEST((file_content(number, 4096) == pattern(4096)));
}

BOOST_AUTO_TEST_CASE(of_writes_behind_one_under_way_the_cancelled_ones_never_reach_the_file)
{
	const int number = next_file();
	Fd fd = HeldFileSystem::get().open_file(number);
	Holding holding{held_write};
	std::vector<Request *> writes;
	for (int i = 0; i < 30; ++i)
		writes.push_back(&start_write(fd, std::string(4096, 'w'), i * 4096));
	BOOST_TEST(holding.reached(held_write));
	BOOST_TEST(aio_cancel(fd, nullptr) == AIO_NOTCANCELED);
	std::vector<bool> cancelled;
	for (Request *request : writes)
		cancelled.push_back(request->error() == ECANCELED);
	holding.release();
	for (size_t i = 0; i < writes.size(); ++i) {
		BOOST_TEST(finish(*writes[i]) == (cancelled[i] ? failed(ECANCELED) : ok(4096)));
		const bool there = file_content(number, 1, off_t(i) * 4096) == "w";
		BOOST_TEST(there == !cancelled[i]);
	}
}

BOOST_AUTO_TEST_CASE(a_cancelled_file_read_never_touches_the_buffer_again)
{
	Fd fd = HeldFileSystem::get().open_file(next_file());
	BOOST_TEST(finish(start_write(fd, std::string(4096, 'r'))) == ok(4096));
	Holding holding{held_read};
	Request &request = start_read(fd, 4096);
	BOOST_TEST(holding.reached(held_read));
	const int answer = aio_cancel(fd, &request.cb);
	BOOST_TEST((answer == AIO_CANCELED || answer == AIO_NOTCANCELED));
	if (answer == AIO_CANCELED) {
		BOOST_TEST(finish(request) == failed(ECANCELED));
		std::fill_n(request.data(), 4096, 'm');
	}
	holding.release();
	BOOST_TEST(finish(start_read(fd, 4096)) == ok(4096));
	if (answer == AIO_CANCELED) {
		BOOST_TEST((request.text() == std::string(4096, 'm')));
	} else {
		BOOST_TEST(finish(request) == ok(4096));
		BOOST_TEST((request.text() == std::string(4096, 'r')));
	}
}

BOOST_AUTO_TEST_CASE(a_child_made_while_a_write_is_under_way_starts_at_once_and_disturbs_nothing,
		     BETTER_THAN_GLIBC)
{
	const int number = next_file();
	Fd fd = HeldFileSystem::get().open_file(number);
	Holding holding{held_write};
	Request &request = start_write(fd, "parent's");
	BOOST_TEST(holding.reached(held_write));
	const int status = in_child([&] {
		File file("/dev/shm", O_RDWR);
		Request own(file.fd, 100, 0);
		CHILD_REQUIRE(aio_cancel(fd, nullptr) == AIO_ALLDONE);
		CHILD_REQUIRE(aio_write(&own.cb) == 0);
		CHILD_REQUIRE(finish(own) == ok(100));
	});
	BOOST_TEST(status == 0);
	BOOST_TEST(request.pending());
	holding.release();
	BOOST_TEST(finish(request) == ok(8));
	BOOST_TEST(file_content(number, 100) == "parent's");
}

BOOST_AUTO_TEST_CASE(a_file_that_says_it_is_empty_is_read_as_read_does_it)
{
	static int number = 1000;
	for (int flags : {0, O_DIRECT}) {
		Fd fd = HeldFileSystem::get().open_file(++number, O_RDWR | flags);
		alignas(4096) static char page[8192];
		memcpy(page, pattern(sizeof page).data(), sizeof page);
		BOOST_TEST_REQUIRE(pwrite(fd, page, sizeof page, 0) == 8192);
		// Opened again, it is a file of size 0.
		fd = HeldFileSystem::get().open_file(number, O_RDONLY | flags);
		for (size_t bytes : {size_t{4096}, size_t{12288}, size_t{1} << 20}) {
			Request &request = start_read(fd, bytes);
			BOOST_TEST(finish(request) == ok(ssize_t(std::min<size_t>(bytes, 8192))));
			BOOST_TEST(
				(request.text().substr(0, 4096) == pattern(8192).substr(0, 4096)));
		}
		BOOST_TEST(finish(start_read(fd, 4096, 8192)) == ok(0));
	}
}

BOOST_AUTO_TEST_CASE(files_with_one_inode_number_get_each_their_own_writes, BETTER_THAN_GLIBC)
{
	HeldFileSystem &fs = HeldFileSystem::get();
	for (int flags : {0, O_APPEND, O_DSYNC}) {
		static int number = 2000;
		const int first = ++number, second = ++number;
		Fd one = fs.open_file(first, O_RDWR | flags),
		   two = fs.open_file(second, O_RDWR | flags);
		struct stat a, b;
		BOOST_TEST_REQUIRE((fstat(one, &a) == 0 && fstat(two, &b) == 0 &&
				    a.st_ino == b.st_ino && a.st_dev == b.st_dev));
		std::vector<Request *> writes;
		{
			Holding holding{held_write};
			for (unsigned i = 0; i < 16; ++i)
				writes.push_back(&start_write(i % 2 == 0 ? one : two,
							      pattern(4096, i), i / 2 * 4096));
			BOOST_TEST(holding.reached(held_write));
		}
		for (Request *write : writes)
			BOOST_TEST(finish(*write) == ok(4096));
		BOOST_TEST(finish(start_fsync(one)) == ok(0));
		for (unsigned i = 0; i < 16; ++i)
			BOOST_TEST((file_content(i % 2 == 0 ? first : second, 4096, i / 2 * 4096) ==
				    pattern(4096, i)),
				   "write " << i);
	}
}

BOOST_AUTO_TEST_CASE(a_file_is_not_in_memory_because_another_one_with_its_device_number_was)
{
	HeldFileSystem &before = HeldFileSystem::get();
	std::string const folder = temp_name("/tmp");
	mkdir(folder.c_str(), 0700);
	BOOST_TEST_REQUIRE(mount("contract", folder.c_str(), "tmpfs", 0, nullptr) == 0);
	struct stat memory, held;
	{
		File file(folder, O_RDWR);
		put(file.fd, pattern(4096));
		for (int i = 0; i < 3; ++i)
			BOOST_TEST(finish(start_read(file.fd, 4096)) == ok(4096));
		BOOST_TEST_REQUIRE(fstat(file.fd, &memory) == 0);
	}
	BOOST_TEST_REQUIRE(umount(folder.c_str()) == 0);
	rmdir(folder.c_str());
	HeldFileSystem next;
	Fd fd = next.open_file(1);
	BOOST_TEST_REQUIRE(fstat(fd, &held) == 0);
	BOOST_WARN_MESSAGE(memory.st_dev == held.st_dev, "the kernel has given another number");
	BOOST_TEST_REQUIRE(pwrite(fd, "held", 4, 0) == 4);
	next.hold(held_read);
	Request &request = start_read(fd, 4);
	BOOST_TEST(request.pending());
	next.release_all();
	BOOST_TEST(finish(request) == ok(4));
	fd.reset();
	before.use();
}
