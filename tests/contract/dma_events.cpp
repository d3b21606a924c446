// SPDX-License-Identifier: MIT
//
// Events of associated sockets: armed once, an event for each arrival; DMA_LATEST and
// its overflow; async_io_notify.
#define BOOST_TEST_MODULE dma_events
#include "dma.hpp"

namespace {

constexpr int armed = AIO_DMA_BUF | EV_MULTISHOT;

/// What the event brought; its piece is released.
std::string content(const event_data_t &event, const Region &region)
{
	BOOST_TEST(event.ev_type == event_type_dma);
	BOOST_TEST(event.ev_errno == 0);
	BOOST_TEST_REQUIRE(event.ev_result >= 0);
	if (event.ev_result == 0) {
		BOOST_TEST(event.ev_un.ev_dma.buf == nullptr);
		return {};
	}
	BOOST_TEST((event.ev_un.ev_dma.mem == region));
	std::string text(static_cast<char *>(event.ev_un.ev_dma.buf), size_t(event.ev_result));
	region.release(event.ev_un.ev_dma.buf, size_t(event.ev_result));
	return text;
}

} // namespace

BOOST_AUTO_TEST_CASE(armed_once_a_socket_yields_an_event_for_each_arrival)
{
	Region region(1 << 16);
	for_each_channel([&](Channel &ec) {
		for_each_kind([&](SocketKind const &kind) {
			Associated s(kind, region);
			BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 100, armed, ec, &s) == 0);
			BOOST_TEST(region.stat().used == 0u); // an idle connection has no piece
			for (int i = 0; i < 20; ++i) {
				std::string const text = "arrival " + std::to_string(i);
				s.peer_sends(text);
				event_data_t const event = next_event(ec);
				BOOST_TEST(event.ev_un.ev_fd == int(s));
				BOOST_TEST(event.ev_data == &s);
				BOOST_TEST(content(event, region) == text);
			}
			BOOST_TEST(ev_cancel(ec, &s) == 0);
			BOOST_TEST(next_event(ec).ev_errno == ECANCELED);
			s.peer_sends("unarmed");
			BOOST_TEST(s.recv(100) == "unarmed");
			BOOST_TEST(found_empty(ec));
			BOOST_TEST(region.stat().used == 0u);
		});
	});
}

BOOST_AUTO_TEST_CASE(without_multishot_it_is_one_event)
{
	Region region(1 << 16);
	Channel ec;
	Associated s(udp4_kind, region);
	BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 100, AIO_DMA_BUF, ec, nullptr) == 0);
	BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 3, AIO_DMA_BUF, ec, nullptr) == 0);
	for (const char *text : {"first", "second", "third"})
		s.peer_sends(text);
	BOOST_TEST(content(next_event(ec), region) == "first");
	BOOST_TEST(content(next_event(ec), region) == "sec");
	BOOST_TEST(found_empty(ec));
	BOOST_TEST(s.recv(100) == "third");
	BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 100, AIO_DMA_BUF | MSG_DONTWAIT, ec, nullptr) == 0);
	BOOST_TEST(next_event(ec).ev_errno == EAGAIN);
}

BOOST_AUTO_TEST_CASE(an_armed_socket_tells_its_end)
{
	Region region(1 << 16);
	for_each_channel([&](Channel &ec) {
		Associated s(tcp4_kind, region);
		BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 100, armed, ec, nullptr) == 0);
		s.peer_sends("last");
		s.s.b.reset();
		BOOST_TEST(content(next_event(ec), region) == "last");
		BOOST_TEST(content(next_event(ec), region) == "");
		CHECK_FAILS(ev_cancel(ec, nullptr), ENOENT);
		BOOST_TEST(region.stat().requests == 0u);
	});
}

BOOST_AUTO_TEST_CASE(messages_of_an_armed_socket_have_their_address)
{
	Region region(1 << 16);
	Channel ec;
	Fd from = bound_socket(udp4_kind), to = bound_socket(udp4_kind);
	const Address sender = address_of(from);
	Address where = address_of(to);
	region.associate(to);
	BOOST_TEST_REQUIRE(ev_recvmsg(to, nullptr, armed, ec, nullptr) == 0);
	for (int i = 0; i < 3; ++i) {
		BOOST_TEST_REQUIRE(sendto(from, "payload", 7, 0, where.get(), where.length) == 7);
		const event_data_t event = next_event(ec);
		BOOST_TEST_REQUIRE(event.ev_result == 7);
		const auto *const m = static_cast<msghdr *>(event.ev_un.ev_dma.buf);
		BOOST_TEST((m->msg_namelen == sizeof(sockaddr_in) &&
			    memcmp(m->msg_name, &sender.storage, sizeof(sockaddr_in)) == 0));
		BOOST_TEST(std::string(static_cast<char *>(m->msg_iov->iov_base),
				       m->msg_iov->iov_len) == "payload");
		region.release(m, 7);
	}
	region.disassociate(to);
	BOOST_TEST(next_event(ec).ev_errno == ECANCELED);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_armed_is_refused_or_told)
{
	Region region(4096);
	Channel ec;
	Pair s = make_pair(udp4_kind);
	CHECK_FAILS(ev_recv(s.a, nullptr, 0, armed, ec, nullptr), EINVAL);
	CHECK_FAILS(ev_recv(s.a, nullptr, size_t(SSIZE_MAX) + 1, armed, ec, nullptr), EINVAL);
	CHECK_FAILS(ev_recv(s.a, nullptr, 10, armed | MSG_PEEK, ec, nullptr), EOPNOTSUPP);
	Address from;
	CHECK_FAILS(ev_recvfrom(s.a, nullptr, 10, armed, from.get(), from.length, ec, nullptr),
		    EINVAL);
	BOOST_TEST(ev_recv(s.a, nullptr, 10, armed, ec, nullptr) == 0);
	BOOST_TEST(next_event(ec).ev_errno == EINVAL); // it has no region
	region.associate(s.a);
	BOOST_TEST(ev_recv(s.a, nullptr, 10, armed, ec, nullptr) == 0);
	BOOST_TEST(ev_recv(s.a, nullptr, 10, armed, ec, &s) == 0);
	const event_data_t event = next_event(ec);
	BOOST_TEST(event.ev_errno == EBUSY);
	BOOST_TEST(event.ev_data == &s);
	region.disassociate(s.a);
}

BOOST_AUTO_TEST_CASE(without_room_arrivals_wait_and_none_is_lost)
{
	Region region(4096);
	Channel ec;
	for (const SocketKind &kind : {unix_datagram_kind, udp4_kind, unix_packet_kind}) {
		Associated s(kind, region);
		auto pieces = region.fill();
		BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 100, armed, ec, &s) == 0);
		for (int i = 0; i < 8; ++i)
			s.peer_sends(std::to_string(i));
		usleep(2000);
		BOOST_TEST(found_empty(ec));
		region.release(pieces);
		for (int i = 0; i < 8; ++i)
			BOOST_TEST(content(next_event(ec), region) == std::to_string(i));
		BOOST_TEST(ev_cancel(ec, &s) == 0);
		BOOST_TEST(next_event(ec).ev_errno == ECANCELED);
	}
	BOOST_TEST(region.stat().rearms >= 3u);
}

BOOST_AUTO_TEST_CASE(while_the_channel_is_full_arrivals_wait_and_none_is_lost)
{
	Region region(1 << 16);
	for_each_channel([&](Channel &ec) {
		Associated s(unix_packet_kind, region);
		BOOST_TEST_REQUIRE(ec_set_limit(ec, 4) == 0);
		BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 100, armed, ec, &s) == 0);
		for (int i = 0; i < 50; ++i)
			s.peer_sends(std::to_string(i));
		BOOST_TEST(eventually([&] { return numbers(ec).queued == 3; }));
		for (int i = 0; i < 50; ++i)
			BOOST_TEST(content(next_event(ec), region) == std::to_string(i));
		BOOST_TEST(ev_cancel(ec, &s) == 0);
		BOOST_TEST(numbers(ec).dropped == 0u);
	});
}

BOOST_AUTO_TEST_CASE(the_end_of_a_channel_gives_unread_pieces_back)
{
	Region region(1 << 16);
	for_each_kind([&](const SocketKind &kind) {
		Associated s(kind, region);
		{
			Channel ec;
			BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 100, armed, ec, &s) == 0);
			s.peer_sends("unread");
			BOOST_TEST(becomes_readable(ec));
			BOOST_TEST(numbers(ec).queued == 1u);
			BOOST_TEST(region.stat().used != 0u);
		}
		BOOST_TEST(eventually([&] { return region.stat().used == 0; }));
		s.peer_sends("after");
		BOOST_TEST(s.recv(100) == "after");
	});
}

BOOST_AUTO_TEST_CASE(a_send_from_a_region_is_an_ordinary_event)
{
	Region region(1 << 16);
	for_each_channel([&](Channel &ec) {
		Pair s = make_pair(tcp4_kind);
		char *const p = region.piece("text");
		static char own[4];
		BOOST_TEST_REQUIRE(ev_send(s.a, p, 4, AIO_DMA_BUF, ec, p) == 0);
		hand_over(ec);
		event_data_t const event = next_event(ec);
		BOOST_TEST(event.ev_type == event_type_net);
		BOOST_TEST(outcome(event) == ok(4));
		CHECK_FAILS(ev_send(s.a, own, 4, AIO_DMA_BUF, ec, p), EFAULT);
		region.release(p, 4);
	});
}

// ------------------------------------------------------------------ DMA_LATEST

namespace {

/// How many datagrams: 5,000 of each kind, or what SIGEVEC_TEST_DATAGRAMS says.
int datagrams()
{
	const char *const text = getenv("SIGEVEC_TEST_DATAGRAMS");
	return text != nullptr ? std::stoi(text) : 5000;
}

} // namespace

BOOST_AUTO_TEST_CASE(of_datagrams_that_nobody_reads_the_newest_are_kept_and_the_others_counted)
{
	for (const SocketKind &kind : {unix_datagram_kind, unix_packet_kind}) {
		Region region(32768);
		Associated s(kind, region, DMA_LATEST | DMA_BUFSIZE(100));
		const int sent = datagrams();
		for (int i = 0; i < sent; ++i)
			s.peer_sends(std::to_string(i));
		std::vector<std::string> got;
		BOOST_TEST(eventually([&] { return !has_data(s); }));
		for (void *p;;) {
			const int n = sio_recv(s, &p, 100, MSG_DONTWAIT);
			if (n < 0)
				break;
			got.emplace_back(static_cast<char *>(p), size_t(n));
			region.release(p, size_t(n));
		}
		BOOST_TEST_REQUIRE(!got.empty());
		for (size_t i = 0; i < got.size(); ++i)
			BOOST_TEST(got[i] == std::to_string(sent - int(got.size()) + int(i)));
		BOOST_TEST(region.stat().dropped == size_t(sent) - got.size());
		s.peer_sends("goes on");
		BOOST_TEST(s.recv(100) == "goes on");
	}
}

BOOST_AUTO_TEST_CASE(a_reader_waits_for_the_latest)
{
	Region region(32768);
	Associated s(udp4_kind, region, DMA_LATEST);
	void *p;
	CHECK_FAILS(s.recv_nothing(), EAGAIN);
	set_nonblocking(s);
	CHECK_FAILS(sio_recv(s, &p, 100, 0), EAGAIN);
	set_nonblocking(s, false);
	const timeval limit{0, 10000};
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	CHECK_FAILS(sio_recv(s, &p, 100, 0), EAGAIN);
	const timeval none{0, 0};
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none);
	Waiter waiter([&] {
		void *q;
		return sio_recv(s, &q, 100, 0) == 4 && sio_release(region, q, 4) == 0 ? 0 : -1;
	});
	BOOST_TEST(waiter.asleep());
	s.peer_sends("news");
	BOOST_TEST(waiter.returns());
	BOOST_TEST(waiter.result() == 0);
}

BOOST_AUTO_TEST_CASE(an_overflow_comes_ahead_of_all_events_and_counts_exactly)
{
	for_each_channel([&](Channel &ec) {
		Region region(32768);
		Associated s(unix_packet_kind, region, DMA_LATEST | DMA_BUFSIZE(100));
		BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 100, armed, ec, &s) == 0);
		int const sent = datagrams();
		for (int i = 0; i < sent; ++i)
			s.peer_sends(std::to_string(i));
		BOOST_TEST(eventually([&] { return !has_data(s); }));
		event_data_t event = next_event(ec);
		BOOST_TEST(event.ev_type == event_type_overflow);
		ssize_t dropped = event.ev_result;
		int next = -1;
		while (next != sent) {
			event = next_event(ec);
			if (event.ev_type == event_type_overflow) {
				dropped += event.ev_result;
				continue;
			}
			int const number = std::stoi(content(event, region));
			if (next >= 0)
				BOOST_TEST(number >= next);
			next = number + 1;
		}
		BOOST_TEST(region.stat().dropped == size_t(dropped));
		BOOST_TEST(numbers(ec).dropped == size_t(dropped));
		BOOST_TEST(ev_cancel(ec, &s) == 0);
		BOOST_TEST(next_event(ec).ev_errno == ECANCELED);
		BOOST_TEST(numbers(ec).delivered == size_t(sent - dropped) + 1);
	});
}

// ------------------------------------------------------------- async_io_notify

namespace {

std::atomic<int> calls, called_for;
void note(int fd, void *count)
{
	called_for = fd;
	++*static_cast<std::atomic<int> *>(count);
}

} // namespace

BOOST_AUTO_TEST_CASE(a_call_back_runs_once_when_data_has_arrived)
{
	Region region(1 << 16);
	for_each_kind([&](const SocketKind &kind) {
		Associated s(kind, region);
		calls = 0;
		BOOST_TEST_REQUIRE(async_io_notify(s, note, &calls) == 0);
		CHECK_FAILS(async_io_notify(s, note, &calls), EBUSY);
		s.peer_sends("first");
		BOOST_TEST(eventually([] { return calls == 1; }));
		BOOST_TEST(called_for == int(s));
		s.peer_sends("second");
		std::string const first = s.recv(5);
		BOOST_TEST(first == "first");
		BOOST_TEST(s.recv(10) == "second");
		BOOST_TEST(calls == 1);
		BOOST_TEST(async_io_notify(s, note, &calls) == 0);
	});
}

BOOST_AUTO_TEST_CASE(a_call_back_is_told_at_once_of_what_the_library_has_received_before)
{
	Region region(1 << 16);
	const auto count = [](int, void *p) { ++*static_cast<std::atomic<int> *>(p); };
	std::atomic<int> told{0};
	Associated s(udp4_kind, region, DMA_LATEST);
	s.peer_sends("one");
	BOOST_TEST(eventually([&] { return region.stat().used != 0; }));
	BOOST_TEST_REQUIRE(async_io_notify(s, count, &told) == 0);
	BOOST_TEST(eventually([&] { return told == 1; }));
	// Of that it has been told.
	BOOST_TEST_REQUIRE(async_io_notify(s, count, &told) == 0);
	CHECK_FAILS(async_io_notify(s, count, &told), EBUSY);
	s.peer_sends("two");
	BOOST_TEST(eventually([&] { return told == 2; }));
	BOOST_TEST(s.recv(100) == "one");
	BOOST_TEST(s.recv(100) == "two");
}

BOOST_AUTO_TEST_CASE(a_call_back_may_register_again)
{
	static std::atomic<int> total;
	static std::atomic<void (*)(int, void *)> again;
	again = +[](int fd, void *) {
		if (async_io_notify(fd, again, nullptr) == 0)
			++total;
	};
	Region region(1 << 16);
	Associated s(udp4_kind, region);
	BOOST_TEST_REQUIRE(async_io_notify(s, again, nullptr) == 0);
	for (int i = 1; i <= 10; ++i) {
		s.peer_sends("x");
		BOOST_TEST(eventually([&] { return total >= i; }));
		BOOST_TEST(s.recv(10) == "x");
	}
}

BOOST_AUTO_TEST_CASE(other_descriptors_have_no_call_backs)
{
	Region region(4096);
	Pair s = make_pair(unix_stream_kind);
	Stream pipe = pipe_stream();
	CHECK_FAILS(async_io_notify(s.a, note, nullptr), ENOTSUP);
	CHECK_FAILS(async_io_notify(pipe.reader, note, nullptr), ENOTSUP);
	CHECK_FAILS(async_io_notify(-1, note, nullptr), EBADF);
	region.associate(s.a);
	CHECK_FAILS(async_io_notify(s.a, nullptr, nullptr), EINVAL);
	region.disassociate(s.a);
}

BOOST_AUTO_TEST_CASE(closing_the_socket_drops_the_call_back_unheard)
{
	Region region(4096);
	calls = 0;
	Pair s = make_pair(tcp4_kind);
	BOOST_TEST_REQUIRE(dma_assoc(s.a, region, 4096, 0) == 0);
	BOOST_TEST_REQUIRE(async_io_notify(s.a, note, &calls) == 0);
	s.a.reset();
	char byte;
	BOOST_TEST(read(s.b, &byte, 1) == 0); // the library does not keep it open
	Associated next(tcp4_kind, region);
	BOOST_TEST_REQUIRE(async_io_notify(next, note, &calls) == 0);
	next.peer_sends("x");
	BOOST_TEST(eventually([] { return calls == 1; }));
	BOOST_TEST(next.recv(1) == "x");
	BOOST_TEST(calls == 1);
}

BOOST_AUTO_TEST_CASE(a_region_stays_until_the_events_with_its_pieces_have_been_read)
{
	for_each_channel([](Channel &ec) {
		for (SocketKind const &kind : {unix_stream_kind, udp4_kind})
			for (int flags : {armed, AIO_DMA_BUF}) {
				Region region(1 << 20);
				Associated s(kind, region);
				BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 100, flags, ec, nullptr) ==
						   0);
				hand_over(ec);
				s.peer_sends("unread");
				BOOST_TEST(eventually([&] { return numbers(ec).queued == 1; }));
				region.disassociate(s);
				numbers(ec);
				CHECK_FAILS(dma_free(region, region.size()), EBUSY);
				BOOST_TEST(content(next_event(ec), region) == "unread");
				if (flags == armed)
					BOOST_TEST(next_event(ec).ev_errno == ECANCELED);
				BOOST_TEST(region.stat().requests == 0u);
				BOOST_TEST(dma_free(region, region.size()) == 0);
			}
	});
}

BOOST_AUTO_TEST_CASE(events_that_nobody_reads_keep_no_region)
{
	for (unsigned flags : {0u, unsigned(EC_SINGLE)}) {
		Region region(1 << 20);
		Associated s(unix_stream_kind, region);
		{
			Channel ec(flags);
			BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 100, armed, ec, nullptr) == 0);
			s.peer_sends("unread");
			BOOST_TEST(eventually([&] { return numbers(ec).queued == 1; }));
		}
		BOOST_TEST(eventually([&] { return region.stat().requests == 0; }));
		BOOST_TEST(region.stat().used == 0u);
	}
}

BOOST_AUTO_TEST_CASE(an_armed_socket_exchanges_its_region)
{
	Channel ec;
	for (const SocketKind &kind : {unix_stream_kind, udp4_kind})
		for (int flags : {armed, AIO_DMA_BUF}) {
			Region before(1 << 16), after(1 << 16);
			Associated s(kind, before);
			BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 100, flags, ec, nullptr) == 0);
			after.associate(s);
			before.disassociate(s);
			BOOST_TEST(dma_free(before, before.size()) == 0);
			s.peer_sends("goes on");
			BOOST_TEST(content(next_event(ec), after) == "goes on");
			after.disassociate(s);
			if (flags == armed)
				BOOST_TEST(next_event(ec).ev_errno == ECANCELED);
			BOOST_TEST(after.stat().requests == 0u);
		}
}

BOOST_AUTO_TEST_CASE(a_child_that_only_asks_now_and_then_gets_the_newest_datagrams_too)
{
	Region region(1 << 16);
	Pair s = make_pair(udp4_kind), go = make_pair(unix_stream_kind);
	region.associate(s.a, DMA_LATEST);
	const pid_t child = spawn_child([&] {
		char c;
		CHILD_REQUIRE(recv(go.a, &c, 1, 0) == 1);
		void *p;
		CHILD_REQUIRE(
			eventually([&] { return sio_recv(s.a, &p, 100, MSG_DONTWAIT) == 4; }));
		CHILD_REQUIRE(sio_release(region, p, 4) == 0);
	});
	// The parent would get it instead.
	region.disassociate(s.a);
	BOOST_TEST_REQUIRE(send(s.b, "text", 4, 0) == 4);
	BOOST_TEST_REQUIRE(send(go.b, "g", 1, 0) == 1);
	BOOST_TEST(wait_for(child) == 0);
}
