// SPDX-License-Identifier: MIT
//
// aio_fsync at a moment that the test chooses: while a read, write or fsync of its file is under
// way. See held_file_system.hpp.
#define BOOST_TEST_MODULE held_fsync
#include "held_file_system.hpp"

BOOST_AUTO_TEST_CASE(an_fsync_is_never_carried_out_inside_the_call)
{
	Fd fd = HeldFileSystem::get().open_file(next_file());
	Holding holding{held_fsync};
	Request &request = start_fsync(fd);
	BOOST_TEST(holding.reached(held_fsync));
	BOOST_TEST(request.pending());
	holding.release();
	BOOST_TEST(finish(request) == ok(0));
}

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

namespace {

/// A ring passes each fsync on by itself.
bool each_has_its_own_call()
{
	const char *const engine = getenv("SIGEVEC_ENGINE");
	return engine != nullptr && engine == std::string_view("uring");
}

std::vector<Request *> start_fsyncs(int fd, unsigned count)
{
	std::vector<Request *> started;
	while (started.size() < count)
		started.push_back(&start_fsync(fd));
	return started;
}

/// A file with a read that does not end before it is let go, which fsyncs wait for.
struct ReadUnderWay {
	const int number = next_file();
	Fd fd = HeldFileSystem::get().open_file(number);
	Holding holding{held_read};
	Request *read;
	ReadUnderWay()
	{
		put(fd, pattern(4096));
		read = &start_read(fd, 4096);
		BOOST_TEST(holding.reached(held_read));
	}
	void let_go() { holding.release(); }
	void check_read() { BOOST_TEST(finish(*read) == ok(4096)); }
};

} // namespace

BOOST_AUTO_TEST_CASE(fsyncs_that_wait_for_the_same_need_no_call_each, BETTER_THAN_GLIBC)
{
	constexpr unsigned many = 50;
	ReadUnderWay scene;
	std::vector<Request *> syncs = start_fsyncs(scene.fd, many);
	scene.let_go();
	scene.check_read();
	for (Request *sync : syncs)
		BOOST_TEST(finish(*sync) == ok(0));
	// One may have begun before the others had come to the helper.
	BOOST_TEST((each_has_its_own_call() || scene.holding.arrived(held_fsync) < many / 2));
}

BOOST_AUTO_TEST_CASE(an_fsync_under_way_does_not_do_for_later_ones, BETTER_THAN_GLIBC)
{
	Fd fd = HeldFileSystem::get().open_file(next_file());
	Holding holding{held_fsync};
	Request &first = start_fsync(fd);
	BOOST_TEST(holding.reached(held_fsync));
	std::vector<Request *> syncs = start_fsyncs(fd, 3);
	BOOST_TEST(first.pending());
	holding.release();
	BOOST_TEST(finish(first) == ok(0));
	for (Request *sync : syncs)
		BOOST_TEST(finish(*sync) == ok(0));
	BOOST_TEST(holding.arrived(held_fsync) >= 2u);
}

BOOST_AUTO_TEST_CASE(each_of_several_fsyncs_that_wait_is_cancelled_alone, BETTER_THAN_GLIBC)
{
	for (unsigned cancelled : {0u, 1u, 4u, 7u}) {
		ReadUnderWay scene;
		std::vector<Request *> syncs = start_fsyncs(scene.fd, 8);
		BOOST_TEST(aio_cancel(scene.fd, &syncs[cancelled]->cb) == AIO_CANCELED);
		for (unsigned i = 0; i < syncs.size(); i++)
			BOOST_TEST(syncs[i]->pending() == (i != cancelled));
		scene.let_go();
		for (unsigned i = 0; i < syncs.size(); i++)
			BOOST_TEST(finish(*syncs[i]) ==
				   (i == cancelled ? failed(ECANCELED) : ok(0)));
		scene.check_read();
	}
}

BOOST_AUTO_TEST_CASE(all_of_several_fsyncs_that_wait_are_cancelled_and_none_begins,
		     BETTER_THAN_GLIBC)
{
	ReadUnderWay scene;
	std::vector<Request *> syncs = start_fsyncs(scene.fd, 8);
	for (Request *sync : syncs)
		BOOST_TEST(aio_cancel(scene.fd, &sync->cb) == AIO_CANCELED);
	scene.let_go();
	scene.check_read();
	for (Request *sync : syncs)
		BOOST_TEST(finish(*sync) == failed(ECANCELED));
	BOOST_TEST(finish(start_fsync(scene.fd)) == ok(0));
	BOOST_TEST(scene.holding.arrived(held_fsync) == 1u);
}

// An error of writing back is told to each open file once.
BOOST_AUTO_TEST_CASE(each_open_file_is_synchronised_by_a_call_of_its_own, BETTER_THAN_GLIBC)
{
	ReadUnderWay scene;
	Fd other = HeldFileSystem::get().open_file(scene.number);
	std::vector<Request *> syncs{&start_fsync(scene.fd), &start_fsync(other),
				     &start_fsync(scene.fd), &start_fsync(other)};
	scene.let_go();
	for (Request *sync : syncs)
		BOOST_TEST(finish(*sync) == ok(0));
	scene.check_read();
	BOOST_TEST(scene.holding.arrived(held_fsync) >= 2u);
}
