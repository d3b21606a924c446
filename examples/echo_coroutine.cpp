// SPDX-License-Identifier: MIT
//
// echo_coroutine [PORT]: an echo server on the loopback interface, a coroutine for each connection,
// all in one thread. c++ -std=c++20 echo_coroutine.cpp $(pkg-config --cflags --libs sigevec)

#include <sigevec.hpp>

#include <arpa/inet.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

using sigevec::channel, sigevec::detached, sigevec::result, sigevec::task;

// Whatever comes goes back, until the other side has nothing more. Gives the number of bytes.
static task<std::size_t> echo(channel &ch, int fd)
{
	char buffer[4096];
	std::size_t total = 0;

	for (;;) {
		result got = co_await ch.recv(fd, buffer);
		if (got.size() == 0) // the end, or an error
			co_return total;
		if (!co_await ch.send(fd, buffer, got.size()))
			co_return total;
		total += got.size();
	}
}

static detached serve(channel &ch, int fd)
{
	std::size_t total = co_await echo(ch, fd);
	std::printf("connection %d: %zu bytes\n", fd, total);
	close(fd);
}

static detached accept_all(channel &ch, int listener)
{
	result connection;

	while ((connection = co_await ch.accept(listener)) || connection.error == ECONNABORTED)
		if (connection)
			serve(ch, static_cast<int>(*connection));
	std::fprintf(stderr, "accept: %s\n", std::strerror(connection.error));
	ch.stop();
}

static int listen_on(int port)
{
	struct sockaddr_in address = {};
	socklen_t length = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons(static_cast<in_port_t>(port));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	auto *where = reinterpret_cast<struct sockaddr *>(&address);
	if (bind(fd, where, length) != 0 || listen(fd, SOMAXCONN) != 0 ||
	    getsockname(fd, where, &length) != 0)
		return -1;
	std::printf("echo on port %d\n", ntohs(address.sin_port));
	return fd;
}

int main(int argc, char **argv)
{
	std::setvbuf(stdout, nullptr, _IOLBF, 0);
	int listener = listen_on(argc > 1 ? std::atoi(argv[1]) : 0);
	channel ch;

	if (listener < 0 || !ch) {
		std::fprintf(stderr, "echo_coroutine: %s\n",
			     std::strerror(ch ? errno : ch.error()));
		return 1;
	}
	accept_all(ch, listener);
	result end = ch.run();
	return end ? 0 : 1;
}
