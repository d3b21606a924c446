// SPDX-License-Identifier: MIT
//
// Socket requests: addresses, messages in pieces, and control data, by the aio_* and the
// ev_* calls alike; what the call copies, and what stays the caller's.
#define BOOST_TEST_MODULE socket_messages
#include "socket_calls.hpp"

#include <linux/errqueue.h>

#include <algorithm>

namespace {

using Pending = Way::Pending;

const std::vector<SocketKind> unix_kinds{unix_stream_kind, unix_packet_kind, unix_datagram_kind};

/// The file behind a descriptor works in this program, and is the one that was sent.
void check_works(int fd, Stream &passed)
{
	BOOST_TEST_REQUIRE(fd >= 0);
	BOOST_TEST(write(fd, "through", 7) == 7);
	BOOST_TEST(take(passed.reader, 7) == "through");
}
bool closes_on_exec(int fd)
{
	return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

/// Nobody has the other end of the pipe any more.
bool has_no_writer(int pipe)
{
	pollfd ended{pipe, 0, 0};
	return poll(&ended, 1, 20000) == 1 && (ended.revents & POLLHUP) != 0;
}

/// A system call's message with a descriptor, from outside of the library.
void send_descriptor(int s, int fd)
{
	Message &m = message({"fd"});
	m.attach_descriptor(fd);
	BOOST_TEST_REQUIRE(sendmsg(s, &m.header, 0) == 2);
}
int take_descriptor(int s)
{
	Message &m = room_for({10});
	m.make_room(CMSG_SPACE(sizeof(int)));
	pollfd ready{s, POLLIN, 0};
	if (poll(&ready, 1, 20000) != 1 || recvmsg(s, &m.header, MSG_CMSG_CLOEXEC) <= 0)
		return -1;
	return m.received_descriptor();
}

/// Fills a UNIX socket; returns how to empty it: how many packets, or bytes.
size_t fill_unix(int s)
{
	set_nonblocking(s);
	size_t count = 0;
	while (send(s, "f", 1, MSG_NOSIGNAL) == 1)
		++count;
	set_nonblocking(s, false);
	return count;
}

} // namespace

// ------------------------------------------------------------------ addresses

BOOST_AUTO_TEST_CASE(a_datagram_goes_to_its_address_and_tells_where_it_came_from)
{
	for (const SocketKind &kind : datagram_socket_kinds) {
		if (!usable(kind))
			continue;
		BOOST_TEST_CONTEXT("sockets: " << kind.name)
		for_each_way([&](Way &way) {
			Fd a = bound_socket(kind), b = bound_socket(kind);
			for (bool wait : {false, true}) {
				Address to = address_of(b), from;
				memset(&from.storage, 0, sizeof from.storage);
				Pending *in =
					wait ? &way.recvfrom(b, 10, from.get(), sizeof from.storage)
					     : nullptr;
				if (wait)
					BOOST_TEST(way.pending(*in));
				Pending &out = way.sendto(a, "datagram", to.get(), to.length);
				memset(&to.storage, 0xff, sizeof to.storage); // it has been copied
				BOOST_TEST(way.finish(out) == ok(8));
				if (!wait)
					in = &way.recvfrom(b, 10, from.get(), sizeof from.storage);
				BOOST_TEST(way.finish(*in) == ok(8));
				BOOST_TEST(in->text() == "datagram??");
				from.length = address_of(a).length;
				BOOST_TEST((from == address_of(a)));
			}
		});
	}
}

BOOST_AUTO_TEST_CASE(an_address_is_stored_as_far_as_there_is_room_or_not_at_all)
{
	for_each_way([](Way &way) {
		Fd a = bound_socket(udp4_kind), b = bound_socket(udp4_kind);
		Address to = address_of(b);
		std::array<unsigned char, sizeof(sockaddr_in)> from;
		for (size_t room : {size_t{0}, size_t{4}, from.size()}) {
			from.fill(0xee);
			BOOST_TEST(way.finish(way.sendto(a, "x", to.get(), to.length)) == ok(1));
			auto *const where = reinterpret_cast<sockaddr *>(from.data());
			BOOST_TEST(way.finish(way.recvfrom(b, 1, where, socklen_t(room))) == ok(1));
			Address expected = address_of(a);
			BOOST_TEST(memcmp(from.data(), &expected.storage, room) == 0);
			BOOST_TEST(std::all_of(from.begin() + long(room), from.end(),
					       [](unsigned char c) { return c == 0xee; }));
		}
		BOOST_TEST(way.finish(way.sendto(a, "x", to.get(), to.length)) == ok(1));
		BOOST_TEST(way.finish(way.recvfrom(b, 1, nullptr, 0)) == ok(1));
	});
}

BOOST_AUTO_TEST_CASE(a_message_goes_to_its_address_and_tells_where_it_came_from)
{
	for (const SocketKind &kind : datagram_socket_kinds) {
		if (!usable(kind))
			continue;
		BOOST_TEST_CONTEXT("sockets: " << kind.name)
		for_each_way([&](Way &way) {
			Fd a = bound_socket(kind), b = bound_socket(kind);
			Message &out = message({"in ", "three ", "pieces"}),
				&in = room_for({4, 4, 100});
			out.address = address_of(b);
			out.header.msg_name = &out.address.storage;
			out.header.msg_namelen = out.address.length;
			in.ask_for_address();
			Pending &receiving = way.recvmsg(b, in);
			BOOST_TEST(way.pending(receiving));
			Pending &sending = way.sendmsg(a, out);
			memset(&out.address.storage, 0xff, sizeof out.address.storage);
			out.spoil_what_was_copied();
			memset(&out.header, 0xaa,
			       sizeof out.header); // nothing of it is a place for results
			BOOST_TEST(way.finish(sending) == ok(15));
			BOOST_TEST(way.finish(receiving) == ok(15));
			BOOST_TEST(in.text().substr(0, 15) == "in three pieces");
			in.address.length = in.header.msg_namelen;
			BOOST_TEST((in.address == address_of(a)));
			BOOST_TEST(in.header.msg_flags == 0);
		});
	}
}

// ---------------------------------------------------------- what is copied

BOOST_AUTO_TEST_CASE(the_message_and_its_vector_are_copied_by_a_send)
{
	for (bool wait : {false, true})
		for_each_way_and_pair({unix_stream_kind, unix_packet_kind, tcp4_kind},
				      [&](Way &way, Pair &s) {
					      size_t const before = wait ? fill(s.a) : 0;
					      Message &m = message({"one", "", "two"});
					      Pending &out = way.sendmsg(s.a, m);
					      m.spoil_what_was_copied();
					      memset(&m.header, 0xaa, sizeof m.header);
					      way.go();
					      BOOST_TEST(way.take(s.b, before).size() == before);
					      BOOST_TEST(way.take(s.b, 6) == "onetwo");
					      BOOST_TEST(way.finish(out) == ok(6));
				      });
}

BOOST_AUTO_TEST_CASE(the_message_and_its_vector_are_copied_by_a_recv_and_results_are_stored)
{
	for (bool wait : {false, true})
		for_each_way_and_pair(every_socket_kind, [&](Way &way, Pair &s) {
			Message &m = room_for({3, 0, 2, 5});
			m.ask_for_address();
			m.make_room(100);
			m.header.msg_flags = 0x7fff;
			if (!wait)
				put(s.a, "abcdefg");
			Pending &in = way.recvmsg(s.b, m);
			m.spoil_what_was_copied();
			if (wait) {
				BOOST_TEST(way.pending(in));
				put(s.a, "abcdefg");
			}
			BOOST_TEST(way.finish(in) == ok(7));
			BOOST_TEST(m.text() == "abcdefg???");
			BOOST_TEST((m.header.msg_flags & ~MSG_EOR) == 0);
			BOOST_TEST(m.header.msg_controllen == 0u);
			BOOST_TEST(m.header.msg_namelen <= sizeof(sockaddr_in6));
		});
}

BOOST_AUTO_TEST_CASE(a_packet_that_is_too_long_is_marked)
{
	for (bool wait : {false, true})
		for_each_way_and_pair(packet_socket_kinds, [&](Way &way, Pair &s) {
			Message &m = room_for({2, 2});
			if (!wait)
				put(s.a, "abcdefg");
			Pending &in = way.recvmsg(s.b, m);
			if (wait) {
				BOOST_TEST(way.pending(in));
				put(s.a, "abcdefg");
			}
			BOOST_TEST(way.finish(in) == ok(4));
			BOOST_TEST(m.text() == "abcd");
			BOOST_TEST((m.header.msg_flags & MSG_TRUNC) != 0);
			BOOST_TEST(!has_data(s.b));
		});
}

BOOST_AUTO_TEST_CASE(after_a_shutdown_of_the_own_side_a_message_is_as_recvmsg_leaves_it)
{
	for_each_way_and_pair(
		{unix_stream_kind, unix_datagram_kind, unix_packet_kind, udp4_kind},
		[](Way &way, Pair &s) {
			for (int flags : {0, int(MSG_CMSG_CLOEXEC), MSG_CMSG_CLOEXEC | MSG_PEEK}) {
				Message m({"...."}), judge({"...."});
				m.header.msg_flags = judge.header.msg_flags = MSG_CTRUNC;
				Pending &in = way.recvmsg(s.b, m, flags);
				if (flags == 0)
					BOOST_TEST(way.pending(in));
				shutdown(s.b, SHUT_RD);
				BOOST_TEST(recvmsg(s.b, &judge.header, flags) == 0);
				BOOST_TEST(way.finish(in) == ok(0));
				BOOST_TEST(m.header.msg_flags == judge.header.msg_flags);
				BOOST_TEST(m.header.msg_namelen == judge.header.msg_namelen);
				BOOST_TEST(m.header.msg_controllen == judge.header.msg_controllen);
			}
		});
}

BOOST_AUTO_TEST_CASE(very_many_pieces_are_carried)
{
	for_each_way_and_pair({unix_stream_kind, tcp4_kind}, [](Way &way, Pair &s) {
		Message &out = message(std::vector<std::string>(
				1024, "piece of forty bytes, one of very many: ")),
			&in = room_for(std::vector<size_t>(1024, 40));
		Pending &receiving = way.recvmsg(s.b, in, MSG_WAITALL),
			&sending = way.sendmsg(s.a, out);
		out.spoil_what_was_copied();
		in.spoil_what_was_copied();
		BOOST_TEST(way.finish(sending) == ok(40960));
		BOOST_TEST(way.finish(receiving) == ok(40960));
		BOOST_TEST((in.text() == out.text()));
	});
}

// ---------------------------------------------------------------- descriptors

BOOST_AUTO_TEST_CASE(a_descriptor_is_sent)
{
	for (bool wait : {false, true})
		for_each_way_and_pair(unix_kinds, [&](Way &way, Pair &s) {
			Stream passed = pipe_stream();
			size_t const before = wait ? fill_unix(s.a) : 0;
			Message &m = message({"fd"});
			m.attach_descriptor(passed.writer);
			Pending &out = way.sendmsg(s.a, m);
			if (wait)
				BOOST_TEST(way.pending(out));
			way.go();
			BOOST_TEST(way.take(s.b, before).size() == before);
			BOOST_TEST(way.finish(out) == ok(2));
			Fd const got(take_descriptor(s.b));
			check_works(got, passed);
			BOOST_TEST(int(got) != int(passed.writer));
		});
}

BOOST_AUTO_TEST_CASE(a_received_descriptor_works_in_the_program)
{
	for (bool wait : {false, true})
		for (int flags : {0, int{MSG_CMSG_CLOEXEC}})
			for_each_way_and_pair(unix_kinds, [&](Way &way, Pair &s) {
				Stream passed = pipe_stream();
				Message &m = room_for({10});
				m.make_room(CMSG_SPACE(sizeof(int)));
				if (!wait)
					send_descriptor(s.a, passed.writer);
				Pending &in = way.recvmsg(s.b, m, flags);
				if (wait) {
					BOOST_TEST(way.pending(in));
					send_descriptor(s.a, passed.writer);
				}
				BOOST_TEST(way.finish(in) == ok(2));
				BOOST_TEST((m.header.msg_flags & MSG_CTRUNC) == 0);
				BOOST_TEST(m.header.msg_controllen >= CMSG_LEN(sizeof(int)));
				Fd const got(m.received_descriptor());
				check_works(got, passed);
				BOOST_TEST(closes_on_exec(got) == (flags != 0));
			});
}

BOOST_AUTO_TEST_CASE(descriptors_go_through_requests_on_both_sides)
{
	for_each_way_and_pair(unix_kinds, [](Way &way, Pair &s) {
		for (int round = 0; round < 20; ++round) {
			Stream passed = pipe_stream();
			Message &out = message({"fd"}), &in = room_for({2});
			out.attach_descriptor(passed.writer);
			in.make_room(CMSG_SPACE(sizeof(int)));
			Pending *receiving =
				round % 2 == 0 ? &way.recvmsg(s.b, in, MSG_CMSG_CLOEXEC) : nullptr;
			Pending &sending = way.sendmsg(s.a, out);
			BOOST_TEST(way.finish(sending) == ok(2));
			if (receiving == nullptr)
				receiving = &way.recvmsg(s.b, in, MSG_CMSG_CLOEXEC);
			BOOST_TEST(way.finish(*receiving) == ok(2));
			Fd const got(in.received_descriptor());
			check_works(got, passed);
			BOOST_TEST(closes_on_exec(got));
		}
	});
}

BOOST_AUTO_TEST_CASE(several_descriptors_come_in_their_order)
{
	for_each_way_and_pair(unix_kinds, [](Way &way, Pair &s) {
		std::vector<Stream> passed;
		std::vector<int> numbers;
		for (int i = 0; i < 5; ++i) {
			passed.push_back(pipe_stream());
			numbers.push_back(passed.back().writer);
		}
		Message &out = message({"five"}), &in = room_for({4});
		out.attach(SCM_RIGHTS, numbers.data(), numbers.size() * sizeof(int));
		in.make_room(CMSG_SPACE(5 * sizeof(int)));
		Pending &receiving = way.recvmsg(s.b, in, MSG_CMSG_CLOEXEC);
		BOOST_TEST(way.pending(receiving));
		BOOST_TEST(way.finish(way.sendmsg(s.a, out)) == ok(4));
		BOOST_TEST(way.finish(receiving) == ok(4));
		void const *const data = in.received(SCM_RIGHTS);
		BOOST_TEST_REQUIRE(data != nullptr);
		memcpy(numbers.data(), data, numbers.size() * sizeof(int));
		for (size_t i = 0; i < 5; ++i) {
			Fd const got(numbers[i]);
			check_works(got, passed[i]);
		}
	});
}

BOOST_AUTO_TEST_CASE(without_room_for_a_descriptor_it_is_dropped_and_the_message_is_marked)
{
	for (bool wait : {false, true})
		for_each_way_and_pair(unix_kinds, [&](Way &way, Pair &s) {
			Stream passed = pipe_stream();
			Message &m = room_for({2});
			if (!wait)
				send_descriptor(s.a, passed.writer);
			Pending &in = way.recvmsg(s.b, m);
			if (wait) {
				BOOST_TEST(way.pending(in));
				send_descriptor(s.a, passed.writer);
			}
			BOOST_TEST(way.finish(in) == ok(2));
			BOOST_TEST((m.header.msg_flags & MSG_CTRUNC) != 0);
			passed.writer.reset();
			BOOST_TEST(has_no_writer(passed.reader));
		});
}

BOOST_AUTO_TEST_CASE(a_plain_recv_drops_a_descriptor)
{
	for_each_way_and_pair(unix_kinds, [](Way &way, Pair &s) {
		Stream passed = pipe_stream();
		Pending &in = way.recv(s.b, 2);
		BOOST_TEST(way.pending(in));
		send_descriptor(s.a, passed.writer);
		BOOST_TEST(way.finish(in) == ok(2));
		passed.writer.reset();
		BOOST_TEST(has_no_writer(passed.reader));
	});
}

// --------------------------------------------------------- other control data

BOOST_AUTO_TEST_CASE(the_sender_is_this_process)
{
	for (bool wait : {false, true})
		for_each_way_and_pair(unix_kinds, [&](Way &way, Pair &s) {
			int const on = 1;
			BOOST_TEST_REQUIRE(
				setsockopt(s.b, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
			size_t const before = wait ? fill_unix(s.a) : 0;
			ucred const own{getpid(), getuid(), getgid()};
			for (bool explicit_one : {false, true}) {
				Message &out = message({"x"}), &in = room_for({1});
				if (explicit_one)
					out.attach(SCM_CREDENTIALS, &own, sizeof own);
				in.make_room(CMSG_SPACE(sizeof own));
				Pending &sending = way.sendmsg(s.a, out);
				way.go();
				if (!explicit_one)
					BOOST_TEST(way.take(s.b, before).size() == before);
				BOOST_TEST(way.finish(sending) == ok(1));
				BOOST_TEST(way.finish(way.recvmsg(s.b, in)) == ok(1));
				ucred got{};
				if (void const *data = in.received(SCM_CREDENTIALS))
					memcpy(&got, data, sizeof got);
				BOOST_TEST(got.pid == own.pid);
				BOOST_TEST(got.uid == own.uid);
				BOOST_TEST(got.gid == own.gid);
			}
		});
}

BOOST_AUTO_TEST_CASE(a_datagram_tells_the_address_it_was_sent_to)
{
	for_each_way_and_pair({udp4_kind}, [](Way &way, Pair &s) {
		int const on = 1;
		BOOST_TEST_REQUIRE(setsockopt(s.b, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) == 0);
		Message &m = room_for({4});
		m.make_room(CMSG_SPACE(sizeof(in_pktinfo)));
		Pending &in = way.recvmsg(s.b, m);
		BOOST_TEST(way.pending(in));
		put(s.a, "data");
		BOOST_TEST(way.finish(in) == ok(4));
		in_pktinfo info{};
		if (void const *data = m.received(IP_PKTINFO, IPPROTO_IP))
			memcpy(&info, data, sizeof info);
		BOOST_TEST(info.ipi_addr.s_addr == htonl(INADDR_LOOPBACK));
	});
}

BOOST_AUTO_TEST_CASE(the_error_queue_is_read)
{
	for_each_way_and_pair({udp4_kind}, [](Way &way, Pair &s) {
		int const on = 1;
		BOOST_TEST_REQUIRE(setsockopt(s.a, IPPROTO_IP, IP_RECVERR, &on, sizeof on) == 0);
		s.b.reset();
		put(s.a, "anybody?");
		pollfd failed_one{s.a, 0, 0};
		BOOST_TEST(poll(&failed_one, 1, 20000) == 1);
		Message &m = room_for({20});
		m.ask_for_address();
		m.make_room(512);
		BOOST_TEST(way.finish(way.recvmsg(s.a, m, MSG_ERRQUEUE)) == ok(8));
		BOOST_TEST(m.text().substr(0, 8) == "anybody?");
		BOOST_TEST((m.header.msg_flags & MSG_ERRQUEUE) != 0);
		sock_extended_err error{};
		if (void const *data = m.received(IP_RECVERR, IPPROTO_IP))
			memcpy(&error, data, sizeof error);
		BOOST_TEST(error.ee_errno == unsigned{ECONNREFUSED});
		BOOST_TEST(way.finish(way.recvmsg(s.a, room_for({20}),
						  MSG_ERRQUEUE | MSG_DONTWAIT)) == failed(EAGAIN));
	});
}
