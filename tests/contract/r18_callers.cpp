// SPDX-License-Identifier: MIT
//
// Rule 18: what else differs between callers. The I/O priority and the filter of one thread, a user
// namespace, and what the other processes of the user have in flight.
#define BOOST_TEST_MODULE r18_callers
#include "callers.hpp"
#include "refusal.hpp"

#include <grp.h>
#include <linux/ioprio.h>
#include <sys/resource.h>

namespace {

// ------------------------------------------------------------------- priority

int priority_of(pid_t thread)
{
	return static_cast<int>(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, thread));
}
bool take_priority(int level)
{
	return syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
		       IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, level)) == 0;
}
bool has_priority(pid_t thread, int level)
{
	return priority_of(thread) == int(IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, level));
}

std::vector<pid_t> threads()
{
	std::vector<pid_t> found;
	for (const auto &task : std::filesystem::directory_iterator("/proc/self/task"))
		found.push_back(std::stoi(task.path().filename()));
	return found;
}
long threads_with(int level)
{
	const std::vector<pid_t> all = threads();
	return std::count_if(all.begin(), all.end(),
			     [=](pid_t id) { return has_priority(id, level); });
}

constexpr int first_level = 6, later_level = 2;

// --------------------------------------------------------------------- filter

const std::vector<unsigned> moving_data{SYS_read,    SYS_readv,    SYS_pread64,  SYS_preadv,
					SYS_preadv2, SYS_write,    SYS_writev,   SYS_pwrite64,
					SYS_pwritev, SYS_pwritev2, SYS_recvfrom, SYS_recvmsg,
					SYS_sendto,  SYS_sendmsg,  SYS_accept,   SYS_accept4};

/// What the call by hand says, or what the library's threads do.
bool refused_or(const Outcome &end, ssize_t result)
{
	return end == failed(EACCES) || end == ok(result);
}

/// One of each that waits, and one of each that need not.
void one_of_each_ends()
{
	Stream pipe = pipe_stream(), socket = unix_stream();
	File file = disk_file();
	Request &from_pipe = start_read(pipe.reader, 1),
		&from_socket = start_read(socket.reader, 1);
	Request &into_file = start_write(file.fd, "text");
	CHILD_REQUIRE(refused_or(finish(into_file), 4));
	Request &sync = keep(file.fd, 0);
	CHILD_REQUIRE(aio_fsync(O_SYNC, &sync.cb) == 0);
	CHILD_REQUIRE(finish(sync) == ok(0));
	Request &out = start_write(socket.reader, "x");
	CHILD_REQUIRE(refused_or(finish(out), 1));
	// By a thread that may.
	std::thread([&] { shutdown(socket.writer, SHUT_WR); }).join();
	pipe.writer.reset();
	CHILD_REQUIRE(refused_or(finish(from_socket), 0));
	CHILD_REQUIRE(refused_or(finish(from_pipe), 0));
}

/// As it is where no thread is confined.
void everything_is_carried_out()
{
	Stream pipe = pipe_stream(), socket = unix_stream();
	File file = disk_file();
	Request &from_pipe = start_read(pipe.reader, 3),
		&from_socket = start_read(socket.reader, 3);
	CHILD_REQUIRE(finish(start_write(file.fd, "text")) == ok(4));
	Request &sync = keep(file.fd, 0);
	CHILD_REQUIRE(aio_fsync(O_SYNC, &sync.cb) == 0 && finish(sync) == ok(0));
	CHILD_REQUIRE(finish(start_read(file.fd, 4)) == ok(4));
	put(pipe.writer, "abc");
	put(socket.writer, "def");
	CHILD_REQUIRE(finish(from_pipe) == ok(3) && from_pipe.text() == "abc");
	CHILD_REQUIRE(finish(from_socket) == ok(3) && from_socket.text() == "def");
}

/// A connect that waits for room with the listener.
Outcome connect_that_waits(bool *refused)
{
	Folder folder;
	Fd const listener = folder.socket_at("s", unix_stream_kind, 0);
	Address to = unix_name(folder.in("s"));
	std::vector<Fd> clients = fill_backlog(unix_stream_kind, to);
	Fd const s = new_socket(unix_stream_kind);
	static aiocb cb;
	cb = {};
	cb.aio_fildes = s;
	*refused = aio_connect(&cb, to.get(), to.length) != 0;
	if (*refused)
		return failed(errno);
	for (size_t i = 0; i < clients.size(); i++)
		CHILD_REQUIRE(eventually([&] { return was_connected_to(listener); }));
	Outcome const end = finish(cb);
	if (end == ok(0))
		CHILD_REQUIRE(was_connected_to(listener));
	return end;
}

} // namespace

BOOST_AUTO_TEST_CASE(the_librarys_threads_have_the_io_priority_of_who_came_first)
{
	BOOST_TEST(in_child([] {
			   // A sanitizer's threads are no concern of the library's.
			   std::vector<pid_t> before;
			   std::thread([&] {
				   before = threads();
				   CHILD_REQUIRE(take_priority(first_level));
				   make_a_request();
			   }).join();
			   // More threads, at another thread's request.
			   CHILD_REQUIRE(take_priority(later_level));
			   File file = disk_file();
			   for (int i = 0; i < 16; ++i)
				   CHILD_REQUIRE(finish(start_write(file.fd, pattern(1 << 20),
								    i << 20)) == ok(1 << 20));
			   make_a_request();
			   for (pid_t const id : threads())
				   CHILD_REQUIRE(std::count(before.begin(), before.end(), id) ==
							 1 ||
						 has_priority(id, first_level));
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(a_thread_that_is_made_for_a_request_has_the_io_priority_of_its_caller)
{
	BOOST_TEST(in_child([] {
			   make_a_request();
			   CHILD_REQUIRE(take_priority(later_level));
			   Folder folder;
			   Fd const receiver = folder.socket_at("r", unix_datagram_kind);
			   Fd const s = new_socket(unix_datagram_kind);
			   Address to = unix_name(folder.in("r"));
			   int const n = fill_receiver(s, to);
			   CHILD_REQUIRE(threads_with(later_level) == 1);
			   Request &out = writing(s, "x");
			   CHILD_REQUIRE(aio_sendto(&out.cb, 0, to.get(), to.length) == 0);
			   CHILD_REQUIRE(out.pending());
			   CHILD_REQUIRE(threads_with(later_level) == 2);
			   make_room(receiver, n);
			   CHILD_REQUIRE(finish(out) == ok(1));
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(what_a_thread_has_refused_itself_ends_all_the_same_and_is_no_others_concern)
{
	BOOST_TEST(in_child([] {
			   CHILD_REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
			   everything_is_carried_out();
			   std::thread([] {
				   if (!refuse(moving_data, EACCES))
					   _exit(0); // no filters here
				   one_of_each_ends();
			   }).join();
			   everything_is_carried_out();
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(a_connect_that_waits_needs_its_callers_leave_to_open_the_name)
{
	BOOST_TEST(in_child([] {
			   CHILD_REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
			   make_a_request();
			   std::thread([] {
				   bool refused;
				   if (!refuse({SYS_openat, SYS_unshare}, EACCES))
					   _exit(0);
				   Outcome const end = connect_that_waits(&refused);
				   CHILD_REQUIRE(end == ok(0) || end == failed(EAGAIN) ||
						 end == failed(EACCES));
			   }).join();
			   bool refused;
			   CHILD_REQUIRE(connect_that_waits(&refused) == ok(0));
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(no_thread_of_a_process_with_requests_has_a_user_namespace_of_its_own)
{
	BOOST_TEST(in_child([] {
			   make_a_request();
			   std::thread([] {
				   CHILD_REQUIRE(unshare(CLONE_NEWUSER) == -1 && errno == EINVAL);
			   }).join();
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(everything_works_in_a_user_namespace_without_a_name_for_the_user)
{
	BOOST_TEST(in_child([] {
			   Folder folder;
			   CHILD_REQUIRE(chmod(folder.path().c_str(), 0777) == 0);
			   if (unshare(CLONE_NEWUSER) != 0)
				   return; // no namespaces here
			   everything_is_carried_out();
			   bool refused;
			   CHILD_REQUIRE(connect_that_waits(&refused) == ok(0));
			   everything_is_carried_out();
		   }) == 0);
}

// ------------------------------------------------------------------ in flight

namespace {

constexpr rlim_t few = 64;

void become_an_ordinary_user()
{
	const rlimit limit{few, few};
	CHILD_REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	if (geteuid() == 0)
		CHILD_REQUIRE(setgroups(0, nullptr) == 0 &&
			      setresgid(nobody, nobody, nobody) == 0 &&
			      setresuid(nobody, nobody, nobody) == 0);
}

/// As many as the user may have, and the kernel says so.
void fill_the_air(std::vector<Pair> &sockets)
{
	for (rlim_t i = 0; i < 2 * few; ++i) {
		if (i % 8 == 0)
			sockets.push_back(make_pair(unix_datagram_kind));
		Message &m = message({"x"});
		m.attach_descriptor(sockets.back().a);
		if (sendmsg(sockets.back().a, &m.header, MSG_DONTWAIT) < 0) {
			CHILD_REQUIRE(errno == ETOOMANYREFS);
			return;
		}
	}
	_exit(77);
}

/// With so much of another process's in flight.
int beside_a_process_with_much_in_flight(const std::vector<unsigned> &refused)
{
	int full[2];
	BOOST_TEST_REQUIRE(pipe2(full, O_CLOEXEC) == 0);
	const pid_t other = spawn_child([&] {
		become_an_ordinary_user();
		std::vector<Pair> sockets;
		fill_the_air(sockets);
		put(full[1], "x");
		pause();
	});
	close(full[1]);
	const Fd ready(full[0]);
	const int status = in_child([&] {
		char c;
		if (read(ready, &c, 1) != 1)
			_exit(77);
		become_an_ordinary_user();
		CHILD_REQUIRE(refused.empty() || refuse(refused, EPERM));
		everything_is_carried_out();
		everything_is_carried_out();
	});
	kill(other, SIGKILL);
	wait_for(other);
	return status;
}

} // namespace

BOOST_AUTO_TEST_CASE(what_another_process_of_the_user_has_in_flight_holds_up_nobody)
{
	constexpr unsigned getfd = 438;
	for (const std::vector<unsigned> &refused : {std::vector<unsigned>{}, {getfd}}) {
		const int status = beside_a_process_with_much_in_flight(refused);
		BOOST_TEST((status == 0 || status == 77));
		if (status == 77)
			BOOST_TEST_MESSAGE("skipped: nothing limits what is in flight here");
	}
}
