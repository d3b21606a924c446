// SPDX-License-Identifier: MIT
//
// Socket requests: data in and out, order, flags, and how a connection ends; by the
// aio_* and the ev_* calls alike. (socket_messages.cpp: addresses and messages;
// socket_connections.cpp: accept and connect; aio_socket.cpp and ev_calls.cpp: what is
// special of either.)
#define BOOST_TEST_MODULE socket_transfer
#include "socket_calls.hpp"

namespace {

using Pending = Way::Pending;

/// Flags that change nothing of what arrives in the end.
constexpr int harmless_send_flags[] = {MSG_NOSIGNAL, MSG_DONTROUTE, MSG_MORE,
				       MSG_CONFIRM,  MSG_EOR,       MSG_NOSIGNAL | MSG_MORE};

std::string peek(int s)
{
	pollfd ready{s, POLLIN, 0};
	poll(&ready, 1, 20000);
	std::array<char, 256> bytes;
	const ssize_t n = recv(s, bytes.data(), bytes.size(), MSG_PEEK);
	return n > 0 ? std::string(bytes.data(), size_t(n)) : std::string();
}

} // namespace

// ------------------------------------------------------------------ transfers

BOOST_AUTO_TEST_CASE(data_goes_out_and_comes_in)
{
	for_each_way_and_pair(every_socket_kind, [](Way &way, Pair &s) {
		Pending &out = way.send(s.a, "hello");
		BOOST_TEST(way.finish(out) == ok(5));
		Pending &in = way.recv(s.b, 5);
		BOOST_TEST(way.finish(in) == ok(5));
		BOOST_TEST(in.text() == "hello");
	});
}

BOOST_AUTO_TEST_CASE(a_recv_waits_for_data_nonblocking_descriptor_or_not)
{
	for (bool nonblocking : {false, true})
		for_each_way_and_pair(every_socket_kind, [&](Way &way, Pair &s) {
			set_nonblocking(s.b, nonblocking);
			Pending &in = way.recv(s.b, 10);
			BOOST_TEST(way.pending(in));
			put(s.a, "late");
			BOOST_TEST(way.finish(in) == ok(4));
			BOOST_TEST(in.text() == "late??????");
		});
}

BOOST_AUTO_TEST_CASE(a_send_waits_for_room_nonblocking_descriptor_or_not)
{
	for (bool nonblocking : {false, true})
		for_each_way_and_pair(
			{unix_stream_kind, tcp4_kind, tcp6_kind}, [&](Way &way, Pair &s) {
				size_t const before = fill(s.a);
				set_nonblocking(s.a, nonblocking);
				Pending &out = way.send(s.a, pattern(100000));
				BOOST_TEST(way.pending(out));
				BOOST_TEST(way.take(s.b, before).size() == before);
				BOOST_TEST((way.take(s.b, 100000) == pattern(100000)));
				BOOST_TEST(way.finish(out) == ok(100000));
			});
}

BOOST_AUTO_TEST_CASE(a_packet_waits_for_room_nonblocking_descriptor_or_not)
{
	for (bool nonblocking : {false, true})
		for_each_way_and_pair({unix_packet_kind, unix_datagram_kind},
				      [&](Way &way, Pair &s) {
					      set_nonblocking(s.a);
					      size_t count = 0;
					      while (send(s.a, "f", 1, MSG_NOSIGNAL) == 1)
						      ++count;
					      set_nonblocking(s.a, nonblocking);
					      Pending &out = way.send(s.a, "last");
					      BOOST_TEST(way.pending(out));
					      BOOST_TEST(way.take(s.b, count).size() == count);
					      BOOST_TEST(way.take(s.b, 4) == "last");
					      BOOST_TEST(way.finish(out) == ok(4));
				      });
}

BOOST_AUTO_TEST_CASE(a_large_send_is_whole)
{
	constexpr size_t size = 1500000;
	for_each_way_and_pair(stream_socket_kinds, [](Way &way, Pair &s) {
		std::string const data = pattern(size);
		Pending &out = way.send(s.a, data);
		BOOST_TEST(way.pending(out));
		BOOST_TEST((way.take(s.b, size) == data));
		BOOST_TEST(way.finish(out) == ok(size));
		Message &pieces = message(
			{data.substr(0, 1), data.substr(1, 700000), "", data.substr(700001)});
		Pending &gathered = way.sendmsg(s.a, pieces);
		BOOST_TEST(way.pending(gathered));
		BOOST_TEST((way.take(s.b, size) == data));
		BOOST_TEST(way.finish(gathered) == ok(size));
	});
}

BOOST_AUTO_TEST_CASE(large_transfers_in_both_directions_do_not_wait_for_each_other)
{
	constexpr size_t size = 1000000;
	for_each_way_and_pair(stream_socket_kinds, [](Way &way, Pair &s) {
		Pending &in_a = way.recv(s.a, size, MSG_WAITALL),
			&in_b = way.recv(s.b, size, MSG_WAITALL);
		Pending &out_a = way.send(s.a, pattern(size, 1)),
			&out_b = way.send(s.b, pattern(size, 2));
		for (Pending *p : {&in_a, &in_b, &out_a, &out_b})
			BOOST_TEST(way.finish(*p) == ok(size));
		BOOST_TEST((in_a.text() == pattern(size, 2)));
		BOOST_TEST((in_b.text() == pattern(size, 1)));
	});
}

BOOST_AUTO_TEST_CASE(a_waiting_recv_does_not_hold_up_a_send)
{
	for_each_way_and_pair(every_socket_kind, [](Way &way, Pair &s) {
		Pending &in = way.recv(s.a, 1);
		BOOST_TEST(way.pending(in));
		BOOST_TEST(way.finish(way.send(s.a, "out")) == ok(3));
		BOOST_TEST(way.take(s.b, 3) == "out");
		BOOST_TEST(way.pending(in));
		put(s.b, "i");
		BOOST_TEST(way.finish(in) == ok(1));
	});
}

BOOST_AUTO_TEST_CASE(nothing_is_a_transfer_too)
{
	for_each_way_and_pair(every_socket_kind, [](Way &way, Pair &s) {
		Pending &out = way.send(s.a, "");
		BOOST_TEST(way.finish(out) == ok(0));
	});
	for_each_way_and_pair(datagram_socket_kinds, [](Way &way, Pair &s) {
		Pending &in = way.recv(s.b, 10);
		BOOST_TEST(way.pending(in));
		BOOST_TEST(way.finish(way.send(s.a, "")) == ok(0));
		BOOST_TEST(way.finish(in) == ok(0)); // an empty datagram
	});
}

// ---------------------------------------------------------------------- order

BOOST_AUTO_TEST_CASE(recvs_of_a_stream_take_data_in_the_order_of_the_calls)
{
	for_each_way_and_pair(every_socket_kind, [](Way &way, Pair &s) {
		std::vector<Pending *> in;
		for (int i = 0; i < 100; ++i)
			in.push_back(&way.recv(s.b, 1));
		for (Pending *p : in)
			BOOST_TEST(way.pending(*p));
		std::string const data = pattern(100);
		for (char c : data)
			put(s.a, {&c, 1});
		for (size_t i = 0; i < in.size(); ++i) {
			BOOST_TEST(way.finish(*in[i]) == ok(1));
			BOOST_TEST(in[i]->text() == data.substr(i, 1));
		}
	});
}

BOOST_AUTO_TEST_CASE(sends_of_a_stream_go_out_whole_in_the_order_of_the_calls)
{
	for_each_way_and_pair(stream_socket_kinds, [](Way &way, Pair &s) {
		std::string all(fill(s.a), 'f');
		std::vector<Pending *> out;
		for (unsigned i = 0; i < 60; ++i) {
			std::string const data = pattern(i % 7 == 0 ? 150000 : 1 + i * 100, i);
			size_t const half = data.size() / 2;
			if (i % 3 == 0)
				out.push_back(&way.sendmsg(
					s.a, message({data.substr(0, half), data.substr(half)})));
			else
				out.push_back(&way.send(s.a, data));
			all += data;
		}
		way.go();
		BOOST_TEST((way.take(s.b, all.size()) == all));
		for (Pending *p : out)
			BOOST_TEST(way.finish(*p).error == 0);
	});
}

BOOST_AUTO_TEST_CASE(reads_and_recvs_of_one_socket_keep_their_common_order)
{
	for_each_way_and_pair({unix_stream_kind, tcp4_kind}, [](Way &way, Pair &s) {
		if (way.single())
			return; // an order of its own
		std::vector<Pending *> by_recv;
		std::vector<Request *> by_read;
		for (int i = 0; i < 20; ++i) {
			by_recv.push_back(&way.recv(s.b, 1));
			way.go();
			by_read.push_back(&start_read(s.b, 1));
		}
		std::string const data = pattern(40);
		put(s.a, data);
		for (size_t i = 0; i < 20; ++i) {
			BOOST_TEST(way.finish(*by_recv[i]) == ok(1));
			BOOST_TEST(finish(*by_read[i]) == ok(1));
			BOOST_TEST(by_recv[i]->text() + by_read[i]->text() ==
				   data.substr(2 * i, 2));
		}
	});
}

BOOST_AUTO_TEST_CASE(writes_and_sends_of_one_socket_keep_their_common_order)
{
	for_each_way_and_pair({unix_stream_kind, tcp4_kind}, [](Way &way, Pair &s) {
		if (way.single())
			return; // an order of its own
		std::string all(fill(s.a), 'f');
		std::vector<Pending *> sent;
		for (unsigned i = 0; i < 10; ++i) {
			sent.push_back(&way.send(s.a, pattern(30000, 2 * i)));
			way.go();
			start_write(s.a, pattern(30000, 2 * i + 1));
			all += pattern(30000, 2 * i) + pattern(30000, 2 * i + 1);
		}
		BOOST_TEST((way.take(s.b, all.size()) == all));
		for (Pending *p : sent)
			BOOST_TEST(way.finish(*p) == ok(30000));
	});
}

// ---------------------------------------------------------------------- flags

BOOST_AUTO_TEST_CASE(msg_dontwait_does_not_wait_for_a_recv_that_waits)
{
	for_each_way_and_pair(every_socket_kind, [](Way &way, Pair &s) {
		Pending &first = way.recv(s.b, 1);
		BOOST_TEST(way.pending(first));
		BOOST_TEST(way.finish(way.recv(s.b, 1, MSG_DONTWAIT)) == failed(EAGAIN));
		Pending &second = way.recv(s.b, 1);
		BOOST_TEST(way.finish(way.recvmsg(s.b, room_for({1}), MSG_DONTWAIT)) ==
			   failed(EAGAIN));
		put(s.a, "1");
		put(s.a, "2");
		BOOST_TEST(way.finish(first) == ok(1));
		BOOST_TEST(way.finish(second) == ok(1));
		BOOST_TEST(first.text() + second.text() == "12");
	});
}

BOOST_AUTO_TEST_CASE(msg_dontwait_does_not_wait_for_a_recv_that_has_a_part)
{
	for_each_way_and_pair(stream_socket_kinds, [](Way &way, Pair &s) {
		Pending &whole = way.recv(s.b, 6, MSG_WAITALL);
		put(s.a, "abc");
		BOOST_TEST(way.finish(way.recv(s.b, 6, MSG_DONTWAIT)) == failed(EAGAIN));
		BOOST_TEST(way.pending(whole));
		put(s.a, "def");
		BOOST_TEST(way.finish(whole) == ok(6));
		BOOST_TEST(whole.text() == "abcdef");
	});
}

BOOST_AUTO_TEST_CASE(msg_dontwait_does_not_wait_for_a_send_that_waits)
{
	for_each_way_and_pair(stream_socket_kinds, [](Way &way, Pair &s) {
		size_t const before = fill(s.a);
		Pending &first = way.send(s.a, pattern(150000));
		BOOST_TEST(way.pending(first));
		BOOST_TEST(way.finish(way.send(s.a, "x", MSG_DONTWAIT)) == failed(EAGAIN));
		BOOST_TEST(way.finish(way.sendmsg(s.a, message({"x"}), MSG_DONTWAIT)) ==
			   failed(EAGAIN));
		std::string const all = way.take(s.b, before + 150000);
		BOOST_TEST((all.substr(before) == pattern(150000)));
		BOOST_TEST(way.finish(first) == ok(150000));
	});
}

BOOST_AUTO_TEST_CASE(msg_dontwait_ends_with_eagain_instead_of_waiting)
{
	for_each_way_and_pair(every_socket_kind, [](Way &way, Pair &s) {
		BOOST_TEST(way.finish(way.recv(s.b, 1, MSG_DONTWAIT)) == failed(EAGAIN));
		BOOST_TEST(way.finish(way.recvmsg(s.b, room_for({1}), MSG_DONTWAIT)) ==
			   failed(EAGAIN));
		put(s.a, "x");
		BOOST_TEST(way.finish(way.recv(s.b, 1, MSG_DONTWAIT)) == ok(1));
	});
	for_each_way_and_pair(
		{unix_stream_kind, unix_packet_kind, unix_datagram_kind}, [](Way &way, Pair &s) {
			set_nonblocking(s.a);
			while (send(s.a, "f", 1, 0) == 1) {
			}
			set_nonblocking(s.a, false);
			BOOST_TEST(way.finish(way.send(s.a, "x", MSG_DONTWAIT)) == failed(EAGAIN));
			BOOST_TEST(way.finish(way.sendmsg(s.a, message({"x", "y"}),
							  MSG_DONTWAIT)) == failed(EAGAIN));
		});
}

BOOST_AUTO_TEST_CASE(a_send_with_msg_dontwait_sends_what_fits)
{
	for_each_way_and_pair(stream_socket_kinds, [](Way &way, Pair &s) {
		std::string const data = pattern(3000000);
		Outcome const end = way.finish(way.send(s.a, data, MSG_DONTWAIT));
		BOOST_TEST(end.error == 0);
		BOOST_TEST_REQUIRE(end.result > 0);
		BOOST_TEST(end.result < ssize_t(data.size()));
		s.a.reset();
		std::string const got = way.take(s.b, data.size());
		BOOST_TEST(ssize_t(got.size()) == end.result);
		BOOST_TEST((got == data.substr(0, got.size())));
	});
}

BOOST_AUTO_TEST_CASE(msg_peek_leaves_the_data)
{
	for_each_way_and_pair(every_socket_kind, [](Way &way, Pair &s) {
		Pending &first = way.recv(s.b, 3, MSG_PEEK);
		BOOST_TEST(way.pending(first));
		put(s.a, "abc");
		BOOST_TEST(way.finish(first) == ok(3));
		Pending &second = way.recv(s.b, 3, MSG_PEEK);
		BOOST_TEST(way.finish(second) == ok(3));
		BOOST_TEST(first.text() == "abc");
		BOOST_TEST(second.text() == "abc");
		BOOST_TEST(way.take(s.b, 3) == "abc");
		BOOST_TEST(!has_data(s.b));
	});
}

BOOST_AUTO_TEST_CASE(msg_trunc_tells_the_length_of_the_whole_packet)
{
	for_each_way_and_pair(packet_socket_kinds, [](Way &way, Pair &s) {
		for (bool wait : {false, true}) {
			if (!wait)
				put(s.a, "0123456789");
			Pending &in = way.recv(s.b, 4, MSG_TRUNC);
			if (wait) {
				BOOST_TEST(way.pending(in));
				put(s.a, "0123456789");
			}
			BOOST_TEST(way.finish(in) == ok(10));
			BOOST_TEST(in.text() == "0123");
		}
		BOOST_TEST(!has_data(s.b));
	});
}

BOOST_AUTO_TEST_CASE(msg_waitall_waits_for_all)
{
	for_each_way_and_pair(stream_socket_kinds, [](Way &way, Pair &s) {
		Pending &all = way.recv(s.b, 300000, MSG_WAITALL), &next = way.recv(s.b, 1);
		BOOST_TEST(way.pending(all));
		std::string const data = pattern(300000);
		for (size_t i = 0; i < 3; ++i) {
			way.put(s.a, std::string_view(data).substr(i * 100000, 99999));
			BOOST_TEST(way.pending(all));
			way.put(s.a, std::string_view(data).substr(i * 100000 + 99999, 1));
		}
		put(s.a, "n");
		BOOST_TEST(way.finish(all) == ok(300000));
		BOOST_TEST((all.text() == data));
		BOOST_TEST(way.finish(next) == ok(1));
		BOOST_TEST(next.text() == "n");
		Message &pieces = room_for({3, 4, 3});
		Pending &scattered = way.recvmsg(s.b, pieces, MSG_WAITALL);
		put(s.a, "01234");
		BOOST_TEST(way.pending(scattered));
		put(s.a, "56789");
		BOOST_TEST(way.finish(scattered) == ok(10));
		BOOST_TEST(pieces.text() == "0123456789");
	});
}

BOOST_AUTO_TEST_CASE(msg_waitall_ends_short_at_the_end_of_the_stream)
{
	for_each_way_and_pair(stream_socket_kinds, [](Way &way, Pair &s) {
		Pending &in = way.recv(s.b, 10, MSG_WAITALL);
		put(s.a, "1234567");
		BOOST_TEST(way.pending(in));
		s.a.reset();
		BOOST_TEST(way.finish(in) == ok(7));
		BOOST_TEST(in.text() == "1234567???");
	});
}

BOOST_AUTO_TEST_CASE(urgent_data_goes_its_own_way)
{
	for_each_way_and_pair({tcp4_kind, tcp6_kind}, [](Way &way, Pair &s) {
		BOOST_TEST(way.finish(way.send(s.a, "ab")) == ok(2));
		BOOST_TEST(way.finish(way.send(s.a, "!", MSG_OOB)) == ok(1));
		pollfd urgent{s.b, POLLPRI, 0};
		BOOST_TEST(poll(&urgent, 1, 20000) == 1);
		Pending &in = way.recv(s.b, 1, MSG_OOB);
		BOOST_TEST(way.finish(in) == ok(1));
		BOOST_TEST(in.text() == "!");
		Pending &normal = way.recv(s.b, 10);
		BOOST_TEST(way.finish(normal) == ok(2));
		BOOST_TEST(normal.text().substr(0, 2) == "ab");
		BOOST_TEST(way.finish(way.recv(s.b, 1, MSG_OOB)) ==
			   failed(EINVAL)); // as recv says: there is none
	});
}

BOOST_AUTO_TEST_CASE(flags_of_the_synchronous_calls_are_accepted)
{
	for_each_way_and_pair({unix_stream_kind, unix_packet_kind, tcp4_kind}, [](Way &way,
										  Pair &s) {
		for (int flags : harmless_send_flags) {
			if (send(s.a, "s", 1, flags) != 1)
				continue; // what the system refuses here
			BOOST_TEST(way.finish(way.send(s.a, "a", flags)) == ok(1));
			BOOST_TEST(way.finish(way.sendmsg(s.a, message({"b"}), flags)) == ok(1));
			BOOST_TEST(way.finish(way.send(s.a, "c")) ==
				   ok(1)); // pushes what MSG_MORE holds back
			BOOST_TEST(way.take(s.b, 4) == "sabc");
		}
		for (int flags : {int{MSG_NOSIGNAL}, int{MSG_CMSG_CLOEXEC}, int{MSG_DONTWAIT}}) {
			put(s.a, "d");
			BOOST_TEST(peek(s.b) == "d");
			BOOST_TEST(way.finish(way.recv(s.b, 1, flags)) == ok(1));
		}
	});
}

// ------------------------------------------------- the end of a connection

BOOST_AUTO_TEST_CASE(a_closed_peer_means_epipe_and_never_sigpipe)
{
	static std::atomic<int> signals;
	signals = 0;
	SignalHandler handler(
		SIGPIPE, +[](int) { ++signals; });
	for_each_way_and_pair(
		{unix_stream_kind, unix_packet_kind, tcp4_kind}, [](Way &way, Pair &s) {
			shutdown(s.a, SHUT_WR);
			s.b.reset();
			BOOST_TEST(way.finish(way.send(s.a, "x")) == failed(EPIPE));
			BOOST_TEST(way.finish(way.sendmsg(s.a, message({"x"}))) == failed(EPIPE));
			BOOST_TEST(way.finish(way.sendto(s.a, "x", nullptr, 0)) == failed(EPIPE));
		});
	for_each_way_and_pair({unix_stream_kind, unix_packet_kind}, [](Way &way, Pair &s) {
		set_nonblocking(s.a);
		while (send(s.a, "f", 1, 0) == 1) {
		}
		Pending &out = way.send(s.a, "x");
		BOOST_TEST(way.pending(out));
		s.b.reset(); // with data unread
		int const error = way.finish(out).error;
		BOOST_TEST((error == EPIPE || error == ECONNRESET));
	});
	BOOST_TEST(signals == 0);
}

BOOST_AUTO_TEST_CASE(a_half_closed_connection_ends_recvs_and_carries_sends)
{
	for_each_way_and_pair({unix_stream_kind, unix_packet_kind, tcp4_kind, tcp6_kind},
			      [](Way &way, Pair &s) {
				      Pending &first = way.recv(s.b, 5), &second = way.recv(s.b, 5),
					      &third = way.recv(s.b, 5);
				      BOOST_TEST(way.pending(first));
				      put(s.a, "x");
				      shutdown(s.a, SHUT_WR);
				      BOOST_TEST(way.finish(first) == ok(1));
				      BOOST_TEST(way.finish(second) == ok(0));
				      BOOST_TEST(way.finish(third) == ok(0));
				      BOOST_TEST(way.finish(way.recv(s.b, 5)) == ok(0));
				      BOOST_TEST(way.finish(way.send(s.b, "answer")) == ok(6));
				      BOOST_TEST(way.take(s.a, 6) == "answer");
			      });
}

BOOST_AUTO_TEST_CASE(a_shutdown_of_the_own_side_ends_a_waiting_recv)
{
	for_each_way_and_pair({unix_stream_kind, tcp4_kind}, [](Way &way, Pair &s) {
		Pending &in = way.recv(s.b, 1);
		BOOST_TEST(way.pending(in));
		shutdown(s.b, SHUT_RD);
		BOOST_TEST(way.finish(in) == ok(0));
	});
}

BOOST_AUTO_TEST_CASE(a_reset_connection_means_econnreset)
{
	for_each_way_and_pair({tcp4_kind, tcp6_kind}, [](Way &way, Pair &s) {
		Pending &in = way.recv(s.b, 1);
		BOOST_TEST(way.pending(in));
		linger const reset{1, 0};
		setsockopt(s.a, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		s.a.reset();
		BOOST_TEST(way.finish(in) == failed(ECONNRESET));
	});
	for_each_way_and_pair({unix_stream_kind}, [](Way &way, Pair &s) {
		Pending &in = way.recv(s.b, 1);
		BOOST_TEST(way.pending(in));
		put(s.b, "never read");
		s.a.reset();
		BOOST_TEST(way.finish(in) == failed(ECONNRESET));
	});
}

BOOST_AUTO_TEST_CASE(a_datagram_to_a_closed_port_means_econnrefused)
{
	for_each_way_and_pair({udp4_kind, udp6_kind}, [](Way &way, Pair &s) {
		s.b.reset();
		Pending &in = way.recv(s.a, 1);
		BOOST_TEST(way.pending(in));
		put(s.a, "anybody?");
		BOOST_TEST(way.finish(in) == failed(ECONNREFUSED));
	});
}
