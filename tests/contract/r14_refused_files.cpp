// SPDX-License-Identifier: MIT
//
// Rules 14, 17 and 19 where the kernel or a filter does not give files to a helper: they come by
// another way, and nothing that a child or a stranger sends is believed.
#define BOOST_TEST_MODULE r14_refused_files
#include "own_descriptors.hpp"

namespace {

constexpr unsigned close_range_number = 436, getfd_number = 438, kcmp_number = SYS_kcmp,
		   pidfd_open_number = 434, epoll_pwait2_number = 441;

/// In every epoll instance that the process has, of every file there: what could be a pointer.
int forge_in_all_instances()
{
	for (int instance = first_number; instance < 1100; ++instance)
		for (int fd = 0; fd < 1100; ++fd) {
			epoll_event event{};
			event.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
			event.data.u64 = 0x4141414141414140;
			if (epoll_ctl(instance, EPOLL_CTL_MOD, fd, &event) != 0 &&
			    (errno == EINVAL || (errno == EBADF && fd == 0)))
				break; // no instance
		}
	return 0;
}

std::vector<std::string> abstract_names()
{
	std::ifstream in("/proc/net/unix");
	std::vector<std::string> names;
	for (std::string line; std::getline(in, line);)
		if (const size_t at = line.find('@'); at != std::string::npos)
			names.push_back(line.substr(at + 1));
	return names;
}

/// As much as goes in.
void knock(const std::string &name)
{
	const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	sockaddr_un to{};
	to.sun_family = AF_UNIX;
	memcpy(to.sun_path + 1, name.data(), name.size());
	const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
	for (int i = 0; i < 1000; ++i)
		sendto(fd, "forged, and of no use", 8, 0, reinterpret_cast<sockaddr *>(&to), size);
	close(fd);
}

/// Like a container: the process's requests go on by another way.
int in_container(const std::string &calls)
{
	return run_self("everything_under_a_filter", {{"REFUSED", calls.c_str()}});
}
std::string list(std::initializer_list<unsigned> calls)
{
	std::string text;
	for (unsigned call : calls)
		text += std::to_string(call) + " ";
	return text;
}

} // namespace

BOOST_AUTO_TEST_CASE(everything_under_a_filter, *boost::unit_test::disabled())
{
	std::istringstream in(getenv("REFUSED"));
	std::vector<unsigned> calls;
	for (unsigned call; in >> call;)
		calls.push_back(call);
	BOOST_REQUIRE(calls == std::vector<unsigned>{0} ? refuse_tables() : refuse(calls, EPERM));
	one_of_each();
	accept_one();
	one_of_each();
}

BOOST_AUTO_TEST_CASE(where_files_cannot_be_taken_they_are_sent)
{
	BOOST_TEST(in_container(list({getfd_number})) == 0);
}

BOOST_AUTO_TEST_CASE(where_there_are_no_pidfds_files_are_sent)
{
	BOOST_TEST(in_container(list({getfd_number, pidfd_open_number, kcmp_number})) == 0);
}

namespace {

/// As before Linux 6.9, where a thread has no pidfd.
bool refuse_pidfds_of_threads()
{
	constexpr unsigned flags = offsetof(seccomp_data, args) + sizeof(uint64_t);
	sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, pidfd_open_number, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, flags),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const sock_fprog program{static_cast<unsigned short>(std::size(code)), code};
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

/// Whether a descriptor comes out of any number.
bool finds_a_descriptor()
{
	for (int fd = 0; fd < 1100; ++fd) {
		char bytes[64];
		alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
		iovec v{bytes, sizeof bytes};
		msghdr m{};
		m.msg_iov = &v;
		m.msg_iovlen = 1;
		m.msg_control = control;
		m.msg_controllen = sizeof control;
		if (recvmsg(fd, &m, MSG_DONTWAIT) >= 0 && CMSG_FIRSTHDR(&m) != nullptr)
			return true;
	}
	return false;
}

} // namespace

BOOST_AUTO_TEST_CASE(where_threads_have_no_pidfds_files_leave_nothing_that_a_child_could_take)
{
	BOOST_TEST(in_child([] {
			   CHILD_REQUIRE(refuse_pidfds_of_threads());
			   sockaddr_in address;
			   Fd listening(listener(&address));
			   for (int i = 0; i < 500; ++i) {
				   Request &request = keep(listening, 0);
				   CHILD_REQUIRE(aio_accept(&request.cb, SOCK_CLOEXEC) == 0);
				   const Fd client(connection_to(address));
				   const Outcome end = finish(request);
				   CHILD_REQUIRE(end.error == 0);
				   const Fd accepted(static_cast<int>(end.result));
			   }
			   auto const child =
				   static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
			   if (child == 0)
				   _exit(finds_a_descriptor() ? 1 : 0);
			   CHILD_REQUIRE(wait_for(child) == 0);
			   // Nor is the file held by what has been sent.
			   Request &last = keep(dup(listening), 0);
			   CHILD_REQUIRE(aio_accept(&last.cb, SOCK_CLOEXEC) == 0);
			   close(last.cb.aio_fildes);
			   const Fd client(connection_to(address));
			   const Outcome end = finish(last);
			   CHILD_REQUIRE(end.error == 0);
			   close(static_cast<int>(end.result));
			   listening.reset();
			   CHILD_REQUIRE(eventually([&] {
				   const Fd s(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
				   return connect(s, reinterpret_cast<sockaddr *>(&address),
						  sizeof address) != 0 &&
					  errno == ECONNREFUSED;
			   }));
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(where_files_cannot_be_compared_they_are_taken_all_the_same)
{
	BOOST_TEST(in_container(list({kcmp_number})) == 0);
}

BOOST_AUTO_TEST_CASE(where_ranges_cannot_be_closed_the_helper_has_a_table_of_its_own)
{
	BOOST_TEST(in_container(list({close_range_number})) == 0);
}

BOOST_AUTO_TEST_CASE(where_no_thread_may_leave_its_table_the_helper_is_made_with_its_own)
{
	BOOST_TEST(in_container(list({close_range_number, SYS_unshare})) == 0);
	BOOST_TEST(in_child([] {
			   CHILD_REQUIRE(refuse({close_range_number, SYS_unshare}, EPERM));
			   Stream socket = unix_stream();
			   const int before = descriptors();
			   Request &waiting = start_read(socket.reader, 3);
			   // One, if files have to be sent.
			   CHILD_REQUIRE(descriptors() <= before + !can_take_files());
			   const int copy = dup(socket.writer);
			   close_all_but({socket.reader, copy});
			   put(copy, "abc");
			   CHILD_REQUIRE(finish(waiting) == ok(3));
			   _exit(0); // the stream's numbers are closed
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(where_there_is_one_table_the_helper_works_in_it)
{
	BOOST_TEST(in_container("0") == 0);
}

BOOST_AUTO_TEST_CASE(what_a_child_says_in_an_instance_of_the_helpers_is_not_believed)
{
	BOOST_TEST(in_child([] {
			   CHILD_REQUIRE(refuse_tables());
			   one_of_each();
			   Stream socket = unix_stream(), pipe = pipe_stream();
			   Request &waiting = start_read(socket.reader, 3);
			   Request &from_pipe = start_read(pipe.reader, 3);
			   auto const child =
				   static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
			   if (child == 0)
				   _exit(forge_in_all_instances());
			   CHILD_REQUIRE(wait_for(child) == 0);
			   put(socket.writer, "abc");
			   put(pipe.writer, "def");
			   CHILD_REQUIRE(finish(waiting) == ok(3));
			   CHILD_REQUIRE(finish(from_pipe) == ok(3));
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(where_one_call_that_waits_is_refused_another_waits)
{
#ifdef SYS_epoll_wait
	BOOST_TEST(in_container(list({SYS_epoll_wait})) == 0);
#endif
#ifdef SYS_poll
	BOOST_TEST(in_container(list({SYS_ppoll})) == 0);
#endif
	BOOST_TEST(in_container(list({SYS_epoll_pwait})) == 0);
}

BOOST_AUTO_TEST_CASE(where_waiting_is_refused_the_driver_looks_now_and_then)
{
	BOOST_TEST(in_child([] {
			   std::vector<unsigned> all{SYS_epoll_pwait, epoll_pwait2_number};
#ifdef SYS_epoll_wait
			   all.push_back(SYS_epoll_wait);
#endif
			   CHILD_REQUIRE(refuse(all, EPERM));
			   one_of_each();
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(a_filter_that_comes_later_leaves_a_way_for_files)
{
	BOOST_TEST(in_child([] {
			   Stream socket = unix_stream();
			   Request &waiting = start_read(socket.reader, 3);
			   CHILD_REQUIRE(refuse({getfd_number}, EPERM, true));
			   one_of_each();
			   const int before = descriptors();
			   Stream next = unix_stream();
			   Request &request = start_read(next.reader, 1);
			   CHILD_REQUIRE(descriptors() == before + 2);
			   put(next.writer, "x");
			   CHILD_REQUIRE(finish(request) == ok(1));
			   put(socket.writer, "abc");
			   CHILD_REQUIRE(finish(waiting) == ok(3));
			   accept_one();
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(what_strangers_send_to_the_helpers_door_is_dropped)
{
	BOOST_TEST(in_child([] {
			   if (!can_take_files())
				   _exit(0);
			   one_of_each();
			   const std::vector<std::string> before = abstract_names();
			   CHILD_REQUIRE(refuse({getfd_number}, EPERM, true));
			   one_of_each();
			   pid_t const child = fork();
			   if (child == 0) {
				   for (const std::string &name : abstract_names())
					   if (std::find(before.begin(), before.end(), name) ==
					       before.end())
						   knock(name);
				   _exit(0);
			   }
			   CHILD_REQUIRE(wait_for(child) == 0);
			   one_of_each();
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(what_a_child_sends_instead_of_files_is_dropped)
{
	BOOST_TEST(in_child([] {
			   CHILD_REQUIRE(refuse({getfd_number}, EPERM));
			   one_of_each();
			   Stream socket = unix_stream();
			   Request &waiting = start_read(socket.reader, 3);
			   auto const child =
				   static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
			   if (child == 0) {
				   close(socket.reader);
				   close(socket.writer);
				   for (int fd = first_number; fd < last_number; ++fd)
					   for (int i = 0; i < 100; ++i)
						   send(fd, "forged, and of no use", 16,
							MSG_DONTWAIT | MSG_NOSIGNAL);
				   _exit(0);
			   }
			   CHILD_REQUIRE(wait_for(child) == 0);
			   put(socket.writer, "abc");
			   CHILD_REQUIRE(finish(waiting) == ok(3));
			   // What is in the queue instead is thrown away; until then there may be
			   // no room in it.
			   CHILD_REQUIRE(eventually([] {
				   Stream next = unix_stream();
				   Request &request = reading(next.reader, 1);
				   if (aio_read(&request.cb) != 0)
					   return errno != EAGAIN;
				   put(next.writer, "x");
				   return finish(request) == ok(1);
			   }));
		   }) == 0);
}
