// SPDX-License-Identifier: MIT
//
// Errors of the descriptor and of the socket, requests that hold their socket, and requests that
// are cancelled.
#define BOOST_TEST_MODULE socket_errors
#include "socket_calls.hpp"

#include <algorithm>

using Pending = Way::Pending;

// ------------------------------------------------------------------ descriptor

BOOST_AUTO_TEST_CASE(errors_of_the_descriptor_are_the_requests)
{
	for_each_way([](Way &way) {
		Stream p = pipe_stream();
		File file = disk_file();
		Address to = any_address(AF_INET);
		auto check = [&](int fd, int error) {
			BOOST_TEST(way.finish(way.send(fd, "x")) == failed(error));
			BOOST_TEST(way.finish(way.recv(fd, 1)) == failed(error));
			BOOST_TEST(way.finish(way.sendto(fd, "x", to.get(), to.length)) ==
				   failed(error));
			BOOST_TEST(way.finish(way.recvfrom(fd, 1, nullptr, 0)) == failed(error));
			BOOST_TEST(way.finish(way.sendmsg(fd, message({"x"}))) == failed(error));
			BOOST_TEST(way.finish(way.recvmsg(fd, room_for({1}))) == failed(error));
			BOOST_TEST(way.finish(way.accept(fd)) == failed(error));
			BOOST_TEST(way.finish(way.connect(fd, to.get(), to.length)) ==
				   failed(error));
		};
		for (int fd : {-1, 100000, INT_MAX})
			check(fd, EBADF);
		for (int fd : {int(p.reader), int(p.writer), int(file.fd)})
			check(fd, ENOTSOCK);
	});
}

BOOST_AUTO_TEST_CASE(errors_of_the_socket_are_the_requests)
{
	for_each_way([](Way &way) {
		Fd lonely = new_socket(tcp4_kind), idle = new_socket(udp4_kind),
		   listener = listening_socket(tcp4_kind);
		BOOST_TEST(way.finish(way.recv(lonely, 1)) == failed(ENOTCONN));
		BOOST_TEST(way.finish(way.send(lonely, "x")) == failed(EPIPE));
		BOOST_TEST(way.finish(way.recv(listener, 1)) == failed(ENOTCONN));
		BOOST_TEST(way.finish(way.accept(lonely)) == failed(EINVAL));
		BOOST_TEST(way.finish(way.accept(idle)) == failed(EOPNOTSUPP));
		BOOST_TEST(way.finish(way.send(idle, "x")) == failed(EDESTADDRREQ));
		Pair pair = make_pair(unix_datagram_kind);
		BOOST_TEST(way.finish(way.send(pair.a, std::string(10000000, 'x'))) ==
			   failed(EMSGSIZE));
	});
}

BOOST_AUTO_TEST_CASE(a_bad_buffer_is_efault)
{
	for_each_way_and_pair({unix_stream_kind, tcp4_kind}, [](Way &way, Pair &s) {
		Message &out = message({"x"}), &in = message({"y"});
		out.vector[0].iov_base = in.vector[0].iov_base = as_data(16);
		BOOST_TEST(way.finish(way.sendmsg(s.a, out)) == failed(EFAULT));
		Pending &receiving = way.recvmsg(s.b, in);
		BOOST_TEST(way.pending(receiving));
		put(s.a, "x");
		BOOST_TEST(way.finish(receiving) == failed(EFAULT));
	});
}

BOOST_AUTO_TEST_CASE(a_request_holds_its_socket_though_the_number_is_closed_and_used_again)
{
	for_each_way_and_pair({unix_stream_kind, unix_packet_kind, tcp4_kind}, [](Way &way,
										  Pair &s) {
		Pair other = make_pair(unix_stream_kind);
		Pending &first = way.recv(s.b, 1), &second = way.recv(s.b, 1);
		BOOST_TEST(way.pending(first));
		BOOST_TEST_REQUIRE(dup2(other.b, s.b) ==
				   int(s.b)); // closes the number, and another socket gets it
		put(other.a, "not for you");
		put(s.a, "x");
		BOOST_TEST(way.finish(first) == ok(1));
		BOOST_TEST(first.text() == "x");
		put(s.a, "y");
		BOOST_TEST(way.finish(second) == ok(1));
		BOOST_TEST(second.text() == "y");
		BOOST_TEST(take(other.b, 11) == "not for you");
	});
	for_each_way_and_pair({unix_stream_kind, tcp4_kind}, [](Way &way, Pair &s) {
		Pair other = make_pair(unix_stream_kind);
		size_t const before = fill(s.a);
		Pending &first = way.send(s.a, pattern(200000, 1)),
			&second = way.send(s.a, pattern(200000, 2));
		BOOST_TEST(way.pending(first));
		BOOST_TEST_REQUIRE(dup2(other.a, s.a) == int(s.a));
		BOOST_TEST(way.take(s.b, before).size() == before);
		BOOST_TEST((way.take(s.b, 400000) == pattern(200000, 1) + pattern(200000, 2)));
		BOOST_TEST(way.finish(first) == ok(200000));
		BOOST_TEST(way.finish(second) == ok(200000));
		BOOST_TEST(!has_data(other.b));
	});
}

// --------------------------------------------------------------------- cancel

BOOST_AUTO_TEST_CASE(a_waiting_recv_is_cancelled_and_takes_no_data)
{
	for_each_way_and_pair(every_socket_kind, [](Way &way, Pair &s) {
		std::vector<Pending *> in{&way.recv(s.b, 1), &way.recvmsg(s.b, room_for({1})),
					  &way.recv(s.b, 1), &way.recvfrom(s.b, 1, nullptr, 0)};
		for (Pending *p : in)
			BOOST_TEST(way.pending(*p));
		for (size_t i : {2, 0, 3}) {
			BOOST_TEST(way.cancel(*in[i]));
			BOOST_TEST(way.finish(*in[i]) == failed(ECANCELED));
		}
		BOOST_TEST(way.pending(*in[1]));
		put(s.a, "x");
		BOOST_TEST(way.finish(*in[1]) == ok(1));
		put(s.a, "y");
		BOOST_TEST(take(s.b, 1) == "y");
	});
}

BOOST_AUTO_TEST_CASE(a_send_behind_another_one_is_cancelled_and_nothing_of_it_goes_out)
{
	for_each_way_and_pair(stream_socket_kinds, [](Way &way, Pair &s) {
		size_t const before = fill(s.a);
		Pending &first = way.send(s.a, pattern(200000, 1)),
			&second = way.send(s.a, pattern(200000, 2)),
			&third = way.send(s.a, pattern(200000, 3));
		BOOST_TEST(way.pending(second));
		BOOST_TEST(way.cancel(second));
		BOOST_TEST(way.finish(second) == failed(ECANCELED));
		BOOST_TEST(way.take(s.b, before).size() == before);
		BOOST_TEST((way.take(s.b, 400000) == pattern(200000, 1) + pattern(200000, 3)));
		BOOST_TEST(way.finish(first) == ok(200000));
		BOOST_TEST(way.finish(third) == ok(200000));
	});
}
