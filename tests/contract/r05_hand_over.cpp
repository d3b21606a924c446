// SPDX-License-Identifier: MIT
//
// Rule 5, and rules 17 and 19, for a request whose file is held without anybody being waited for:
// where the kernel can (Linux 6.9) the submitter puts it there itself. Nothing of that is left in
// the program's table, a child has none of it, and where there is no room another way is taken.
#define BOOST_TEST_MODULE r05_hand_over
#include "support.hpp"

#include "processes.hpp"

#include "config.h"

#include <dirent.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>

using namespace contract;

namespace {

constexpr int begun = 4; // requests after which a thread waits for nobody

/// Whether this kernel, this engine and these filters let a submitter put its files there.
bool can_put()
{
#ifdef HAVE_LIBURING
	constexpr unsigned thread = O_EXCL;
	const char *const engine = getenv("SIGEVEC_ENGINE");
	if (engine != nullptr && strcmp(engine, "uring") != 0 && strcmp(engine, "auto") != 0)
		return false;
	const Fd self(static_cast<int>(syscall(SYS_pidfd_open, thread_id(), thread)));
	const bool fetches = syscall(SYS_pidfd_getfd, int(self), INT_MAX, 0) < 0 && errno == EBADF;
	const bool compares = syscall(SYS_kcmp, getpid(), getpid(), KCMP_VM, 0, 0) == 0;
	const bool rings = syscall(SYS_io_uring_setup, 1, nullptr) < 0 && errno == EFAULT;
	return int(self) >= 0 && fetches && compares && rings;
#else
	return false;
#endif
}

/// A read that waits, of a file that is then closed.
struct Waiting {
	Fd writer;
	Request *request;
};
Waiting wait_and_close()
{
	Stream pipe = pipe_stream();
	Request &r = start_read(pipe.reader, 3);
	return {std::move(pipe.writer), &r};
}
bool ends_right(Waiting &w)
{
	return write(w.writer, "abc", 3) == 3 && finish(*w.request) == ok(3) &&
	       w.request->text() == "abc";
}
/// As many as the thread's first ones, which may wait.
void begin()
{
	for (int i = 0; i < begun; ++i) {
		Waiting w = wait_and_close();
		CHILD_REQUIRE(ends_right(w));
	}
}

pid_t thread_named(const std::string &name)
{
	DIR *const tasks = opendir("/proc/self/task");
	pid_t found = 0;
	while (const dirent *const entry = readdir(tasks)) {
		std::ifstream in(std::string("/proc/self/task/") + entry->d_name + "/comm");
		std::string text;
		if (std::getline(in, text) && text == name)
			found = atoi(entry->d_name);
	}
	closedir(tasks);
	return found;
}

struct Shared {
	std::atomic<pid_t> driver;
	std::atomic<int> stopped; // 1: it is; -1: it cannot be
	std::atomic<bool> submitted;
};
Shared &shared()
{
	static Shared &s =
		*static_cast<Shared *>(mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
					    MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	return s;
}
template <class Condition> void wait_until(Condition condition)
{
	while (!condition())
		usleep(200);
}

/// Stops the child's driver until the child has submitted. False: it has not.
bool submits_without(pid_t child)
{
	Shared &s = shared();
	siginfo_t ended;
	const auto over = [&] {
		ended.si_pid = 0;
		return waitid(P_PID, static_cast<id_t>(child), &ended,
			      WEXITED | WNOHANG | WNOWAIT) == 0 &&
		       ended.si_pid != 0;
	};
	wait_until([&] { return s.driver != 0 || over(); });
	const pid_t driver = s.driver;
	if (driver == 0 || ptrace(PTRACE_SEIZE, driver, nullptr, nullptr) != 0) {
		s.stopped = -1;
		return true;
	}
	ptrace(PTRACE_INTERRUPT, driver, nullptr, nullptr);
	waitpid(driver, nullptr, __WALL);
	s.stopped = 1;
	const bool submitted = eventually([&] { return s.submitted.load(); });
	ptrace(PTRACE_DETACH, driver, nullptr, nullptr);
	return submitted;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_file_is_held_while_the_librarys_threads_stand_still)
{
	if (!can_put())
		return;
	shared(); // before there are two who would make it
	const pid_t child = spawn_child([] {
		begin();
		shared().driver = thread_named("sigevec-driver");
		wait_until([] { return shared().stopped != 0; });
		std::vector<Waiting> all;
		for (int i = 0; i < 16; ++i)
			all.push_back(wait_and_close());
		shared().submitted = true;
		for (Waiting &w : all)
			CHILD_REQUIRE(ends_right(w));
	});
	BOOST_TEST(submits_without(child));
	BOOST_TEST(wait_for(child) == 0);
}

BOOST_AUTO_TEST_CASE(nothing_of_it_is_in_the_programs_table)
{
	BOOST_TEST(in_child([] {
			   begin();
			   const auto count = [] {
				   int n = 0;
				   for (int fd = 0; fd < 4096; ++fd)
					   n += fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
				   return n;
			   };
			   const int before = count();
			   std::vector<Waiting> all;
			   for (int t = 0; t < 4; ++t)
				   in_thread([&] {
					   for (int i = 0; i < 2 * begun; ++i)
						   all.push_back(wait_and_close());
				   });
			   CHILD_REQUIRE(count() == before + static_cast<int>(all.size()));
			   // Their threads have ended.
			   for (Waiting &w : all)
				   CHILD_REQUIRE(ends_right(w));
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(a_child_reaches_none_of_it)
{
	BOOST_TEST(in_child([] {
			   begin();
			   Waiting waits = wait_and_close();
			   const auto reaches = [] {
				   constexpr unsigned update = 6, registered = 1u << 31;
				   struct {
					   unsigned offset, unused;
					   const int *numbers;
				   } argument = {0, 0, nullptr};
				   const int nothing = -1;
				   argument.numbers = &nothing;
				   for (int ring = 0; ring < 16; ++ring)
					   if (syscall(SYS_io_uring_register, ring,
						       update | registered, &argument, 1) >= 0)
						   return true;
				   return false;
			   };
			   for (const unsigned long flags :
				{0ul, static_cast<unsigned long>(CLONE_FILES)}) {
				   const auto child = static_cast<pid_t>(
					   syscall(SYS_clone, flags | SIGCHLD, nullptr, nullptr,
						   nullptr, 0));
				   CHILD_REQUIRE(child >= 0);
				   if (child == 0)
					   _exit(reaches() ? 1 : 0);
				   CHILD_REQUIRE(wait_for(child) == 0);
			   }
			   CHILD_REQUIRE(ends_right(waits));
			   // It has a library of its own.
			   CHILD_REQUIRE(wait_for(spawn_child(begin)) == 0);
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(a_thread_that_closes_everything_disturbs_nobodys_first_requests)
{
	BOOST_TEST(in_child([] {
			   constexpr int floor = 200, threads = 24;
			   while (dup(STDERR_FILENO) < floor) {
			   }
			   std::vector<Stream> streams;
			   for (int i = 0; i < threads * begun; ++i) {
				   close(3 + 2 * i);
				   close(4 + 2 * i);
				   streams.push_back(pipe_stream());
			   }
			   std::atomic<bool> over{false};
			   std::thread closer([&] {
				   while (!over)
					   syscall(SYS_close_range, floor + 1, ~0u, 0);
			   });
			   for (int t = 0; t < threads; ++t)
				   in_thread([&] {
					   for (int i = 0; i < begun; ++i) {
						   Stream &s = streams[size_t(t * begun + i)];
						   Request &r = start_read(s.reader, 3);
						   put(s.writer, "abc");
						   CHILD_REQUIRE(finish(r) == ok(3));
						   CHILD_REQUIRE(r.text() == "abc");
					   }
				   });
			   over = true;
			   closer.join();
			   for (Stream &s : streams)
				   CHILD_REQUIRE(fcntl(s.reader, F_GETFD) >= 0);
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(more_than_there_are_places_for_are_held)
{
	BOOST_TEST(in_child([] {
			   constexpr size_t many = 400;
			   begin();
			   std::vector<std::vector<Waiting>> all(2);
			   std::vector<std::thread> threads;
			   for (auto &own : all)
				   threads.emplace_back([&own] {
					   while (own.size() < many / 2)
						   own.push_back(wait_and_close());
				   });
			   for (std::thread &t : threads)
				   t.join();
			   for (auto &own : all)
				   for (Waiting &w : own)
					   CHILD_REQUIRE(ends_right(w));
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(a_limit_that_comes_later_is_kept_to)
{
	for (const rlim_t limit : {0, 4, 8, 64})
		BOOST_TEST(in_child([limit] {
				   Stream socket = pipe_stream(), other = pipe_stream();
				   begin();
				   const rlimit r{limit, limit};
				   CHILD_REQUIRE(setrlimit(RLIMIT_NOFILE, &r) == 0);
				   Request &a = start_read(socket.reader, 3),
					   &b = start_read(other.reader, 3);
				   put(other.writer, "abc");
				   CHILD_REQUIRE(finish(b) == ok(3));
				   put(socket.writer, "abc");
				   CHILD_REQUIRE(finish(a) == ok(3));
			   }) == 0,
			   "with " << limit);
}

BOOST_AUTO_TEST_CASE(requests_of_a_list_keep_their_order)
{
	BOOST_TEST(in_child([] {
			   begin();
			   constexpr int many = 40;
			   Stream pipe = pipe_stream();
			   std::vector<Request *> all;
			   std::vector<aiocb *> list;
			   std::string text;
			   for (int i = 0; i < many; ++i) {
				   all.push_back(&reading(pipe.reader, 1));
				   all.back()->cb.aio_lio_opcode = LIO_READ;
				   list.push_back(&all.back()->cb);
				   text += static_cast<char>('0' + i);
			   }
			   CHILD_REQUIRE(lio_listio(LIO_NOWAIT, list.data(), many, nullptr) == 0);
			   pipe.reader.reset();
			   put(pipe.writer, text);
			   std::string got;
			   for (Request *const r : all) {
				   CHILD_REQUIRE(finish(*r) == ok(1));
				   got += r->text();
			   }
			   CHILD_REQUIRE(got == text);
		   }) == 0);
}
