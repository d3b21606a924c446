// SPDX-License-Identifier: MIT
#include "report.hpp"
#include "stream.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <pty.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

namespace calls {

namespace {

bool make_fifo(int (&fds)[2])
{
	const std::string path =
		"/tmp/random-" + std::to_string(getpid()) + "-" + std::to_string(this_thread);
	if (mkfifo(path.c_str(), 0600) != 0)
		return false;
	fds[0] = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	fds[1] = open(path.c_str(), O_WRONLY | O_CLOEXEC);
	unlink(path.c_str());
	return fds[0] >= 0 && fds[1] >= 0 && fcntl(fds[0], F_SETFL, 0) == 0;
}

bool make_tcp(int (&fds)[2])
{
	const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sockaddr_in address{};
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	socklen_t length = sizeof address;
	auto *const where = reinterpret_cast<sockaddr *>(&address);
	fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const bool made = bind(listener, where, length) == 0 && listen(listener, 1) == 0 &&
			  getsockname(listener, where, &length) == 0 &&
			  connect(fds[1], where, length) == 0;
	fds[0] = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
	close(listener);
	return made && fds[0] >= 0;
}

bool make_pty(int (&fds)[2])
{
	termios raw{};
	cfmakeraw(&raw);
	raw.c_cflag |= CREAD;
	return openpty(&fds[1], &fds[0], nullptr, &raw, nullptr) == 0 &&
	       fcntl(fds[0], F_SETFD, FD_CLOEXEC) == 0 && fcntl(fds[1], F_SETFD, FD_CLOEXEC) == 0;
}

bool make_sockets(int type, int (&fds)[2])
{
	return socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) == 0;
}

bool make(Sort sort, int (&fds)[2])
{
	switch (sort) {
	case Sort::pipe:
		return pipe2(fds, O_CLOEXEC) == 0;
	case Sort::fifo:
		return make_fifo(fds);
	case Sort::unix_stream:
		return make_sockets(SOCK_STREAM, fds);
	case Sort::tcp:
		return make_tcp(fds);
	case Sort::pty:
		return make_pty(fds);
	case Sort::seqpacket:
		return make_sockets(SOCK_SEQPACKET, fds);
	case Sort::datagrams:
		return make_sockets(SOCK_DGRAM, fds);
	}
	return false;
}

} // namespace

void make_ends(Sort sort, int (&fds)[2])
{
	if (!make(sort, fds))
		fault("no %s can be made: errno %d", name_of(sort), errno);
}

const char *name_of(Sort sort)
{
	static constexpr const char *names[] = {"pipe", "fifo",      "unix_stream", "tcp",
						"pty",  "seqpacket", "datagrams"};
	return names[unsigned(sort)];
}

} // namespace calls
