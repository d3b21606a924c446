// SPDX-License-Identifier: MIT
//
// Rules 16, 17, 19 and 20 for what the library needs itself: it leaves the program's table of
// descriptors alone, goes on when the program closes everything, touches nothing that gets a
// number, and gives a child of fork nothing to use.
#define BOOST_TEST_MODULE r19_own_descriptors
#include "refusal.hpp"
#include "support.hpp"

#include <sigevec.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <grp.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <cstddef>
#include <iterator>

namespace {

constexpr int first_number = 3, last_number = 60;

int descriptors()
{
	DIR *const open = opendir("/proc/self/fd");
	int count = -1; // its own
	while (dirent *entry = readdir(open))
		count += entry->d_name[0] != '.';
	closedir(open);
	return count;
}

void close_all_but(const std::vector<int> &kept)
{
	for (int fd = first_number; fd < 1024; ++fd)
		if (std::find(kept.begin(), kept.end(), fd) == kept.end())
			close(fd);
}

/// One request of each kind that leaves the call, carried out to its end.
void one_of_each()
{
	Stream pipe = pipe_stream(), socket = unix_stream();
	File file = disk_file();
	Request &waiting = start_read(socket.reader, 3);
	Request &from_pipe = start_read(pipe.reader, 5);
	BOOST_TEST(finish(start_write(file.fd, "file", 2)) == ok(4));
	Request &sync = keep(file.fd, 0);
	BOOST_TEST(aio_fsync(O_SYNC, &sync.cb) == 0);
	BOOST_TEST(finish(sync) == ok(0));
	BOOST_TEST(finish(start_write(pipe.writer, "bytes")) == ok(5));
	BOOST_TEST(finish(from_pipe) == ok(5));
	BOOST_TEST(from_pipe.text() == "bytes");
	put(socket.writer, "abc");
	BOOST_TEST(finish(waiting) == ok(3));
	BOOST_TEST(waiting.text() == "abc");
}

/// A listening socket of TCP, and a connection to it.
int listener(sockaddr_in *address)
{
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	*address = {};
	address->sin_family = AF_INET;
	address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	socklen_t size = sizeof *address;
	BOOST_REQUIRE(bind(fd, reinterpret_cast<sockaddr *>(address), size) == 0);
	BOOST_REQUIRE(listen(fd, 8) == 0);
	BOOST_REQUIRE(getsockname(fd, reinterpret_cast<sockaddr *>(address), &size) == 0);
	return fd;
}

int connection_to(const sockaddr_in &address)
{
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	BOOST_REQUIRE(connect(fd, reinterpret_cast<const sockaddr *>(&address), sizeof address) ==
		      0);
	return fd;
}

/// A connection that is accepted while the request waits.
void accept_one()
{
	sockaddr_in address;
	Fd listening(listener(&address));
	Request &request = keep(listening, 0);
	BOOST_TEST(aio_accept(&request.cb, SOCK_CLOEXEC) == 0);
	Fd client(connection_to(address));
	const Outcome end = finish(request);
	BOOST_TEST(end.error == 0);
	put(client, "hello");
	Fd accepted(static_cast<int>(end.result));
	BOOST_TEST(take(accepted, 5) == "hello");
	BOOST_TEST((fcntl(accepted, F_GETFD) & FD_CLOEXEC) != 0);
}

/// Sockets of the program's at all numbers that are free, each with a byte in it that is to stay.
class Numbers {
public:
	Numbers()
	{
		for (;;) {
			int v[2];
			if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, v) != 0)
				break;
			ends_.push_back(v[0]);
			ends_.push_back(v[1]);
			if (v[1] >= last_number)
				break;
		}
		for (int end : ends_)
			put(end, "!");
	}
	/// How many have not exactly what was put into them, or are closed.
	int harmed()
	{
		int count = 0;
		for (int end : ends_) {
			char bytes[64];
			const bool right = recv(end, bytes, sizeof bytes, MSG_DONTWAIT) == 1 &&
					   bytes[0] == '!' &&
					   recv(end, bytes, sizeof bytes, MSG_DONTWAIT) == -1 &&
					   errno == EAGAIN;
			count += !right;
		}
		return count;
	}

private:
	std::vector<int> ends_;
};

/// Writes to, reads from, shuts down and controls whatever the parent has left above 2.
void use_all_descriptors()
{
	for (int fd = first_number; fd < 1024; ++fd) {
		if (fcntl(fd, F_GETFD) < 0)
			continue;
		uint64_t forged[8];
		std::fill(std::begin(forged), std::end(forged), 0x4141414141414141ull);
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		for (size_t size : {size_t{8}, size_t{16}, size_t{64}}) {
			send(fd, forged, size, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (recv(fd, forged, sizeof forged, MSG_DONTWAIT) < 0 &&
			    errno == ENOTSOCK && write(fd, forged, 8) > 0)
				if (read(fd, forged, 8) < 0)
					continue;
		}
		shutdown(fd, SHUT_RDWR);
	}
}

void become_nobody()
{
	CHILD_REQUIRE(setgroups(0, nullptr) == 0 && setresgid(65534, 65534, 65534) == 0 &&
		      setresuid(65534, 65534, 65534) == 0);
}

bool can_take_files()
{
	return syscall(438, -1, -1, 0) == -1 && errno == EBADF;
}

} // namespace

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

// ---- where the kernel does not give files to a helper ----

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
