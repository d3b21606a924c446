// SPDX-License-Identifier: MIT
//
// Socket requests between two network namespaces joined by a pair of virtual Ethernet
// devices: unlike over the loopback, packets travel, get lost and are sent again.
#define BOOST_TEST_MODULE socket_namespaces
#include "namespaces.hpp"
#include "socket_calls.hpp"

#include <arpa/inet.h>
#include <linux/errqueue.h>

namespace {

using Pending = Way::Pending;

/// Made before anything else: the library's threads are to be where the program is.
struct MakeThem {
	MakeThem() { networks(); }
};
BOOST_TEST_GLOBAL_FIXTURE(MakeThem);

Address address(const SocketKind &kind, bool here)
{
	Address a;
	a.storage.ss_family = sa_family_t(kind.domain);
	void *where;
	if (kind.domain == AF_INET) {
		a.length = sizeof(sockaddr_in);
		where = &reinterpret_cast<sockaddr_in *>(&a.storage)->sin_addr;
	} else {
		a.length = sizeof(sockaddr_in6);
		where = &reinterpret_cast<sockaddr_in6 *>(&a.storage)->sin6_addr;
	}
	const char *text = kind.domain == AF_INET ? (here ? "10.77.0.1" : "10.77.0.2")
						  : (here ? "fd77::1" : "fd77::2");
	BOOST_TEST_REQUIRE(inet_pton(kind.domain, text, where) == 1);
	return a;
}
/// A bound socket.
Fd socket_in(const SocketKind &kind, bool here)
{
	Networks::In const there(here ? networks().here() : networks().there());
	Fd s = new_socket(kind);
	Address a = address(kind, here);
	BOOST_TEST_REQUIRE(bind(s, a.get(), a.length) == 0);
	return s;
}
Fd listener_there(const SocketKind &kind)
{
	Fd s = socket_in(kind, false);
	BOOST_TEST_REQUIRE(listen(s, 16) == 0);
	return s;
}
/// One socket here, one there, connected by requests.
Pair connected_by(Way &way, const SocketKind &kind)
{
	Fd listener = listener_there(kind), client = socket_in(kind, true);
	Address to = address_of(listener);
	Pending &accept = way.accept(listener);
	Pending &connect = way.connect(client, to.get(), to.length);
	way.go();
	BOOST_TEST((way.finish(connect) == ok(0)));
	const Outcome end = way.finish(accept);
	BOOST_TEST_REQUIRE(end.error == 0);
	return {std::move(client), Fd(int(end.result))};
}
/// Receives all of it, request by request.
void check_arrives(Way &way, int s, const std::string &expected)
{
	std::string got;
	while (got.size() < expected.size()) {
		Pending &p = way.recv(s, 100000);
		way.go();
		const Outcome end = way.finish(p);
		BOOST_TEST_REQUIRE(end.error == 0);
		BOOST_TEST_REQUIRE(end.result > 0);
		got.append(p.data(), size_t(end.result));
	}
	BOOST_TEST((got == expected));
}
template <class Body> void for_each_way_and_stream(Body body)
{
	for (const SocketKind &kind : {tcp4_kind, tcp6_kind})
		BOOST_TEST_CONTEXT("sockets: " << kind.name)
		{
			for_each_way([&](Way &way) { body(way, kind); });
		}
}

} // namespace

BOOST_AUTO_TEST_CASE(connections_are_made_and_carry_data_both_ways_at_once)
{
	for_each_way_and_stream([](Way &way, const SocketKind &kind) {
		Pair const pair = connected_by(way, kind);
		std::string const out = pattern(3000000, 1), back = pattern(3000000, 2);
		Pending &sent = way.send(pair.a, out);
		Pending &answered = way.send(pair.b, back);
		check_arrives(way, pair.b, out);
		check_arrives(way, pair.a, back);
		BOOST_TEST((way.finish(sent) == ok(3000000)));
		BOOST_TEST((way.finish(answered) == ok(3000000)));
	});
}

BOOST_AUTO_TEST_CASE(a_half_close_is_an_end_of_data_on_the_other_side_alone)
{
	for_each_way_and_stream([](Way &way, const SocketKind &kind) {
		Pair const pair = connected_by(way, kind);
		Pending &waiting = way.recv(pair.b, 10);
		way.go();
		BOOST_TEST(shutdown(pair.a, SHUT_WR) == 0);
		BOOST_TEST((way.finish(waiting) == ok(0)));
		Pending &sent = way.send(pair.b, "still");
		way.go();
		BOOST_TEST((way.finish(sent) == ok(5)));
		check_arrives(way, pair.a, "still");
	});
}

BOOST_AUTO_TEST_CASE(a_reset_from_the_other_side_ends_what_waits)
{
	for_each_way_and_stream([](Way &way, const SocketKind &kind) {
		Pair pair = connected_by(way, kind);
		Pending &waiting = way.recv(pair.a, 10);
		way.go();
		BOOST_TEST(way.pending(waiting));
		linger const at_once_and_hard{1, 0};
		setsockopt(pair.b, SOL_SOCKET, SO_LINGER, &at_once_and_hard,
			   sizeof at_once_and_hard);
		pair.b = Fd(-1);
		BOOST_TEST((way.finish(waiting) == failed(ECONNRESET)));
	});
}

BOOST_AUTO_TEST_CASE(a_port_where_nobody_listens_refuses_the_connection)
{
	for_each_way_and_stream([](Way &way, const SocketKind &kind) {
		Fd const nobody = socket_in(kind, false), client = socket_in(kind, true);
		Address to = address_of(nobody);
		Pending &connect = way.connect(client, to.get(), to.length);
		way.go();
		BOOST_TEST((way.finish(connect) == failed(ECONNREFUSED)));
	});
}

BOOST_AUTO_TEST_CASE(data_sent_while_the_link_is_down_arrives_when_it_is_up_again)
{
	for_each_way([](Way &way) {
		Pair const pair = connected_by(way, tcp4_kind);
		BOOST_TEST_REQUIRE(run("ip link set v0 down"));
		std::string const text = pattern(200000, 3);
		Pending &sent = way.send(pair.b, text);
		Pending &waiting = way.recv(pair.a, 1);
		way.go();
		BOOST_TEST(way.pending(waiting));
		BOOST_TEST_REQUIRE(run(
			"ip link set v0 up && ip -6 addr add fd77::1/64 dev v0 nodad")); // going
											 // down
											 // took it
		BOOST_TEST((way.finish(waiting) == ok(1)));
		check_arrives(way, pair.a, text.substr(1));
		BOOST_TEST((way.finish(sent) == ok(200000)));
	});
}

BOOST_AUTO_TEST_CASE(a_piece_sent_without_a_copy_is_used_again_only_after_the_network_is_done)
{
	constexpr size_t size = 100000, region_size = 1 << 18;
	dma_mem_t mem;
	BOOST_TEST_REQUIRE(dma_alloc(&mem, region_size, 0) == 0);
	auto stat = [&] {
		struct dma_stat s {};
		BOOST_TEST_REQUIRE(dma_stat(mem, &s) == 0);
		return s;
	};
	auto send_and_release = [&](bool close_early) {
		Way by(Way::kinds[0]);
		Pair pair = connected_by(by, tcp4_kind);
		BOOST_TEST_REQUIRE(run("ip link set v0 down"));
		void *p, *q;
		std::string const text = pattern(size, 4);
		BOOST_TEST_REQUIRE(sio_reserve(mem, &p, size) == 0);
		memcpy(p, text.data(), size);
		auto const before = stat();
		ssize_t const sent = sio_send(pair.b, p, size, 0);
		BOOST_TEST_REQUIRE(sent > 0);
		BOOST_TEST_REQUIRE(sio_release(mem, p, size) == 0);
		CHECK_FAILS(sio_release(mem, p, size), EINVAL);
		BOOST_TEST(stat().used >= size);
		CHECK_FAILS(sio_reserve(mem, &q, region_size), ENOBUFS);
		BOOST_TEST_REQUIRE(sio_reserve(mem, &q, size) == 0);
		memset(q, 'x', size);
		CHECK_FAILS(dma_free(mem, region_size), EBUSY);
		if (close_early)
			pair.b = Fd(-1);
		BOOST_TEST_REQUIRE(
			run("ip link set v0 up && ip -6 addr add fd77::1/64 dev v0 nodad"));
		BOOST_TEST((contract::take(pair.a, size_t(sent)) == text.substr(0, size_t(sent))));
		BOOST_TEST_REQUIRE(sio_release(mem, q, size) == 0);
		BOOST_TEST(eventually([&] { return stat().used == 0; }));
		auto const after = stat();
		BOOST_TEST(after.sends_zero_copy + after.sends_copied ==
			   before.sends_zero_copy + before.sends_copied + 1);
		char byte;
		if (close_early)
			BOOST_TEST(recv(pair.a, &byte, 1, 0) == 0);
	};
	send_and_release(false);
	BOOST_TEST(dma_free(mem, region_size) == 0);
	// Copied by the kernel after all: some time has to pass before another attempt, but for a
	// region that is new.
	BOOST_TEST_REQUIRE(dma_alloc(&mem, region_size, 0) == 0);
	send_and_release(true);
	BOOST_TEST(dma_free(mem, region_size) == 0);
}

BOOST_AUTO_TEST_CASE(sio_send_uses_up_no_number_of_a_program_that_counts_sends_without_a_copy)
{
	constexpr size_t size = 100000, region_size = 1 << 18;
	dma_mem_t mem;
	BOOST_TEST_REQUIRE(dma_alloc(&mem, region_size, 0) == 0);
	Way by(Way::kinds[0]);
	Pair pair = connected_by(by, tcp4_kind);
	int const on = 1;
	BOOST_TEST_REQUIRE(setsockopt(pair.b, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) == 0);
	void *p;
	BOOST_TEST_REQUIRE(sio_reserve(mem, &p, size) == 0);
	memset(p, 'x', size);
	ssize_t const sent = sio_send(pair.b, p, size, 0);
	BOOST_TEST_REQUIRE(sent > 0);
	BOOST_TEST(contract::take(pair.a, size_t(sent)).size() == size_t(sent));
	BOOST_TEST(send(pair.b, p, 100, MSG_ZEROCOPY) == 100);
	BOOST_TEST(contract::take(pair.a, 100).size() == 100u);
	char control[256];
	msghdr m{};
	BOOST_TEST(eventually([&] {
		m.msg_control = control;
		m.msg_controllen = sizeof control;
		return recvmsg(pair.b, &m, MSG_ERRQUEUE | MSG_DONTWAIT) == 0;
	}));
	cmsghdr const *const c = CMSG_FIRSTHDR(&m);
	BOOST_TEST_REQUIRE(c != nullptr);
	sock_extended_err e;
	memcpy(&e, CMSG_DATA(c), sizeof e);
	BOOST_TEST((e.ee_origin == SO_EE_ORIGIN_ZEROCOPY && e.ee_info == 0 && e.ee_data == 0));
	BOOST_TEST(sio_release(mem, p, size) == 0);
	BOOST_TEST(dma_free(mem, region_size) == 0);
}

BOOST_AUTO_TEST_CASE(datagrams_tell_the_address_on_the_other_side)
{
	for (const SocketKind &kind : {udp4_kind, udp6_kind})
		for_each_way([&](Way &way) {
			Fd const a = socket_in(kind, true), b = socket_in(kind, false);
			Address to = address_of(b), sender = address_of(a), from;
			Pending &waiting = way.recvfrom(b, 3000, from.get(), from.length);
			std::string const text = pattern(2500, 4); // in fragments
			Pending &sent = way.sendto(a, text, to.get(), to.length);
			way.go();
			BOOST_TEST((way.finish(sent) == ok(2500)));
			BOOST_TEST((way.finish(waiting) == ok(2500)));
			BOOST_TEST((waiting.text().substr(0, 2500) == text));
			from.length = sender.length;
			BOOST_TEST((from == sender));
		});
}
