// SPDX-License-Identifier: MIT
//
// The ends of associated sockets that are no streams: packets and datagrams, where a result of 0
// may be an empty one; errors of sockets that the library reads by itself; and the end of an
// association for those who wait in the kernel.
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

// ------------------------------------------- the end of an association that is waited in

namespace {

/// Whether the calling thread's own calls are interrupted by something that is none of its
/// business.
bool sleeps_undisturbed()
{
	return poll(nullptr, 0, 1) == 0;
}

/// Once this has been called libc's own handler is there for the signal of cancellation, and with
/// it calls begin anew that have been interrupted.
void have_a_thread_cancelled()
{
	std::thread sleeper([] { pause(); });
	pthread_cancel(sleeper.native_handle());
	sleeper.join();
}

/// All that sends to the peer now is still in the socket.
void check_nothing_is_taken(Associated &s)
{
	s.peer_sends("later");
	char text[10];
	BOOST_TEST(recv(s, text, sizeof text, MSG_DONTWAIT) == 5);
}

void check_that_waiting_ends_with_the_association()
{
	Region region(1 << 16);
	for_each_kind([&](const SocketKind &kind) {
		Associated s(kind, region);
		for (bool message : {false, true}) {
			Waiter reader([&] {
				void *p;
				const void *m;
				int const n = message ? sio_recvmsg(s, &m, 100, 0)
						      : sio_recv(s, &p, 100, 0);
				int const error = n == -1 ? errno : 0;
				return sleeps_undisturbed() ? error : -1;
			});
			BOOST_TEST(reader.asleep());
			region.disassociate(s);
			BOOST_TEST(reader.returns());
			BOOST_TEST(reader.result() == ECANCELED);
			BOOST_TEST(region.stat().used == 0u);
			BOOST_TEST(region.stat().requests == 0u);
			check_nothing_is_taken(s);
			region.associate(s);
		}
	});
}

} // namespace

BOOST_AUTO_TEST_CASE(who_waits_in_the_kernel_learns_at_once_of_the_end_of_the_association)
{
	check_that_waiting_ends_with_the_association();
	have_a_thread_cancelled();
	check_that_waiting_ends_with_the_association();
}

BOOST_AUTO_TEST_CASE(who_waits_for_data_without_room_learns_of_the_end_of_the_association)
{
	Region region(1024);
	Associated s(udp4_kind, region);
	char *const p = region.reserve(512);
	Waiter reader([&] {
		void *q;
		return sio_recv(s, &q, 1024, 0) == -1 ? errno : 0;
	});
	BOOST_TEST(reader.asleep());
	region.disassociate(s);
	BOOST_TEST(reader.returns());
	BOOST_TEST(reader.result() == ECANCELED);
	region.release(p, 512);
}

BOOST_AUTO_TEST_CASE(all_who_wait_in_the_kernel_learn_of_the_end_of_the_association)
{
	Region region(1 << 16);
	Associated s(udp4_kind, region);
	std::list<Waiter> readers;
	// One after the other: two that begin at once may sleep for each other.
	for (int i = 0; i < 5; ++i) {
		readers.emplace_back([&] { return error_of_receive(s); });
		BOOST_TEST(readers.back().asleep());
	}
	region.disassociate(s);
	for (Waiter &reader : readers) {
		BOOST_TEST(reader.returns());
		BOOST_TEST(reader.result() == ECANCELED);
	}
}

BOOST_AUTO_TEST_CASE(who_waits_in_a_region_that_is_taken_away_goes_on_in_another)
{
	Region first(1 << 16), second(1 << 16);
	for_each_kind([&](const SocketKind &kind) {
		Associated s(kind, first);
		second.associate(s);
		std::atomic<void *> p = nullptr;
		Waiter reader([&] {
			void *q = nullptr;
			int const n = sio_recv(s, &q, 100, 0);
			p = q;
			return n == 4 ? 0 : -1;
		});
		BOOST_TEST(reader.asleep());
		first.disassociate(s);
		BOOST_TEST(eventually([&] { return second.stat().used != 0; }));
		BOOST_TEST(first.stat().used == 0u);
		s.peer_sends("data");
		BOOST_TEST(reader.returns());
		BOOST_TEST(reader.result() == 0);
		second.release(p, 4);
		second.disassociate(s);
	});
}
