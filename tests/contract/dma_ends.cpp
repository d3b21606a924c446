// SPDX-License-Identifier: MIT
//
// The ends of associated sockets that are no streams: packets and datagrams, where a result of 0
// may be an empty one; and errors of sockets that the library reads by itself.
#define BOOST_TEST_MODULE dma_ends
#include "dma.hpp"

namespace {

constexpr int armed = AIO_DMA_BUF | EV_MULTISHOT;

/// Bytes of the next event; its piece is released.
ssize_t next_bytes(const Channel &ec, const Region &region)
{
	const event_data_t event = next_event(ec);
	BOOST_TEST(event.ev_type == event_type_dma);
	BOOST_TEST(event.ev_errno == 0);
	if (event.ev_result > 0)
		region.release(event.ev_un.ev_dma.buf, size_t(event.ev_result));
	return event.ev_result;
}

/// The socket's last event was read: it is armed no more, and nothing follows.
void check_ended(const Channel &ec, const Region &region)
{
	CHECK_FAILS(ev_cancel(ec, nullptr), ENOENT);
	BOOST_TEST(found_empty(ec));
	BOOST_TEST(region.stat().requests == 0u);
	BOOST_TEST(region.stat().used == 0u);
}

/// 0: it has received.
int error_of_receive(int s)
{
	void *p;
	return sio_recv(s, &p, 100, 0) == -1 ? errno : 0;
}

} // namespace

BOOST_AUTO_TEST_CASE(an_armed_packet_connection_tells_its_end_once)
{
	Region region(1 << 16);
	for_each_channel([&](Channel &ec) {
		Associated s(unix_packet_kind, region);
		BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 100, armed, ec, nullptr) == 0);
		s.peer_sends("");
		BOOST_TEST(next_bytes(ec, region) == 0);
		s.peer_sends("last");
		s.s.b.reset();
		BOOST_TEST(next_bytes(ec, region) == 4);
		BOOST_TEST(next_bytes(ec, region) == 0);
		check_ended(ec, region);
	});
}

BOOST_AUTO_TEST_CASE(armed_messages_end_with_an_event_that_has_none)
{
	Region region(1 << 16);
	Channel ec;
	Associated s(unix_packet_kind, region);
	BOOST_TEST_REQUIRE(ev_recvmsg(s, nullptr, armed, ec, nullptr) == 0);
	s.peer_sends("");
	event_data_t event = next_event(ec);
	BOOST_TEST_REQUIRE(event.ev_un.ev_dma.buf != nullptr);
	region.release(event.ev_un.ev_dma.buf, sizeof(msghdr));
	s.s.b.reset();
	event = next_event(ec);
	BOOST_TEST(event.ev_result == 0);
	BOOST_TEST(event.ev_un.ev_dma.buf == nullptr);
	check_ended(ec, region);
}

BOOST_AUTO_TEST_CASE(an_armed_socket_that_is_shut_down_for_reading_tells_its_end_once)
{
	Region region(1 << 16);
	for_each_channel([&](Channel &ec) {
		for (SocketKind const &kind : {unix_packet_kind, unix_datagram_kind, udp4_kind})
			for (unsigned flags : {0u, DMA_LATEST})
				BOOST_TEST_CONTEXT(kind.name << " " << flags)
				{
					Associated s(kind, region, flags);
					BOOST_TEST_REQUIRE(
						ev_recv(s, nullptr, 100, armed, ec, nullptr) == 0);
					s.peer_sends("one");
					BOOST_TEST(next_bytes(ec, region) == 3);
					BOOST_TEST(shutdown(s, SHUT_RD) == 0);
					BOOST_TEST(next_bytes(ec, region) == 0);
					check_ended(ec, region);
				}
	});
}

BOOST_AUTO_TEST_CASE(a_request_that_waits_ends_with_nothing_when_its_socket_is_shut_down)
{
	Region region(1 << 16);
	for (const SocketKind &kind : {unix_packet_kind, unix_datagram_kind, udp4_kind})
		for (unsigned flags : {0u, DMA_LATEST})
			BOOST_TEST_CONTEXT(kind.name << " " << flags)
			{
				Associated s(kind, region, flags);
				Request &waiting = on_region(s, region, 100);
				BOOST_TEST_REQUIRE(aio_recv(&waiting.cb, AIO_DMA_BUF) == 0);
				BOOST_TEST(shutdown(s, SHUT_RD) == 0);
				BOOST_TEST(received(waiting, region) == "");
				BOOST_TEST(s.recv(100) == "");
			}
}

BOOST_AUTO_TEST_CASE(with_latest_the_end_of_a_connection_drops_no_packet_and_comes_after_all)
{
	Region region(1 << 14);
	for_each_channel([&](Channel &ec) {
		Associated s(unix_packet_kind, region, DMA_LATEST);
		for (std::string_view text : {"one", "", "three"})
			s.peer_sends(text);
		s.s.b.reset();
		BOOST_TEST(s.recv(100) == "one");
		BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 100, armed, ec, nullptr) == 0);
		BOOST_TEST(next_bytes(ec, region) == 0);
		BOOST_TEST(next_bytes(ec, region) == 5);
		BOOST_TEST(next_bytes(ec, region) == 0);
		check_ended(ec, region);
		BOOST_TEST(s.recv(100) == "");
		BOOST_TEST(region.stat().dropped == 0u);
	});
}

BOOST_AUTO_TEST_CASE(with_latest_who_waits_learns_of_the_end)
{
	Region region(1 << 14);
	Associated s(unix_packet_kind, region, DMA_LATEST);
	Waiter reader([&] {
		void *p;
		return sio_recv(s, &p, 100, 0);
	});
	BOOST_TEST(reader.asleep());
	s.s.b.reset();
	BOOST_TEST(reader.returns());
	BOOST_TEST(reader.result() == 0);
}

BOOST_AUTO_TEST_CASE(with_latest_who_waits_learns_of_an_error)
{
	Region region(1 << 14);
	Associated s(udp4_kind, region, DMA_LATEST);
	Waiter reader([&] { return error_of_receive(s); });
	BOOST_TEST(reader.asleep());
	s.s.b.reset();
	BOOST_TEST(send(s, "nobody", 6, 0) == 6);
	BOOST_TEST(reader.returns());
	BOOST_TEST(reader.result() == ECONNREFUSED);
}

BOOST_AUTO_TEST_CASE(with_latest_who_waits_learns_of_the_end_of_the_association)
{
	Region region(1 << 14);
	Associated s(udp4_kind, region, DMA_LATEST);
	Waiter reader([&] { return error_of_receive(s); });
	BOOST_TEST(reader.asleep());
	region.disassociate(s);
	BOOST_TEST(reader.returns());
	BOOST_TEST(reader.result() == ECANCELED);
}

BOOST_AUTO_TEST_CASE(with_latest_an_error_ends_what_is_armed)
{
	Region region(1 << 14);
	for_each_channel([&](Channel &ec) {
		Associated s(udp4_kind, region, DMA_LATEST);
		BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 100, armed, ec, nullptr) == 0);
		s.peer_sends("last");
		BOOST_TEST(next_bytes(ec, region) == 4);
		s.s.b.reset();
		BOOST_TEST(send(s, "nobody", 6, 0) == 6);
		event_data_t const event = next_event(ec);
		BOOST_TEST(event.ev_result == -1);
		BOOST_TEST(event.ev_errno == ECONNREFUSED);
		check_ended(ec, region);
	});
}

BOOST_AUTO_TEST_CASE(the_end_of_a_packet_connection_needs_no_room)
{
	Region region(4096);
	Channel ec;
	Associated s(unix_packet_kind, region);
	auto pieces = region.fill();
	s.s.b.reset();
	BOOST_TEST(s.recv(100) == "");
	BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 100, armed, ec, nullptr) == 0);
	BOOST_TEST(next_bytes(ec, region) == 0);
	region.release(pieces);
	check_ended(ec, region);
}
