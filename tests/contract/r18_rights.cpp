// SPDX-License-Identifier: MIT
//
// Rule 18: a right is checked as the calling thread at the time of the call: with its user, group
// and capabilities, which may be others than those of the process, and with its root. Root only.
#define BOOST_TEST_MODULE r18_rights
#include "callers.hpp"

#include <sched.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>

namespace {

using Pending = Way::Pending;

struct RootOnly {
	RootOnly()
	{
		if (geteuid() != 0)
			skip_program("not root");
		make_a_request();
	}
};
BOOST_TEST_GLOBAL_FIXTURE(RootOnly);

int error_of_connect(const SocketKind &kind, Address to)
{
	const Fd s = new_socket(kind);
	return connect(s, to.get(), to.length) == 0 ? 0 : errno;
}

/// One way of writing `bytes` bytes at the beginning of a file.
struct Write {
	const char *name;
	size_t bytes;
	int flags; // of the descriptor
	bool list;
};
constexpr Write writes[] = {{"small", 8, 0, false},           {"large", 1 << 20, 0, false},
			    {"O_APPEND", 8, O_APPEND, false}, {"O_DIRECT", 4096, O_DIRECT, false},
			    {"O_SYNC", 8, O_SYNC, false},     {"lio_listio", 8, 0, true}};

/// A set-user-ID program of root's that everybody may write to, with all the room it takes.
File program(const std::string &directory, int flags)
{
	File file(directory, O_RDWR | flags);
	if (file.fd >= 0)
		BOOST_TEST_REQUIRE(
			(posix_fallocate(file.fd, 0, 1 << 20) == 0 && fchmod(file.fd, 04777) == 0));
	return file;
}
bool set_user_id(const File &file)
{
	struct stat status {};
	BOOST_TEST_REQUIRE(fstat(file.fd, &status) == 0);
	return (status.st_mode & S_ISUID) != 0;
}
void write_program(const File &file, const Write &w)
{
	Request &request = writing(file.fd, pattern(w.bytes));
	aiocb *const list[] = {&request.cb};
	request.cb.aio_lio_opcode = LIO_WRITE;
	BOOST_TEST_REQUIRE(
		(w.list ? lio_listio(LIO_NOWAIT, list, 1, nullptr) : aio_write(&request.cb)) == 0);
	BOOST_TEST(finish(request) == ok(ssize_t(w.bytes)));
}

template <class Body> void for_each_write(Body body)
{
	for (const std::string &directory : {disk_directory(), std::string("/dev/shm")})
		for (const Write &w : writes)
			BOOST_TEST_CONTEXT(directory << ", " << w.name)
			{
				if (File file = program(directory, w.flags); file.fd >= 0)
					body(file, w);
			}
}

/// Data of the process that a fallen thread must not have a helper write.
std::string const adjustment = "/proc/self/oom_score_adj";

} // namespace

// ---------------------------------------------------------------------- names

BOOST_AUTO_TEST_CASE(a_socket_that_the_thread_may_not_write_to_is_not_reached)
{
	Folder folder;
	const Fd listener = folder.socket_at("s", unix_stream_kind),
		 datagrams = folder.socket_at("d", unix_datagram_kind);
	BOOST_TEST_REQUIRE((chmod(folder.in("s").c_str(), 0700) == 0 &&
			    chmod(folder.in("d").c_str(), 0700) == 0));
	for_each_fall([&] {
		for_each_way([&](Way &way) {
			for (bool nonblocking : {false, true}) {
				Address to = unix_name(folder.in("s")),
					other = unix_name(folder.in("d"));
				BOOST_TEST_REQUIRE(error_of_connect(unix_stream_kind, to) ==
						   EACCES);
				Fd const s = new_socket(unix_stream_kind),
					 d = new_socket(unix_datagram_kind);
				set_nonblocking(s, nonblocking);
				BOOST_TEST(way.finish(way.connect(s, to.get(), to.length)) ==
					   failed(EACCES));
				BOOST_TEST(way.finish(way.connect(d, other.get(), other.length)) ==
					   failed(EACCES));
				BOOST_TEST(way.finish(way.sendto(d, "x", other.get(),
								 other.length)) == failed(EACCES));
			}
		});
	});
	BOOST_TEST(!was_connected_to(listener));
	BOOST_TEST(received(datagrams, 'x') == 0);
}

BOOST_AUTO_TEST_CASE(a_folder_that_the_thread_may_not_search_is_not_entered)
{
	Folder folder;
	const Fd listener = folder.socket_at("s", unix_stream_kind);
	BOOST_TEST_REQUIRE((chmod(folder.path().c_str(), 0700) == 0 &&
			    chmod(folder.in("s").c_str(), 0777) == 0));
	for_each_fall([&] {
		for_each_way([&](Way &way) {
			Address to = unix_name(folder.in("s"));
			Fd const s = new_socket(unix_stream_kind);
			BOOST_TEST(way.finish(way.connect(s, to.get(), to.length)) ==
				   failed(EACCES));
		});
	});
	BOOST_TEST(!was_connected_to(listener));
}

BOOST_AUTO_TEST_CASE(a_root_of_the_threads_own_is_not_left)
{
	Folder folder, jail;
	const Fd listener = folder.socket_at("s", unix_stream_kind);
	in_thread([&] {
		BOOST_TEST_REQUIRE((unshare(CLONE_FS) == 0 && chroot(jail.path().c_str()) == 0 &&
				    chdir("/") == 0));
		for_each_way([&](Way &way) {
			Address to = unix_name(folder.in("s"));
			Fd const s = new_socket(unix_stream_kind);
			BOOST_TEST(way.finish(way.connect(s, to.get(), to.length)) ==
				   failed(ENOENT));
		});
	});
	BOOST_TEST(!was_connected_to(listener));
}

BOOST_AUTO_TEST_CASE(a_root_that_comes_later_does_not_matter)
{
	Folder folder, jail;
	const Fd listener = folder.socket_at("s", unix_stream_kind, 0);
	Address to = unix_name(folder.in("s"));
	const std::vector<Fd> clients = fill_backlog(unix_stream_kind, to);
	const int status = in_child([&] {
		for (bool nonblocking : {false, true}) {
			Fd const s = new_socket(unix_stream_kind);
			set_nonblocking(s, nonblocking);
			static aiocb cb;
			cb = {};
			cb.aio_fildes = s;
			cb.aio_sigevent.sigev_notify = SIGEV_NONE;
			CHILD_REQUIRE(aio_connect(&cb, to.get(), to.length) == 0);
			CHILD_REQUIRE((chroot(jail.path().c_str()) == 0 && chdir("/") == 0));
			CHILD_REQUIRE(aio_error(&cb) == EINPROGRESS);
			CHILD_REQUIRE(was_connected_to(listener));
			CHILD_REQUIRE(eventually([&] { return aio_error(&cb) != EINPROGRESS; }));
			CHILD_REQUIRE(aio_error(&cb) == 0);
			CHILD_REQUIRE((fchdir(open("/", O_PATH)) == 0));
			break;
		}
	});
	BOOST_TEST(status == 0);
}

// ---------------------------------------------------------------------- peers

BOOST_AUTO_TEST_CASE(the_peer_is_told_who_has_connected)
{
	Folder folder;
	const Fd listener = folder.socket_at("s", unix_stream_kind);
	BOOST_TEST_REQUIRE(chmod(folder.in("s").c_str(), 0777) == 0);
	for (bool nonblocking : {false, true})
		for (const Fall &fall : {falls[0], falls[1]})
			in_thread([&] {
				BOOST_TEST_REQUIRE(fall.fall());
				for_each_way([&](Way &way) {
					Address to = unix_name(folder.in("s"));
					Fd const s = new_socket(unix_stream_kind);
					set_nonblocking(s, nonblocking);
					BOOST_TEST(way.finish(way.connect(s, to.get(),
									  to.length)) == ok(0));
					Fd const server(
						accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
					ucred who{};
					socklen_t size = sizeof who;
					BOOST_TEST_REQUIRE(getsockopt(server, SOL_SOCKET,
								      SO_PEERCRED, &who,
								      &size) == 0);
					BOOST_TEST(who.uid == nobody);
					BOOST_TEST(who.gid == nobody);
					BOOST_TEST(who.pid == getpid());
				});
			});
}

BOOST_AUTO_TEST_CASE(the_peer_is_told_who_sent_what_had_to_wait)
{
	for (const SocketKind &kind : {unix_datagram_kind, unix_packet_kind, unix_stream_kind})
		BOOST_TEST_CONTEXT(kind.name)
		{
			in_thread([&] {
				BOOST_TEST_REQUIRE(lose_all());
				for_each_way([&](Way &way) {
					Pair pair = make_pair(kind);
					int const yes = 1;
					BOOST_TEST_REQUIRE(setsockopt(pair.b, SOL_SOCKET,
								      SO_PASSCRED, &yes,
								      sizeof yes) == 0);
					while (send(pair.a, "ffff", 4, MSG_DONTWAIT) > 0) {
					}
					Pending &p = way.send(pair.a, "x");
					BOOST_TEST(way.pending(p));
					ucred who{};
					for (char last = 'f'; last != 'x';) {
						Message &in = room_for({1 << 16});
						in.make_room(CMSG_SPACE(sizeof who));
						way.pending(p);
						ssize_t const n =
							recvmsg(pair.b, &in.header, MSG_DONTWAIT);
						if (n <= 0)
							continue;
						last = in.parts[0][size_t(n) - 1];
						if (void const *data = in.received(SCM_CREDENTIALS))
							memcpy(&who, data, sizeof who);
					}
					BOOST_TEST(way.finish(p) == ok(1));
					BOOST_TEST(who.uid == nobody);
					BOOST_TEST(who.pid == getpid());
				});
			});
		}
}

// ---------------------------------------------------------------------- files

BOOST_AUTO_TEST_CASE(a_write_of_root_leaves_a_program_set_user_id)
{
	for_each_write([](const File &file, const Write &w) {
		write_program(file, w);
		BOOST_TEST(set_user_id(file));
	});
}

BOOST_AUTO_TEST_CASE(a_write_of_anybody_else_does_not)
{
	for_each_fall([] {
		for_each_write([](File const &file, Write const &w) {
			write_program(file, w);
			BOOST_TEST(!set_user_id(file));
		});
	});
}

BOOST_AUTO_TEST_CASE(a_write_by_an_effective_user_of_a_while_is_his)
{
	for (int turn = 0; turn < 10; turn++)
		for_each_write([](const File &file, const Write &w) {
			Request &request = writing(file.fd, pattern(w.bytes));
			BOOST_TEST_REQUIRE(seteuid(nobody) == 0);
			int const submitted = aio_write(&request.cb);
			BOOST_TEST_REQUIRE(seteuid(0) == 0);
			BOOST_TEST_REQUIRE(submitted == 0);
			BOOST_TEST(finish(request) == ok(ssize_t(w.bytes)));
			BOOST_TEST(!set_user_id(file));
		});
}

BOOST_AUTO_TEST_CASE(writes_of_threads_with_other_rights_keep_their_order)
{
	for (bool fallen : {false, true}) {
		File file = disk_file(O_APPEND);
		std::string all;
		in_thread([&] {
			if (fallen)
				BOOST_TEST_REQUIRE(lose_all());
			std::vector<Request *> requests;
			for (int i = 0; i < 50; i++) {
				std::string const text =
					pattern(1 + size_t(i) * 37, unsigned(i + 1));
				all += text;
				requests.push_back(&start_write(file.fd, text));
			}
			for (Request *request : requests)
				BOOST_TEST(finish(*request) == ok(ssize_t(request->size)));
		});
		BOOST_TEST((file.content() == all));
	}
}

BOOST_AUTO_TEST_CASE(what_the_kernel_asks_at_a_write_it_asks_the_caller)
{
	const Fd file(open(adjustment.c_str(), O_RDWR | O_CLOEXEC));
	BOOST_TEST_REQUIRE(file >= 0);
	BOOST_TEST_REQUIRE(pwrite(file, "10", 2, 0) == 2);
	in_thread([&] {
		BOOST_TEST_REQUIRE(lose_all());
		BOOST_TEST_REQUIRE(pwrite(file, "-10", 3, 0) == -1);
		int const error = errno;
		BOOST_TEST(finish(start_write(file, "-10")) == failed(error));
	});
	const ssize_t judged = pwrite(file, "-10", 3, 0);
	BOOST_TEST(finish(start_write(file, "-10")) == (judged == 3 ? ok(3) : failed(errno)));
	BOOST_TEST(pwrite(file, "0", 1, 0) == 1);
}

// -------------------------------------------------------------- the process

BOOST_AUTO_TEST_CASE(the_process_may_change_its_user_while_requests_wait)
{
	Folder folder;
	const Fd listener = folder.socket_at("s", unix_stream_kind, 0);
	BOOST_TEST_REQUIRE(chmod(folder.in("s").c_str(), 0777) == 0);
	Address to = unix_name(folder.in("s"));
	const std::vector<Fd> clients = fill_backlog(unix_stream_kind, to);
	const int status = in_child([&] {
		static aiocb cbs[2];
		Fd const s[2] = {new_socket(unix_stream_kind), new_socket(unix_stream_kind)};
		CHILD_REQUIRE(fcntl(s[1], F_SETFL, O_NONBLOCK) == 0);
		for (int i = 0; i < 2; i++) {
			cbs[i].aio_fildes = s[i];
			cbs[i].aio_sigevent.sigev_notify = SIGEV_NONE;
			CHILD_REQUIRE(seteuid(i == 0 ? 0 : nobody) == 0);
			CHILD_REQUIRE(aio_connect(&cbs[i], to.get(), to.length) == 0);
		}
		for (uid_t user : {0u, 12345u, 0u, 54321u, 0u})
			CHILD_REQUIRE(seteuid(user) == 0);
		CHILD_REQUIRE((setgid(nobody) == 0 && setuid(nobody) == 0));
		CHILD_REQUIRE(
			(aio_error(&cbs[0]) == EINPROGRESS && aio_error(&cbs[1]) == EINPROGRESS));
		CHILD_REQUIRE(eventually([&] {
			was_connected_to(listener);
			return aio_error(&cbs[0]) != EINPROGRESS &&
			       aio_error(&cbs[1]) != EINPROGRESS;
		}));
		CHILD_REQUIRE((aio_error(&cbs[0]) == 0 && aio_error(&cbs[1]) == 0));
	});
	BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(a_helper_that_a_fallen_thread_has_started_serves_the_others_with_their_rights)
{
	File file = program(disk_directory(), 0);
	const int status = in_child([&] {
		std::thread([] {
			CHILD_REQUIRE(lose_all());
			static char byte;
			static aiocb cb;
			int ends[2];
			CHILD_REQUIRE(pipe(ends) == 0);
			cb.aio_fildes = ends[0];
			cb.aio_buf = &byte;
			cb.aio_nbytes = 1;
			cb.aio_sigevent.sigev_notify = SIGEV_NONE;
			CHILD_REQUIRE(aio_read(&cb) == 0);
		}).join();
		static char buffer[8] = "text";
		static aiocb cb;
		cb.aio_fildes = file.fd;
		cb.aio_buf = buffer;
		cb.aio_nbytes = sizeof buffer;
		cb.aio_sigevent.sigev_notify = SIGEV_NONE;
		CHILD_REQUIRE(aio_write(&cb) == 0);
		CHILD_REQUIRE(eventually([&] { return aio_error(&cb) != EINPROGRESS; }));
		CHILD_REQUIRE(aio_error(&cb) == 0);
		CHILD_REQUIRE(set_user_id(file));
	});
	BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(a_wait_is_at_the_objects_of_the_threads_own_namespace_whatever_its_root_says)
{
	const Channel ec;
	struct {
		long type;
		char text[8];
	} first{}, second{}, sent{1, "hello"};
	const int outside = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	BOOST_TEST_REQUIRE(outside >= 0);
	BOOST_TEST_REQUIRE(ev_msgrcv(outside, &first, 8, 0, 0, ec, nullptr) == 0);
	char name[64] = "";
	BOOST_TEST_REQUIRE(readlink("/proc/thread-self/ns/ipc", name, sizeof name - 1) > 0);
	// A root whose /proc says that this is the namespace of all others.
	const std::string root = temp_name("/tmp");
	for (const char *folder : {"", "/proc", "/proc/thread-self", "/proc/thread-self/ns"})
		BOOST_TEST_REQUIRE(mkdir((root + folder).c_str(), 0700) == 0);
	const std::string link = root + "/proc/thread-self/ns/ipc";
	BOOST_TEST_REQUIRE(symlink(name, link.c_str()) == 0);
	std::thread([&] {
		REQUIRE_ON_ANY_THREAD(unshare(CLONE_NEWIPC | CLONE_FS) == 0);
		REQUIRE_ON_ANY_THREAD(chroot(root.c_str()) == 0);
		const int inside = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
		REQUIRE_ON_ANY_THREAD(inside >= 0);
		REQUIRE_ON_ANY_THREAD(ev_msgrcv(inside, &second, 8, 0, 0, ec, &second) == 0);
		REQUIRE_ON_ANY_THREAD(msgsnd(inside, &sent, 8, 0) == 0);
		event_data_t event{};
		REQUIRE_ON_ANY_THREAD(take_events(ec, &event, 1) == 1);
		REQUIRE_ON_ANY_THREAD(event.ev_data == &second);
		REQUIRE_ON_ANY_THREAD(event.ev_result == 8);
	}).join();
	msgctl(outside, IPC_RMID, nullptr);
	unlink(link.c_str());
	for (const char *folder : {"/proc/thread-self/ns", "/proc/thread-self", "/proc", ""})
		rmdir((root + folder).c_str());
}
