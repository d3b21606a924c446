// SPDX-License-Identifier: MIT
//
// Streams of every kind: made, written to, filled and read from.
#ifndef CONTRACT_STREAMS_HPP
#define CONTRACT_STREAMS_HPP

#include "checks.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pty.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>

#include <array>
#include <functional>

namespace contract {

/// What is written to `writer` comes out at `reader`. Duplex: also the other way.
struct Stream {
	const char *name;
	Fd reader, writer;
	bool duplex;
};

inline void make_raw(int tty)
{
	termios attributes{};
	REQUIRE_ON_ANY_THREAD(tcgetattr(tty, &attributes) == 0);
	cfmakeraw(&attributes);
	REQUIRE_ON_ANY_THREAD(tcsetattr(tty, TCSANOW, &attributes) == 0);
}
inline Stream pipe_stream()
{
	int ends[2];
	REQUIRE_ON_ANY_THREAD(pipe2(ends, O_CLOEXEC) == 0);
	return {"pipe", Fd(ends[0]), Fd(ends[1]), false};
}
inline Stream fifo_stream()
{
	std::string const path = temp_name("/tmp");
	REQUIRE_ON_ANY_THREAD(mkfifo(path.c_str(), 0600) == 0);
	Fd reader(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
	Fd writer(open(path.c_str(), O_WRONLY | O_CLOEXEC));
	unlink(path.c_str());
	REQUIRE_ON_ANY_THREAD((reader >= 0 && writer >= 0 && fcntl(reader, F_SETFL, 0) == 0));
	return {"fifo", std::move(reader), std::move(writer), false};
}
inline Stream pty_stream()
{
	int master, slave;
	REQUIRE_ON_ANY_THREAD(openpty(&master, &slave, nullptr, nullptr, nullptr) == 0);
	make_raw(slave);
	return {"pty", Fd(slave), Fd(master), true};
}
inline Stream unix_stream(int type = SOCK_STREAM)
{
	int ends[2];
	REQUIRE_ON_ANY_THREAD(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) == 0);
	return {"unix socket", Fd(ends[0]), Fd(ends[1]), true};
}
/// A TCP socket listens on some free port, which is returned.
inline sockaddr_in listen_on_loopback(int fd, int backlog = 1)
{
	sockaddr_in address{};
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	socklen_t length = sizeof address;
	auto *const where = reinterpret_cast<sockaddr *>(&address);
	REQUIRE_ON_ANY_THREAD((bind(fd, where, length) == 0 && listen(fd, backlog) == 0));
	REQUIRE_ON_ANY_THREAD(getsockname(fd, where, &length) == 0);
	return address;
}
inline Stream tcp_stream()
{
	Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	Fd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	for (int fd : {int(listener), int(client)})
		for (int option : {SO_SNDBUF, SO_RCVBUF}) { // a size that the kernel will not adapt
			const int bytes = 65536;
			setsockopt(fd, SOL_SOCKET, option, &bytes, sizeof bytes);
		}
	sockaddr_in address = listen_on_loopback(listener);
	auto *const where = reinterpret_cast<sockaddr *>(&address);
	REQUIRE_ON_ANY_THREAD(connect(client, where, sizeof address) == 0);
	Fd server(accept(listener, nullptr, nullptr));
	REQUIRE_ON_ANY_THREAD(server >= 0);
	return {"tcp socket", std::move(server), std::move(client), true};
}

using StreamMaker = Stream (*)();
inline Stream unix_stream_default()
{
	return unix_stream();
}
inline constexpr std::array<StreamMaker, 5> stream_kinds{pipe_stream, fifo_stream, pty_stream,
							 unix_stream_default, tcp_stream};

/// Runs `body` with a fresh stream of every kind.
template <class Body> void for_each_stream(Body body)
{
	for (StreamMaker make : stream_kinds) {
		Stream stream = make();
		BOOST_TEST_CONTEXT("stream: " << stream.name)
		{
			body(stream);
		}
	}
}
template <class Body> void for_each_duplex_stream(Body body)
{
	for_each_stream([&](Stream &stream) {
		if (stream.duplex)
			body(stream);
	});
}

inline void set_nonblocking(int fd, bool on = true)
{
	const int flags = fcntl(fd, F_GETFL);
	REQUIRE_ON_ANY_THREAD(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) ==
			      0);
}
inline void put(int fd, std::string_view data)
{
	while (!data.empty()) {
		const ssize_t n = write(fd, data.data(), data.size());
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			BOOST_FAIL("write returns " << n << ", errno " << errno);
		data.remove_prefix(static_cast<size_t>(n));
	}
}
/// Reads exactly `bytes` unless the stream ends or nothing comes for the hang limit.
inline std::string take(int fd, size_t bytes)
{
	std::string got;
	std::vector<char> piece(65536);
	while (got.size() < bytes) {
		pollfd ready{fd, POLLIN, 0};
		if (poll(&ready, 1, 1000 * int(hang_limit.count())) <= 0)
			break;
		const ssize_t n =
			read(fd, piece.data(), std::min(piece.size(), bytes - got.size()));
		if (n <= 0)
			break;
		got.append(piece.data(), static_cast<size_t>(n));
	}
	return got;
}
/// Bytes that TCP has sent and that the peer has not said to have: when it does, there is room
/// again.
inline bool unacknowledged(int fd)
{
	tcp_info info{};
	socklen_t size = sizeof info;
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_unacked != 0;
}
inline bool is_tcp(int fd)
{
	int protocol = 0;
	socklen_t size = sizeof protocol;
	return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 &&
	       protocol == IPPROTO_TCP;
}
/// Writes 'f' until not one byte more fits; returns how many did. The file's flags stay.
inline size_t fill_up(int fd)
{
	const int flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	const bool tcp = is_tcp(fd), tty = isatty(fd) != 0;
	std::vector<char> block(4096, 'f');
	size_t total = 0;
	// Others carry on what was written.
	const int looks = tcp ? 2 : tty ? 4 : 1;
	for (int left = looks; left > 0;) {
		const size_t before = total;
		for (size_t piece : {block.size(), size_t{1}})
			for (ssize_t n; (n = write(fd, block.data(), piece)) > 0;)
				total += static_cast<size_t>(n);
		left = looks > 1 && total != before ? looks : left - 1;
		if (tcp)
			eventually([&] { return !unacknowledged(fd); });
		else if (tty)
			usleep(500);
	}
	fcntl(fd, F_SETFL, flags);
	return total;
}
/// The same; TCP's buffer grows no more.
inline size_t fill(int fd)
{
	const int room = 65536;
	if (is_tcp(fd))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
	return fill_up(fd);
}
inline bool has_data(int fd)
{
	pollfd ready{fd, POLLIN, 0};
	return poll(&ready, 1, 0) > 0 && (ready.revents & POLLIN) != 0;
}

} // namespace contract

#endif
