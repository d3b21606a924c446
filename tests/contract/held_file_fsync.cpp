// SPDX-License-Identifier: MIT
//
// Rule 4 at a moment that the test chooses: fsyncs while a file's write, read or fsync is under
// way. See held_file_system.hpp.
#define BOOST_TEST_MODULE held_file_fsync
#include "held_file_system.hpp"

#include <sigevec/info.h>

BOOST_AUTO_TEST_CASE(fsync_reaches_the_file_after_everything_queued_before_it, BETTER_THAN_GLIBC)
{
	Fd fd = HeldFileSystem::get().open_file(next_file());
	Holding holding{held_write};
	std::vector<Request *> writes;
	for (int priority : {0, 20, 5}) {
		writes.push_back(&writing(fd, pattern(4096), priority * 4096));
		writes.back()->cb.aio_reqprio = priority;
		BOOST_TEST_REQUIRE(aio_write(&writes.back()->cb) == 0);
	}
	Request &sync = start_fsync(fd);
	BOOST_TEST(holding.reached(held_write));
	BOOST_TEST(sync.pending());
	holding.release();
	BOOST_TEST(finish(sync) == ok(0));
	for (Request *request : writes)
		BOOST_TEST(request->error() == 0);
	unsigned last_write = 0, fsync = 0;
	for (const auto &entry : holding.fs.log(holding.log_start)) {
		if (entry.operation == held_write)
			last_write = std::max(last_write, entry.answer);
		if (entry.operation == held_fsync)
			fsync = entry.arrival;
	}
	BOOST_TEST(last_write > 0u);
	BOOST_TEST(fsync > last_write);
}

BOOST_AUTO_TEST_CASE(an_fsync_behind_a_cancelled_one_waits_for_what_was_before_both,
		     BETTER_THAN_GLIBC)
{
	for (bool cancelled_first : {false, true}) {
		Fd fd = HeldFileSystem::get().open_file(next_file());
		put(fd, pattern(4096));
		// A read: the kernel itself makes an fsync wait for a write.
		Holding holding{held_read};
		Request &read = start_read(fd, 4096);
		BOOST_TEST(holding.reached(held_read));
		Request &first = start_fsync(fd);
		std::vector<Request *> syncs;
		if (!cancelled_first)
			syncs.push_back(&start_fsync(fd));
		BOOST_TEST(aio_cancel(fd, &first.cb) == AIO_CANCELED);
		syncs.push_back(&start_fsync(fd));
		check_everything_else_works();
		for (Request *sync : syncs)
			BOOST_TEST(sync->pending());
		holding.release();
		for (Request *sync : syncs)
			BOOST_TEST(finish(*sync) == ok(0));
		BOOST_TEST(finish(read) == ok(4096));
		unsigned answered = 0;
		for (const auto &entry : holding.fs.log(holding.log_start)) {
			if (entry.operation == held_read)
				answered = entry.answer;
			if (entry.operation == held_fsync)
				BOOST_TEST((answered != 0 && entry.arrival > answered));
		}
	}
}

BOOST_AUTO_TEST_CASE(fsync_covers_what_other_descriptors_of_the_file_have_queued, BETTER_THAN_GLIBC)
{
	HeldFileSystem &fs = HeldFileSystem::get();
	const int number = next_file();
	Fd fd = fs.open_file(number), other = fs.open_file(number), copy(dup(fd));
	Holding holding{held_write};
	Request &through_other = start_write(other, pattern(4096)),
		&through_copy = start_write(copy, pattern(4096), 4096);
	Request &sync = start_fsync(fd);
	BOOST_TEST(holding.reached(held_write));
	BOOST_TEST(sync.pending());
	holding.release();
	BOOST_TEST(finish(sync) == ok(0));
	BOOST_TEST((through_other.error() == 0 && through_copy.error() == 0));
	BOOST_TEST(holding.arrived(held_fsync) == 1u);
}

BOOST_AUTO_TEST_CASE(an_fsync_that_waits_for_a_write_is_cancelled_and_never_begins)
{
	for (bool all : {false, true}) {
		Fd fd = HeldFileSystem::get().open_file(next_file());
		Holding holding{held_write};
		Request &write = start_write(fd, "x"), &sync = start_fsync(fd);
		BOOST_TEST(holding.reached(held_write));
		BOOST_TEST(aio_cancel(fd, all ? nullptr : &sync.cb) ==
			   (all ? AIO_NOTCANCELED : AIO_CANCELED));
		BOOST_TEST(finish(sync) == failed(ECANCELED));
		BOOST_TEST(write.pending());
		holding.release();
		BOOST_TEST(finish(write) == ok(1));
		BOOST_TEST(finish(start_read(fd, 1)) == ok(1));
		BOOST_TEST(holding.arrived(held_fsync) == 0u);
	}
}

BOOST_AUTO_TEST_CASE(an_fsync_under_way_is_not_cancelled)
{
	Fd fd = HeldFileSystem::get().open_file(next_file());
	Holding holding{held_fsync};
	Request &sync = start_fsync(fd);
	BOOST_TEST(holding.reached(held_fsync));
	BOOST_TEST(aio_cancel(fd, &sync.cb) == AIO_NOTCANCELED);
	BOOST_TEST(sync.pending());
	holding.release();
	BOOST_TEST(finish(sync) == ok(0));
}

BOOST_AUTO_TEST_CASE(an_fsync_under_way_stalls_no_other_descriptor)
{
	HeldFileSystem &fs = HeldFileSystem::get();
	Fd fd = fs.open_file(next_file()), neighbour = fs.open_file(next_file());
	Holding holding{held_fsync};
	Request &sync = start_fsync(fd);
	BOOST_TEST(holding.reached(held_fsync));
	BOOST_TEST(finish(start_write(neighbour, "x")) == ok(1));
	BOOST_TEST(finish(start_read(neighbour, 1)) == ok(1));
	check_everything_else_works();
	BOOST_TEST(sync.pending());
	holding.release();
	BOOST_TEST(finish(sync) == ok(0));
}

BOOST_AUTO_TEST_CASE(an_fsync_that_waits_for_a_write_stalls_no_other_descriptor)
{
	Fd fd = HeldFileSystem::get().open_file(next_file());
	Holding holding{held_write};
	Request &write = start_write(fd, "x"), &sync = start_fsync(fd);
	BOOST_TEST(holding.reached(held_write));
	check_everything_else_works();
	BOOST_TEST((write.pending() && sync.pending()));
	holding.release();
	BOOST_TEST(finish(sync) == ok(0));
}
