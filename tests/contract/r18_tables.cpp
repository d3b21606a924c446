// SPDX-License-Identifier: MIT
//
// Rule 18 for what a thread may have left: the process's table of descriptors, its supplementary
// groups; and for what is called /proc in its root. Descriptors that come of a request come to the
// table of who has asked for it.
#define BOOST_TEST_MODULE r18_tables
#include "callers.hpp"

#include <grp.h>
#include <linux/capability.h>
#include <sys/fanotify.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace {

using Pending = Way::Pending;

/// Runs `body` in a thread that has left the process's table, with a copy of it.
template <class Body> void in_table_of_its_own(Body body)
{
	in_thread([&] {
		BOOST_TEST_REQUIRE(unshare(CLONE_FILES) == 0);
		body();
	});
}

bool same_inode(int a, int b)
{
	struct stat x {
	}, y{};
	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

void send_descriptor(int socket, int fd)
{
	Message &m = message({"d"});
	m.attach_descriptor(fd);
	BOOST_TEST_REQUIRE(sendmsg(socket, &m.header, 0) == 1);
}

/// A message that waits, and the descriptor that came with it.
int receive_descriptor(Way &way, int socket, int sender, int fd)
{
	Message &m = room_for({1});
	m.make_room(CMSG_SPACE(sizeof fd));
	Pending &in = way.recvmsg(socket, m);
	BOOST_TEST(way.pending(in));
	send_descriptor(sender, fd);
	BOOST_TEST(way.finish(in) == ok(1));
	return m.received_descriptor();
}

/// Whether a pipe's other end is closed everywhere before long.
bool ends(int reader)
{
	pollfd p{reader, POLLIN, 0};
	return poll(&p, 1, 20000) == 1 && (p.revents & POLLHUP) != 0;
}

/// Numbers that the process's table has not got, so that the tables cannot be taken for each other.
std::vector<Fd> take_numbers(int count)
{
	std::vector<Fd> taken;
	while (count-- > 0)
		taken.emplace_back(dup(0));
	return taken;
}

/// So that whoever comes first is not the thread with another table.
void accept_in_process_table()
{
	Fd const listener = listening_socket(unix_stream_kind);
	Way way(Way::kinds[2]);
	Pending &in = way.accept(listener);
	Fd const client = connected_to(unix_stream_kind, listener);
	Outcome const got = way.finish(in);
	BOOST_TEST_REQUIRE(got.result >= 0);
	Fd const server(int(got.result));
	BOOST_TEST(write(server, "x", 1) == 1);
	BOOST_TEST(take(client, 1) == "x");
}

} // namespace

// ---------------------------------------------------------------------- descriptors that come

BOOST_AUTO_TEST_CASE(a_thread_with_a_table_of_its_own_that_comes_first_serves_nobody_else)
{
	Fd const listener = listening_socket(unix_stream_kind);
	in_table_of_its_own([&] {
		std::vector<Fd> const taken = take_numbers(40);
		Way way(Way::kinds[2]);
		Pending &in = way.accept(listener);
		Fd const client = connected_to(unix_stream_kind, listener);
		Outcome const got = way.finish(in);
		BOOST_TEST_REQUIRE(got.result >= 0);
		BOOST_TEST(write(int(got.result), "x", 1) == 1);
		BOOST_TEST(take(client, 1) == "x");
	});
	accept_in_process_table();
}

BOOST_AUTO_TEST_CASE(a_descriptor_in_a_message_comes_to_the_table_of_the_thread_that_asked)
{
	accept_in_process_table();
	for (const Way::Kind &kind : Way::kinds) {
		Pair const s = make_pair(unix_stream_kind);
		Stream const pipe = pipe_stream();
		BOOST_TEST_CONTEXT(kind.name)
		{
			in_table_of_its_own([&] {
				std::vector<Fd> const taken = take_numbers(40);
				Way way(kind);
				int const got = receive_descriptor(way, s.b, s.a, pipe.writer);
				BOOST_TEST(got >= 0);
				BOOST_TEST(same_inode(got, pipe.writer));
			});
			// In the table of the process nobody has put anything.
			Way way(kind);
			Fd const got(receive_descriptor(way, s.b, s.a, pipe.writer));
			BOOST_TEST(same_inode(got, pipe.writer));
		}
	}
}

BOOST_AUTO_TEST_CASE(connections_come_to_the_table_of_the_thread_that_asked)
{
	accept_in_process_table();
	Fd const listener = listening_socket(unix_stream_kind);
	in_table_of_its_own([&] {
		std::vector<Fd> const taken = take_numbers(40);
		Channel channel;
		BOOST_TEST_REQUIRE(ev_accept(listener, EV_MULTISHOT, channel, &channel) == 0);
		for (int i = 0; i < 3; i++) {
			Fd const client = connected_to(unix_stream_kind, listener);
			event_data_t event;
			BOOST_TEST_REQUIRE(take_events(channel, &event, 1, until_it_hangs) == 1);
			BOOST_TEST_REQUIRE(event.ev_result >= 0);
			Fd const server(int(event.ev_result));
			BOOST_TEST(write(server, "x", 1) == 1);
			BOOST_TEST(take(client, 1) == "x");
		}
		BOOST_TEST(ev_cancel(channel, &channel) == 0);
	});
}

BOOST_AUTO_TEST_CASE(a_table_ends_with_its_thread_and_its_requests)
{
	Stream pipe = pipe_stream();
	Pair const s = make_pair(unix_stream_kind);
	in_table_of_its_own([&] {
		Way way(Way::kinds[0]);
		Fd const got(receive_descriptor(way, s.b, s.a, s.a));
		BOOST_TEST(got >= 0);
	});
	pipe.writer.reset();
	BOOST_TEST(ends(pipe.reader));
}

BOOST_AUTO_TEST_CASE(what_fanotify_tells_names_files_in_the_readers_table)
{
	File const file = disk_file();
	for (bool waits : {false, true}) {
		Fd const group(fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC, O_RDONLY | O_CLOEXEC));
		if (group < 0) {
			BOOST_TEST_MESSAGE("skipped: no fanotify here");
			return;
		}
		BOOST_TEST_REQUIRE(fanotify_mark(group, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD,
						 file.path.c_str()) == 0);
		auto const happens = [&] {
			const pid_t child = fork(); // what the reader does itself is told as well
			if (child == 0)
				_exit(open(file.path.c_str(), O_RDONLY) < 0);
			waitpid(child, nullptr, 0);
		};
		if (!waits)
			happens();
		Request &request = start_read(group, 256);
		if (waits)
			happens();
		BOOST_TEST(finish(request).result > 0);
		fanotify_event_metadata event{};
		memcpy(&event, request.data(), sizeof event);
		Fd const opened(event.fd);
		BOOST_TEST(same_inode(opened, file.fd));
	}
}

BOOST_AUTO_TEST_CASE(the_process_that_nobody_has_been_told_of_is_closed)
{
	constexpr int pass_pidfd = 76; // SO_PASSPIDFD
	const int on = 1;
	Pair const s = make_pair(unix_stream_kind);
	if (setsockopt(s.b, SOL_SOCKET, pass_pidfd, &on, sizeof on) != 0) {
		BOOST_TEST_MESSAGE("skipped: no SO_PASSPIDFD here");
		return;
	}
	for (unsigned flags : {0u, unsigned{EC_SINGLE}}) {
		Message &m = room_for({1});
		m.make_room(256);
		{
			Channel channel(flags);
			BOOST_TEST_REQUIRE(write(s.a, "x", 1) == 1);
			BOOST_TEST_REQUIRE(ev_recvmsg(s.b, &m.header, 0, channel, nullptr) == 0);
			pollfd p{channel, POLLIN, 0};
			BOOST_TEST(poll(&p, 1, 20000) == 1);
		}
		int fd = -1;
		if (const void *data = m.received(4)) // SCM_PIDFD
			memcpy(&fd, data, sizeof fd);
		BOOST_TEST((fd < 0 || fcntl(fd, F_GETFD) == -1));
	}
}

// ---------------------------------------------------------------------- names

BOOST_AUTO_TEST_CASE(what_is_called_proc_in_a_root_of_somebody_elses_is_not_believed)
{
	if (!is_root())
		return;
	Folder folder;
	Fd const right = folder.socket_at("right", unix_datagram_kind),
		 trap = folder.socket_at("trap", unix_datagram_kind);
	Address to = unix_name("/right");
	// Somebody whose numbers all stand for the trap.
	Fd const trapped(open(folder.in("trap").c_str(), O_PATH | O_CLOEXEC));
	int ready[2];
	BOOST_TEST_REQUIRE(pipe2(ready, O_CLOEXEC) == 0);
	const pid_t other = fork();
	if (other == 0) {
		for (int n = 0; n < 200; n++)
			if (n != ready[1] && n != trapped)
				dup2(trapped, n);
		if (write(ready[1], "r", 1) == 1)
			dup2(trapped, ready[1]);
		for (;;)
			pause();
	}
	BOOST_TEST_REQUIRE(take(ready[0], 1) == "r");
	Fd const first(ready[0]), second(ready[1]);
	std::string const real = folder.in("real"), proc = folder.in("proc"),
			  self = proc + "/thread-self";
	BOOST_TEST_REQUIRE((mkdir(real.c_str(), 0755) == 0 && mkdir(proc.c_str(), 0755) == 0));
	BOOST_TEST_REQUIRE(symlink(("/real/" + std::to_string(other)).c_str(), self.c_str()) == 0);
	in_thread([&] {
		bool const there = unshare(CLONE_NEWNS | CLONE_FS) == 0 &&
				   mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
				   mount("proc", real.c_str(), "proc", 0, nullptr) == 0 &&
				   chroot(folder.path().c_str()) == 0;
		if (!there) {
			BOOST_TEST_MESSAGE("skipped: no mounts here");
			return;
		}
		for_each_way([&](Way &way) {
			Fd const sender = new_socket(unix_datagram_kind);
			int const filling = fill_receiver(sender, to);
			Pending &waiting = way.sendto(sender, "y", to.get(), to.length);
			way.go();
			BOOST_TEST(way.pending(waiting));
			make_room(right, filling);
			BOOST_TEST(way.finish(waiting) == ok(1));
			BOOST_TEST(received(right, 'y') == 1);
			BOOST_TEST(received(trap, 'y') == 0);
		});
	});
	kill(other, SIGKILL);
	waitpid(other, nullptr, 0);
	unlink(self.c_str());
	rmdir(proc.c_str());
	rmdir(real.c_str());
}

// ---------------------------------------------------------------------- groups

namespace {

constexpr gid_t a_group = 77;

bool keep_only(uint32_t capability)
{
	__user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
	__user_cap_data_struct data[2]{};
	data[0].effective = data[0].permitted = 1u << capability;
	return syscall(SYS_capset, &header, data) == 0;
}

/// A process of an ordinary user, in a group, which may change its groups.
bool become_user_in_group()
{
	return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 && setgroups(1, &a_group) == 0 &&
	       setresgid(nobody, nobody, nobody) == 0 && setresuid(nobody, nobody, nobody) == 0 &&
	       keep_only(CAP_SETGID);
}

/// What is left of the mark that a file of the group's has, after a write by a thread that is in
/// the group or has left it.
mode_t mark_after_write(const File &file, bool in_group, bool by_request)
{
	mode_t left = 0;
	in_thread([&] {
		if (!in_group)
			syscall(SYS_setgroups, 0, nullptr);
		Request &request = writing(file.fd, "data");
		bool const written =
			by_request ? aio_write(&request.cb) == 0 && finish(request) == ok(4)
				   : pwrite(file.fd, "data", 4, 0) == 4;
		struct stat status {};
		left = written && fstat(file.fd, &status) == 0 ? status.st_mode & S_ISGID : 1;
	});
	return left;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_thread_that_has_left_a_group_does_not_write_as_its_member)
{
	if (!is_root())
		return;
	for (int flags : {0, O_SYNC, O_APPEND})
		for (bool in_group : {true, false}) {
			File files[] = {disk_file(flags), disk_file(flags)};
			for (File &file : files)
				BOOST_TEST_REQUIRE((fchown(file.fd, 0, a_group) == 0 &&
						    fchmod(file.fd, 02666) == 0));
			const pid_t child = fork();
			if (child == 0) {
				if (!become_user_in_group())
					_exit(77);
				make_a_request();
				mode_t const judge = mark_after_write(files[0], in_group, false);
				_exit(mark_after_write(files[1], in_group, true) != judge);
			}
			int status = -1;
			waitpid(child, &status, 0);
			BOOST_TEST_CONTEXT("flags " << flags << " member " << in_group)
			BOOST_TEST((WIFEXITED(status) &&
				    (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77)));
		}
}
