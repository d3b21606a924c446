// SPDX-License-Identifier: MIT
//
// What the tests of the library's own descriptors have in common: requests of each kind, and
// programs that use, close or lack numbers.
#ifndef SIGEVEC_TESTS_OWN_DESCRIPTORS_HPP
#define SIGEVEC_TESTS_OWN_DESCRIPTORS_HPP

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

namespace contract {

constexpr int first_number = 3, last_number = 60;

inline int descriptors()
{
	DIR *const open = opendir("/proc/self/fd");
	int count = -1; // its own
	while (dirent *entry = readdir(open))
		count += entry->d_name[0] != '.';
	closedir(open);
	return count;
}

inline void close_all_but(const std::vector<int> &kept)
{
	for (int fd = first_number; fd < 1024; ++fd)
		if (std::find(kept.begin(), kept.end(), fd) == kept.end())
			close(fd);
}

/// One request of each kind that leaves the call, carried out to its end.
inline void one_of_each()
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
inline int listener(sockaddr_in *address)
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

inline int connection_to(const sockaddr_in &address)
{
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	BOOST_REQUIRE(connect(fd, reinterpret_cast<const sockaddr *>(&address), sizeof address) ==
		      0);
	return fd;
}

/// A connection that is accepted while the request waits.
inline void accept_one()
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
inline void use_all_descriptors()
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

inline void become_nobody()
{
	CHILD_REQUIRE(setgroups(0, nullptr) == 0 && setresgid(65534, 65534, 65534) == 0 &&
		      setresuid(65534, 65534, 65534) == 0);
}

inline bool can_take_files()
{
	return syscall(438, -1, -1, 0) == -1 && errno == EBADF;
}

} // namespace contract

#endif
