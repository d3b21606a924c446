// SPDX-License-Identifier: MIT
//
// ether/wake.hpp: on any other file, which may have the number by then, nothing comes of it.
#define BOOST_TEST_MODULE ether_wake
#include "ether/wake.hpp"

#include <boost/test/unit_test.hpp>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

struct Ends {
	int near = -1, far = -1;
	~Ends()
	{
		close(near);
		close(far);
	}
};

Ends unix_sockets(int type)
{
	int v[2];
	BOOST_TEST_REQUIRE(socketpair(AF_UNIX, type, 0, v) == 0);
	return {v[0], v[1]};
}

void bind_to_loopback(int s, sockaddr_in *a)
{
	*a = {};
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	socklen_t n = sizeof *a;
	auto *const address = reinterpret_cast<sockaddr *>(a);
	BOOST_TEST_REQUIRE(bind(s, address, n) == 0);
	BOOST_TEST_REQUIRE(getsockname(s, address, &n) == 0);
}

Ends udp_sockets()
{
	Ends e{socket(AF_INET, SOCK_DGRAM, 0), socket(AF_INET, SOCK_DGRAM, 0)};
	sockaddr_in near, far;
	bind_to_loopback(e.near, &near);
	bind_to_loopback(e.far, &far);
	BOOST_TEST_REQUIRE(connect(e.near, reinterpret_cast<sockaddr *>(&far), sizeof far) == 0);
	BOOST_TEST_REQUIRE(connect(e.far, reinterpret_cast<sockaddr *>(&near), sizeof near) == 0);
	return e;
}

Ends tcp_sockets()
{
	const int listener = socket(AF_INET, SOCK_STREAM, 0);
	sockaddr_in a;
	bind_to_loopback(listener, &a);
	BOOST_TEST_REQUIRE(listen(listener, 1) == 0);
	Ends e{socket(AF_INET, SOCK_STREAM, 0)};
	BOOST_TEST_REQUIRE(connect(e.near, reinterpret_cast<sockaddr *>(&a), sizeof a) == 0);
	e.far = accept(listener, nullptr, nullptr);
	close(listener);
	return e;
}

void check(const char *name, const Ends &e)
{
	BOOST_TEST_CONTEXT(name)
	{
		char got[8];
		BOOST_TEST_REQUIRE(send(e.far, "data", 4, 0) == 4);
		sigevec::ether::wake_for_slots(e.near);
		BOOST_TEST(recv(e.near, got, sizeof got, MSG_DONTWAIT) == 4);
		sigevec::ether::wake_for_sending(e.near);
		BOOST_TEST(recv(e.far, got, sizeof got, MSG_DONTWAIT) == -1);
		BOOST_TEST(errno == EAGAIN);
	}
}

} // namespace

BOOST_AUTO_TEST_CASE(another_socket_loses_nothing_and_sends_nothing)
{
	check("UNIX datagram", unix_sockets(SOCK_DGRAM));
	check("UNIX seqpacket", unix_sockets(SOCK_SEQPACKET));
	check("UNIX stream", unix_sockets(SOCK_STREAM));
	check("UDP", udp_sockets());
	check("TCP", tcp_sockets());
}
