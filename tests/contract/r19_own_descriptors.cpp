// SPDX-License-Identifier: MIT
//
// Rules 16, 17, 19 and 20 for what the library needs itself: it leaves the program's table of
// descriptors alone, goes on when the program closes everything, touches nothing that gets a
// number, and gives a child of fork nothing to use.
#define BOOST_TEST_MODULE r19_own_descriptors
#define BOOST_TEST_MODULE r19_own_descriptors
#include "own_descriptors.hpp"

// ---- rule 17 ----

BOOST_AUTO_TEST_CASE(requests_outstanding_take_no_descriptor_of_the_programs)
{
	if (!can_take_files()) {
		std::puts("pidfd_getfd is refused here: one socket is needed");
		return;
	}
	std::vector<Stream> streams;
	for (int i = 0; i < 20; ++i)
		streams.push_back(unix_stream());
	File file = disk_file();
	const int before = descriptors();
	std::vector<Request *> reads;
	for (Stream &s : streams)
		reads.push_back(&start_read(s.reader, 1));
	BOOST_TEST(finish(start_write(file.fd, "x")) == ok(1));
	Request &sync = keep(file.fd, 0);
	BOOST_TEST(aio_fsync(O_SYNC, &sync.cb) == 0);
	BOOST_TEST(finish(sync) == ok(0));
	BOOST_TEST(descriptors() == before);
	for (size_t i = 0; i < streams.size(); ++i) {
		put(streams[i].writer, "y");
		BOOST_TEST(finish(*reads[i]) == ok(1));
	}
	BOOST_TEST(descriptors() == before);
}

BOOST_AUTO_TEST_CASE(with_a_full_table_everything_is_carried_out)
{
	BOOST_TEST(in_child([] {
			   Stream pipe = pipe_stream(), socket = unix_stream();
			   File file = disk_file();
			   rlimit const few{static_cast<rlim_t>(socket.writer + 8),
					    static_cast<rlim_t>(socket.writer + 8)};
			   CHILD_REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
			   while (dup(0) >= 0) {
			   }
			   Request &waiting = start_read(socket.reader, 3);
			   CHILD_REQUIRE(finish(start_write(file.fd, "file")) == ok(4));
			   Request &sync = keep(file.fd, 0);
			   CHILD_REQUIRE(aio_fsync(O_SYNC, &sync.cb) == 0);
			   CHILD_REQUIRE(finish(sync) == ok(0));
			   CHILD_REQUIRE(finish(start_write(pipe.writer, "bytes")) == ok(5));
			   CHILD_REQUIRE(finish(start_read(pipe.reader, 5)) == ok(5));
			   put(socket.writer, "abc");
			   CHILD_REQUIRE(finish(waiting) == ok(3));
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(with_a_full_address_space_everything_is_carried_out)
{
	if (thread_sanitizer || address_sanitizer)
		return; // they need address space themselves
	BOOST_TEST(in_child([] {
			   Stream socket = unix_stream();
			   File file = disk_file();
			   Request &waiting = reading(socket.reader, 3),
				   &write = writing(file.fd, "file");
			   std::ifstream statm("/proc/self/statm");
			   rlim_t pages = 0;
			   statm >> pages;
			   rlim_t const most =
				   pages * static_cast<rlim_t>(getpagesize()) + (192 << 10);
			   rlimit const limit{most, most};
			   CHILD_REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
			   CHILD_REQUIRE(aio_read(&waiting.cb) == 0);
			   CHILD_REQUIRE(aio_write(&write.cb) == 0);
			   CHILD_REQUIRE(finish(write) == ok(4));
			   put(socket.writer, "abc");
			   CHILD_REQUIRE(finish(waiting) == ok(3));
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(without_one_more_thread_everything_is_carried_out)
{
	if (geteuid() != 0) {
		std::puts("only root can become a user without threads");
		return;
	}
	BOOST_TEST(in_child([] {
			   Stream socket = unix_stream(), pipe = pipe_stream();
			   File file = disk_file();
			   uid_t const nobody_else = 64000 + static_cast<uid_t>(getpid()) % 1000;
			   CHILD_REQUIRE(setresuid(nobody_else, nobody_else, nobody_else) == 0);
			   CHILD_REQUIRE(finish(start_read(file.fd, 1)) ==
					 ok(0)); // glibc has its thread by then, too
			   rlimit const one{1, 1};
			   CHILD_REQUIRE(setrlimit(RLIMIT_NPROC, &one) == 0);
			   Request &waiting = start_read(socket.reader, 3);
			   CHILD_REQUIRE(finish(start_write(file.fd, "file")) == ok(4));
			   CHILD_REQUIRE(finish(start_write(pipe.writer, "bytes")) == ok(5));
			   CHILD_REQUIRE(finish(start_read(pipe.reader, 5)) == ok(5));
			   put(socket.writer, "abc");
			   CHILD_REQUIRE(finish(waiting) == ok(3));
		   }) == 0);
}

// ---- rule 20 ----

BOOST_AUTO_TEST_CASE(a_program_that_closes_everything_goes_on)
{
	for (int round = 0; round < 3; ++round) {
		Stream socket = unix_stream();
		Request &waiting = start_read(socket.reader, 3);
		one_of_each();
		accept_one();
		close_all_but({socket.writer});
		put(socket.writer, "abc");
		BOOST_TEST(finish(waiting) == ok(3));
		one_of_each();
		accept_one();
		close_all_but({});
	}
}

BOOST_AUTO_TEST_CASE(what_gets_the_numbers_of_what_was_closed_is_not_touched)
{
	for (int round = 0; round < 3; ++round) {
		Stream socket = unix_stream();
		Request &waiting = start_read(socket.reader, 3);
		one_of_each();
		accept_one();
		close_all_but({socket.writer});
		Numbers numbers;
		put(socket.writer, "abc");
		BOOST_TEST(finish(waiting) == ok(3));
		one_of_each();
		accept_one();
		BOOST_TEST(numbers.harmed() == 0);
		close_all_but({});
	}
}

BOOST_AUTO_TEST_CASE(standard_input_and_output_are_the_programs_though_it_has_closed_them)
{
	BOOST_TEST(in_child([] {
			   close(0);
			   close(1);
			   close(2);
			   File file = disk_file();
			   if (file.fd < 3)
				   CHILD_REQUIRE(dup2(file.fd, 40) == 40);
			   Stream socket = unix_stream();
			   for (int i = 0; i < 3; ++i)
				   CHILD_REQUIRE(finish(start_write(40, "x")) == ok(1));
			   Request &waiting = start_read(socket.reader, 1);
			   sockaddr_in address;
			   int const listening = listener(&address);
			   Request &accept = keep(listening, 0);
			   CHILD_REQUIRE(aio_accept(&accept.cb, 0) == 0);
			   close(file.fd);
			   // Of 0 to 2 none is open now that the program has not opened.
			   int open = 0;
			   for (int fd = 0; fd < 3; ++fd)
				   open += fcntl(fd, F_GETFD) >= 0 && fd != socket.reader &&
					   fd != socket.writer && fd != listening;
			   CHILD_REQUIRE(open == 0);
			   put(socket.writer, "y");
			   CHILD_REQUIRE(finish(waiting) == ok(1));
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(a_thread_with_descriptors_of_its_own_names_its_own)
{
	if (!can_take_files())
		return;
	Stream ours = unix_stream(), theirs = unix_stream();
	const int number = ours.reader;
	Request &request = reading(number, 3);
	std::thread([&] {
		if (unshare(CLONE_FILES) != 0 || dup2(theirs.reader, number) != number)
			return;
		aio_read(&request.cb);
	}).join();
	put(ours.writer, "no!");
	put(theirs.writer, "yes");
	BOOST_TEST(finish(request) == ok(3));
	BOOST_TEST(request.text() == "yes");
}

// ---- rule 19 ----

BOOST_AUTO_TEST_CASE(a_child_that_uses_every_descriptor_disturbs_nothing)
{
	if (geteuid() != 0) {
		std::puts("only root can give up rights");
		return;
	}
	for (bool by_fork : {true, false}) {
		sockaddr_in address;
		Stream socket = unix_stream();
		Fd listening(listener(&address));
		one_of_each();
		accept_one();
		Request &waiting = start_read(socket.reader, 3);
		Request &accept = keep(listening, 0);
		BOOST_TEST(aio_accept(&accept.cb, 0) == 0);
		// By the system call: no handler of the library's runs in the child.
		const pid_t child =
			by_fork ? fork()
				: static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
		if (child == 0) {
			close(socket.reader);
			close(socket.writer);
			close(listening);
			become_nobody();
			use_all_descriptors();
			_exit(0);
		}
		BOOST_TEST(wait_for(child) == 0);
		Fd client(connection_to(address));
		BOOST_TEST(finish(accept).error == 0);
		put(socket.writer, "abc");
		BOOST_TEST(finish(waiting) == ok(3));
		one_of_each();
		accept_one();
	}
}

BOOST_AUTO_TEST_CASE(a_child_that_lives_on_keeps_nothing_open)
{
	Stream socket = unix_stream();
	Request &waiting = start_read(socket.reader, 1);
	Fd alive[2];
	int v[2];
	BOOST_REQUIRE(pipe2(v, O_CLOEXEC) == 0);
	alive[0] = Fd(v[0]);
	alive[1] = Fd(v[1]);
	const pid_t child = fork();
	if (child == 0) {
		close(socket.reader);
		close(socket.writer);
		close(v[1]);
		char end;
		(void)!read(v[0], &end, 1);
		_exit(0);
	}
	put(socket.writer, "x");
	BOOST_TEST(finish(waiting) == ok(1));
	close(socket.reader);
	// The other end sees the end although the child lives.
	BOOST_TEST(take(socket.writer, 1) == "");
	socket.reader = Fd();
	alive[1] = Fd();
	BOOST_TEST(wait_for(child) == 0);
}
