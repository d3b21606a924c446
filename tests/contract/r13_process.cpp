// SPDX-License-Identifier: MIT
//
// Rule 13: fork, exec and exit with requests outstanding.
#define BOOST_TEST_MODULE r13_process
#include "support.hpp"

#include <dirent.h>
#include <spawn.h>
#include <sys/resource.h>

namespace {

/// Reads and writes on its own stream and file, as the first thing a new process does.
void use_aio_in_child()
{
	int ends[2];
	CHILD_REQUIRE(pipe(ends) == 0);
	Request read(ends[0], 1, 0), write_(ends[1], 1, 0);
	CHILD_REQUIRE(aio_read(&read.cb) == 0);
	CHILD_REQUIRE(aio_write(&write_.cb) == 0);
	CHILD_REQUIRE(finish(write_) == ok(1));
	const aiocb *list[] = {&read.cb};
	while (aio_suspend(list, 1, nullptr) != 0)
		CHILD_REQUIRE(errno == EINTR);
	CHILD_REQUIRE(finish(read) == ok(1));
	File file("/dev/shm", O_RDWR);
	Request store(file.fd, 4096, 0), sync(file.fd, 0, 0);
	CHILD_REQUIRE(aio_write(&store.cb) == 0);
	CHILD_REQUIRE(aio_fsync(O_SYNC, &sync.cb) == 0);
	CHILD_REQUIRE(finish(sync) == ok(0));
	CHILD_REQUIRE(finish(store) == ok(4096));
}

/// Requests of every kind that stay outstanding until `complete` is called.
struct Outstanding {
	std::vector<Stream> reading_from, writing_to;
	std::vector<Request *> reads, writes;
	std::vector<size_t> filled;
	Outstanding()
	{
		for (StreamMaker make : stream_kinds) {
			reading_from.push_back(make());
			reads.push_back(&start_read(reading_from.back().reader, 2));
			writing_to.push_back(make());
			filled.push_back(fill(writing_to.back().writer));
			writes.push_back(&start_write(writing_to.back().writer, pattern(100000)));
		}
	}
	void complete()
	{
		for (size_t i = 0; i < reads.size(); ++i) {
			BOOST_TEST_CONTEXT("stream: " << reading_from[i].name)
			{
				BOOST_TEST(reads[i]->pending());
				put(reading_from[i].writer, "ok");
				BOOST_TEST(finish(*reads[i]) == ok(2));
				BOOST_TEST(reads[i]->text() == "ok");
				BOOST_TEST(take(writing_to[i].reader, filled[i]).size() ==
					   filled[i]);
				BOOST_TEST((take(writing_to[i].reader, 100000) == pattern(100000)));
				BOOST_TEST(finish(*writes[i]) == ok(100000));
			}
		}
	}
};

int count_entries(const char *directory)
{
	DIR *const open = opendir(directory);
	int count = 0;
	while (dirent *entry = readdir(open))
		count += entry->d_name[0] != '.';
	closedir(open);
	return count;
}

} // namespace

// In the child of a process that had threads for it, glibc waits for those threads.
BOOST_AUTO_TEST_CASE(a_child_can_start_its_own_requests_at_once, BETTER_THAN_GLIBC)
{
	Outstanding outstanding;
	BOOST_TEST(in_child([] { use_aio_in_child(); }) == 0);
	outstanding.complete();
}

BOOST_AUTO_TEST_CASE(a_child_of_an_idle_library_can_start_at_once, BETTER_THAN_GLIBC)
{
	File file = disk_file();
	BOOST_TEST(finish(start_write(file.fd, "x")) == ok(1));
	for (int i = 0; i < 20; ++i)
		BOOST_TEST(in_child([] { use_aio_in_child(); }) == 0);
	BOOST_TEST(finish(start_write(file.fd, "y")) == ok(1));
}

BOOST_AUTO_TEST_CASE(grandchildren_can_start_at_once, BETTER_THAN_GLIBC)
{
	Outstanding outstanding;
	const int status = in_child([] {
		use_aio_in_child();
		pid_t const grandchild = fork();
		if (grandchild == 0) {
			use_aio_in_child();
			_exit(0);
		}
		CHILD_REQUIRE(wait_for(grandchild) == 0);
		use_aio_in_child();
	});
	BOOST_TEST(status == 0);
	outstanding.complete();
}

BOOST_AUTO_TEST_CASE(a_child_has_no_requests_of_its_parents, BETTER_THAN_GLIBC)
{
	Outstanding outstanding;
	const int status = in_child([&] {
		for (size_t i = 0; i < outstanding.reads.size(); ++i) {
			CHILD_REQUIRE(aio_cancel(outstanding.reading_from[i].reader, nullptr) ==
				      AIO_ALLDONE);
			CHILD_REQUIRE(aio_cancel(outstanding.writing_to[i].writer, nullptr) ==
				      AIO_ALLDONE);
		}
	});
	BOOST_TEST(status == 0);
	outstanding.complete();
}

BOOST_AUTO_TEST_CASE(whatever_way_a_child_ends_the_parents_requests_go_on)
{
	for (int way = 0; way < 4; ++way) {
		Outstanding outstanding;
		const pid_t child = spawn_child([&] {
			if (way == 0)
				_exit(0);
			if (way == 1)
				quick_exit(0);
			if (way == 2)
				execl("/bin/true", "true", nullptr);
			kill(getpid(), SIGKILL);
		});
		BOOST_TEST(wait_for(child) == (way == 3 ? 128 + SIGKILL : 0));
		outstanding.complete();
	}
}

BOOST_AUTO_TEST_CASE(a_child_that_uses_and_closes_everything_disturbs_nothing, BETTER_THAN_GLIBC)
{
	Outstanding outstanding;
	const int status = in_child([&] {
		use_aio_in_child();
		for (auto *streams : {&outstanding.reading_from, &outstanding.writing_to})
			for (Stream &s : *streams) {
				s.reader.reset();
				s.writer.reset();
			}
		use_aio_in_child();
	});
	BOOST_TEST(status == 0);
	outstanding.complete();
}

BOOST_AUTO_TEST_CASE(a_child_may_use_the_parents_aiocbs_again, BETTER_THAN_GLIBC)
{
	Stream s = unix_stream(), own = unix_stream();
	Request &request = start_read(s.reader, 1);
	const int status = in_child([&] {
		aiocb &cb = request.cb;
		cb.aio_fildes = own.reader;
		CHILD_REQUIRE(aio_read(&cb) == 0);
		CHILD_REQUIRE(write(own.writer, "c", 1) == 1);
		CHILD_REQUIRE(finish(request) == ok(1));
		CHILD_REQUIRE(request.text() == "c");
	});
	BOOST_TEST(status == 0);
	BOOST_TEST(request.pending());
	put(s.writer, "p");
	BOOST_TEST(finish(request) == ok(1));
	BOOST_TEST(request.text() == "p");
}

// The sanitizers do not see to their allocators at fork: a child that makes a thread may find them
// locked for ever.
BOOST_AUTO_TEST_CASE(
	fork_amid_traffic_of_several_threads,
	BETTER_THAN_GLIBC *boost::unit_test::enable_if<!address_sanitizer && !thread_sanitizer>())
{
	std::atomic<bool> stop{false};
	std::atomic<int> failures{0};
	std::vector<std::thread> threads;
	std::vector<Stream> streams;
	std::list<File> files;
	for (int i = 0; i < 4; ++i) {
		streams.push_back(unix_stream());
		files.push_back(disk_file());
	}
	for (int i = 0; i < 4; ++i)
		threads.emplace_back([&, i, fd = int(std::next(files.begin(), i)->fd)] {
			Request read(streams[i].reader, 1, 0), write_(streams[i].writer, 1, 0),
				store(fd, 4096, 0);
			while (!stop) {
				for (auto submitted : {aio_read(&read.cb), aio_write(&write_.cb),
						       aio_write(&store.cb)})
					failures += submitted != 0;
				failures += finish(read) != ok(1);
				failures += finish(write_) != ok(1);
				failures += finish(store) != ok(4096);
			}
		});
	for (int i = 0; i < 100; ++i)
		BOOST_TEST(in_child([] { use_aio_in_child(); }) == 0);
	stop = true;
	for (std::thread &thread : threads)
		thread.join();
	BOOST_TEST(failures == 0);
}

BOOST_AUTO_TEST_CASE(spawned_programs_run_amid_traffic)
{
	Outstanding outstanding;
	for (int i = 0; i < 20; ++i) {
		pid_t child = 0;
		char name[] = "true";
		char *arguments[] = {name, nullptr};
		BOOST_TEST_REQUIRE(posix_spawn(&child, "/bin/true", nullptr, nullptr, arguments,
					       environ) == 0);
		BOOST_TEST(wait_for(child) == 0);
	}
	outstanding.complete();
}

// Whatever the parent's other threads are doing inside the library; again but in a sanitizer's
// allocator.
BOOST_AUTO_TEST_CASE(a_child_made_while_others_are_inside_aio_fsync_and_lio_listio_can_use_both,
		     *boost::unit_test::enable_if<!address_sanitizer && !thread_sanitizer>())
{
	File file = disk_file();
	std::atomic<bool> stop{false};
	std::vector<std::thread> threads;
	for (int i = 0; i < 3; ++i)
		threads.emplace_back([&, i] {
			while (!stop) {
				Request request(file.fd, 1, 0);
				request.cb.aio_lio_opcode = LIO_READ;
				aiocb *list[] = {&request.cb};
				if (i == 0)
					lio_listio(LIO_WAIT, list, 1, nullptr);
				else if (aio_fsync(O_DSYNC, &request.cb) == 0)
					finish(request);
			}
		});
	for (int i = 0; i < 30; ++i)
		BOOST_TEST(in_child([&] {
				   Request sync(file.fd, 0, 0), read(file.fd, 1, 0);
				   CHILD_REQUIRE(aio_fsync(O_SYNC, &sync.cb) == 0);
				   CHILD_REQUIRE(finish(sync) == ok(0));
				   read.cb.aio_lio_opcode = LIO_READ;
				   aiocb *list[] = {&read.cb};
				   CHILD_REQUIRE(lio_listio(LIO_WAIT, list, 1, nullptr) == 0);
			   }) == 0);
	stop = true;
	for (std::thread &thread : threads)
		thread.join();
}

BOOST_AUTO_TEST_CASE(a_notification_function_may_fork, BETTER_THAN_GLIBC)
{
	static std::atomic<int> status;
	status = -1;
	File file = disk_file();
	Request &request = writing(file.fd, "x");
	request.cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
	request.cb.aio_sigevent.sigev_notify_function = [](sigval) {
		pid_t const child = fork();
		if (child == 0) {
			use_aio_in_child();
			_exit(0);
		}
		status = wait_for(child);
	};
	BOOST_TEST_REQUIRE(aio_write(&request.cb) == 0);
	BOOST_TEST(eventually([] { return status != -1; }));
	BOOST_TEST(status == 0);
}

// The request is the only holder of its file when the child is made; the child must not become
// another.
BOOST_AUTO_TEST_CASE(a_child_does_not_keep_the_files_of_its_parents_requests_open,
		     BETTER_THAN_GLIBC)
{
	for (StreamMaker make : {pipe_stream, fifo_stream, unix_stream_default, tcp_stream}) {
		Stream s = make();
		BOOST_TEST_CONTEXT("stream: " << s.name)
		{
			Request &request = start_read(s.reader, 1);
			s.reader.reset();
			Stream life = pipe_stream();
			const pid_t child = spawn_child([&] {
				life.writer.reset();
				char c;
				CHILD_REQUIRE(read(life.reader, &c, 1) == 0);
			});
			put(s.writer, "x");
			BOOST_TEST(finish(request) == ok(1));
			BOOST_TEST(eventually([&] {
				pollfd ready{s.writer, POLLRDHUP, 0};
				return poll(&ready, 1, 0) > 0;
			}));
			life.writer.reset();
			BOOST_TEST(wait_for(child) == 0);
		}
	}
}

// ------------------------------------------------------------------------- exec

BOOST_AUTO_TEST_CASE(what_exec_left, *boost::unit_test::disabled())
{
	BOOST_TEST(count_entries("/proc/self/task") == 1);
	int extra = 0;
	for (int fd = 3; fd < 1024; ++fd)
		if (fcntl(fd, F_GETFD) >= 0) {
			std::array<char, 256> target{};
			std::string const link = "/proc/self/fd/" + std::to_string(fd);
			if (readlink(link.c_str(), target.data(), target.size() - 1) < 0)
				continue;
			BOOST_TEST_MESSAGE("descriptor " << fd << ": " << target.data());
			++extra;
		}
	BOOST_TEST(extra == atoi(getenv("CONTRACT_INHERITED")));
}

BOOST_AUTO_TEST_CASE(exec_amid_requests, *boost::unit_test::disabled())
{
	int inherited = 0;
	for (int fd = 3; fd < 1024; ++fd)
		inherited += fcntl(fd, F_GETFD) >= 0;
	auto &outstanding = *new Outstanding;
	for (auto *streams : {&outstanding.reading_from, &outstanding.writing_to})
		for (Stream &s : *streams)
			for (int fd : {int(s.reader), int(s.writer)})
				fcntl(fd, F_SETFD, FD_CLOEXEC);
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		for (int i = 0; i < 16; ++i)
			start_write(file.fd, pattern(65536), i * 65536);
		finish(start_write(file.fd, pattern(4096)));
	});
	setenv("CONTRACT_INHERITED", std::to_string(inherited).c_str(), 1);
	execl("/proc/self/exe", "contract", "--run_test=what_exec_left", "--log_level=message",
	      nullptr);
	BOOST_FAIL("exec failed");
}

BOOST_AUTO_TEST_CASE(exec_leaves_no_descriptor_and_no_thread)
{
	BOOST_TEST(run_self("exec_amid_requests", {}) == 0);
}

BOOST_AUTO_TEST_CASE(a_request_from_before_exec_takes_no_data)
{
	Stream s = unix_stream();
	fcntl(s.reader, F_SETFD, 0);
	Stream ready = pipe_stream();
	const pid_t child = spawn_child([&] {
		static Request request(s.reader, 1, 0);
		aio_read(&request.cb);
		// Prints what it reads itself; its standard input is the socket.
		dup2(s.reader, STDIN_FILENO);
		dup2(ready.writer, STDOUT_FILENO);
		execl("/bin/sh", "sh", "-c", "echo ready; read line; echo \"$line\"", nullptr);
		_exit(127);
	});
	BOOST_TEST(take(ready.reader, 6) == "ready\n");
	put(s.writer, "all of it\n");
	BOOST_TEST(take(ready.reader, 10) == "all of it\n");
	BOOST_TEST(wait_for(child) == 0);
}

// ------------------------------------------------------------------------- exit

BOOST_AUTO_TEST_CASE(exit_amid_requests, *boost::unit_test::disabled())
{
	new Outstanding;
	File &file = *new File(disk_file());
	for (int i = 0; i < 64; ++i)
		start_write(file.fd, pattern(65536), i * 65536);
	Request &request = writing(file.fd, "x");
	request.cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
	static std::atomic<bool> running;
	request.cb.aio_sigevent.sigev_notify_function = [](sigval) {
		running = true;
		for (;;)
			pause();
	};
	BOOST_TEST_REQUIRE(aio_write(&request.cb) == 0);
	BOOST_TEST_REQUIRE(eventually([] { return running.load(); }));
	unlink(file.path.c_str());
	switch (atoi(getenv("CONTRACT_EXIT"))) {
	case 0:
		exit(7);
	case 1:
		_exit(7);
	case 2:
		quick_exit(7);
	case 3:
		in_thread([] { exit(7); });
		break;
	default:
		return;
	}
}

BOOST_AUTO_TEST_CASE(exit_with_requests_outstanding_works)
{
	for (const char *way : {"0", "1", "2", "3"})
		BOOST_TEST(run_self("exit_amid_requests", {{"CONTRACT_EXIT", way}}) == 7,
			   "way " << way);
	BOOST_TEST(run_self("exit_amid_requests", {{"CONTRACT_EXIT", "4"}}) == 0);
}

BOOST_AUTO_TEST_CASE(a_process_with_requests_outstanding_can_be_killed)
{
	for (int number : {SIGTERM, SIGKILL}) {
		Stream ready = pipe_stream();
		const pid_t child = spawn_child([&] {
			signal(SIGTERM, SIG_DFL);
			Stream s = unix_stream();
			static Request request(s.reader, 1, 0);
			CHILD_REQUIRE(aio_read(&request.cb) == 0);
			CHILD_REQUIRE(write(ready.writer, "r", 1) == 1);
			for (;;)
				pause();
		});
		BOOST_TEST(take(ready.reader, 1) == "r");
		kill(child, number);
		BOOST_TEST(wait_for(child) == 128 + number);
	}
}
