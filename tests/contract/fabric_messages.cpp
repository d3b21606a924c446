// SPDX-License-Identifier: MIT
//
// Messages between endpoints on an interconnect: whole, once, in order, never more of them than
// there is room for; and every way in which a program can learn of them.
#define BOOST_TEST_MODULE fabric_messages
#include "fabric.hpp"

#include <sys/epoll.h>

namespace {

std::string text_of(int number, size_t size)
{
	std::string s(size, char('a' + number % 26));
	const std::string n = std::to_string(number);
	return s.replace(0, std::min(n.size(), size), n, 0, size);
}

/// Two endpoints that know each other's names.
struct Two {
	Region here_region{region_size}, there_region{region_size};
	Endpoint here, there;
	explicit Two(unsigned flags_there = 0) : here(here_region), there(there_region, flags_there)
	{
	}
};

} // namespace

BOOST_AUTO_TEST_CASE(messages_arrive_whole_once_and_in_the_order_of_their_sender)
{
	const Two t;
	constexpr int count = 600;
	auto size_of = [](int i) { return size_t(1 + i * 131 % longest); };
	std::thread sender([&] {
		for (int i = 0; i < count; ++i) {
			const std::string s = text_of(i, size_of(i));
			void *p;
			if (sio_reserve(t.here_region, &p, s.size()) != 0)
				return;
			memcpy(p, s.data(), s.size());
			sio_sendto(t.here, p, s.size(), 0, t.there.card().get(),
				   t.there.card().length);
			sio_release(t.here_region, p, s.size());
		}
	});
	for (int i = 0; i < count; ++i) {
		Address from;
		const std::string s = t.there.receive(&from);
		BOOST_TEST((s == text_of(i, size_of(i))));
		BOOST_TEST(memcmp(&from.storage, &t.here.card().name, t.here.card().length) == 0);
	}
	sender.join();
	BOOST_TEST(!t.there.readable());
	BOOST_TEST(t.there.stat().received == uint64_t{count});
	BOOST_TEST(t.there.stat().malformed == 0);
}

BOOST_AUTO_TEST_CASE(the_descriptor_is_readable_while_there_are_messages)
{
	const Two t;
	const Fd ep(epoll_create1(EPOLL_CLOEXEC));
	epoll_event e{};
	e.events = EPOLLIN | EPOLLET;
	BOOST_TEST_REQUIRE(epoll_ctl(ep, EPOLL_CTL_ADD, t.there, &e) == 0);
	for (int i = 0; i < 20; ++i) {
		BOOST_TEST(!t.there.readable());
		BOOST_TEST(t.here.send(t.there.card(), text_of(i, 100)) == 100);
		BOOST_TEST(wait_through_stops(ep, &e, 1, 1000 * int(hang_limit.count())) == 1);
		BOOST_TEST(t.there.readable());
		BOOST_TEST((t.there.receive() == text_of(i, 100)));
	}
	const void *p;
	CHECK_FAILS(sio_recvfrom(t.there, &p, longest, MSG_DONTWAIT, nullptr, 0), EAGAIN);
}

BOOST_AUTO_TEST_CASE(a_receiver_waits_and_is_woken)
{
	const Two t;
	const void *p = nullptr;
	Waiter waiter([&] { return sio_recvfrom(t.there, &p, longest, 0, nullptr, 0); });
	BOOST_TEST(waiter.asleep());
	BOOST_TEST(t.here.send(t.there.card(), "hello") == 5);
	BOOST_TEST(waiter.returns());
	BOOST_TEST(waiter.result() == 5);
	t.there_region.release(p, 5);
}

BOOST_AUTO_TEST_CASE(a_receiver_without_room_stops_the_sender_and_nothing_is_lost)
{
	const Two t;
	BOOST_TEST(t.here.send(t.there.card(), text_of(0, 50)) == 50);
	int sent = 1;
	while (t.here.send(t.there.card(), text_of(sent, 50), MSG_DONTWAIT) == 50 && sent < 1000)
		++sent;
	BOOST_TEST(errno == EAGAIN);
	BOOST_TEST(uint64_t(sent) == t.there.stat().window);
	Waiter waiter([&] { return t.here.send(t.there.card(), text_of(sent, 50)); });
	BOOST_TEST(waiter.asleep());
	for (int i = 0; i <= sent; ++i)
		BOOST_TEST((t.there.receive() == text_of(i, 50)));
	BOOST_TEST(waiter.returns());
	BOOST_TEST(waiter.result() == 50);
	BOOST_TEST(!t.there.readable());
}

BOOST_AUTO_TEST_CASE(a_full_region_is_enobufs_and_reception_goes_on)
{
	const Two t;
	BOOST_TEST(t.here.send(t.there.card(), "first") == 5);
	BOOST_TEST(t.there.readable(1000 * int(hang_limit.count())));
	const auto all = t.there_region.fill();
	const void *p;
	CHECK_FAILS(sio_recvfrom(t.there, &p, longest, MSG_DONTWAIT, nullptr, 0), ENOBUFS);
	t.there_region.release(all);
	BOOST_TEST((t.there.receive() == "first"));
}

BOOST_AUTO_TEST_CASE(what_a_receiver_that_is_woken_has_no_room_for_is_the_descriptors)
{
	const Two t;
	const auto all = t.there_region.fill();
	const void *p;
	Waiter waiter([&] { return sio_recvfrom(t.there, &p, longest, 0, nullptr, 0); });
	BOOST_TEST(waiter.asleep());
	BOOST_TEST(!t.there.readable());
	BOOST_TEST(t.here.send(t.there.card(), "first") == 5);
	BOOST_TEST(waiter.returns());
	BOOST_TEST(waiter.result() == -1);
	BOOST_TEST(waiter.error() == ENOBUFS);
	BOOST_TEST(t.there.readable(1000 * int(hang_limit.count())));
	t.there_region.release(all);
	BOOST_TEST((t.there.receive() == "first"));
	BOOST_TEST(!t.there.readable());
}

BOOST_AUTO_TEST_CASE(a_receiver_that_waits_ends_with_the_endpoint_or_its_region)
{
	const Region region(region_size);
	const void *p;
	for (const bool closes : {false, true}) {
		Endpoint there(region);
		const int fd = there;
		Waiter waiter([&] { return sio_recvfrom(fd, &p, longest, 0, nullptr, 0); });
		BOOST_TEST(waiter.asleep());
		if (closes)
			there.end();
		else
			region.disassociate(fd);
		BOOST_TEST(waiter.returns());
		BOOST_TEST(waiter.result() == -1);
		BOOST_TEST(waiter.error() == (closes ? EBADF : ECANCELED));
	}
}

BOOST_AUTO_TEST_CASE(what_is_larger_than_the_receiver_takes_is_emsgsize_at_the_sender)
{
	const Two t(DMA_BUFSIZE(1000));
	BOOST_TEST(t.here.send(t.there.card(), text_of(1, 1000)) == 1000);
	CHECK_FAILS(t.here.send(t.there.card(), text_of(2, 1001)), EMSGSIZE);
	CHECK_FAILS(t.here.send(t.there.card(), text_of(3, longest + 1)), EMSGSIZE);
	const Channel ec;
	char *const p = t.here_region.piece(text_of(4, 1001));
	BOOST_TEST(ev_sendto(t.here, p, 1001, AIO_DMA_BUF, t.there.card().get(),
			     t.there.card().length, ec, nullptr) == 0);
	BOOST_TEST(next_outcome(ec) == (Outcome{EMSGSIZE, -1}));
	t.here_region.release(p, 1001);
	BOOST_TEST((t.there.receive() == text_of(1, 1000)));
	BOOST_TEST(!t.there.readable());
}

BOOST_AUTO_TEST_CASE(arguments_that_make_no_sense_are_refused)
{
	const Two t;
	const Card &to = t.there.card();
	char outside[10];
	char *const p = t.here_region.reserve(10);
	CHECK_FAILS(sio_send(t.here, p, 10, 0), EDESTADDRREQ);
	CHECK_FAILS(sio_sendto(t.here, outside, 10, 0, to.get(), to.length), EFAULT);
	CHECK_FAILS(sio_sendto(t.here, p, 0, 0, to.get(), to.length), EINVAL);
	CHECK_FAILS(sio_sendto(t.here, p, 10, MSG_OOB, to.get(), to.length), EOPNOTSUPP);
	t.here_region.release(p, 10);
	CHECK_FAILS(fabric_open(provider(), nullptr, nullptr, 4), EINVAL);
	CHECK_FAILS(fabric_open("no such thing", nullptr, nullptr, 0), ENODEV);
	const Fd other(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	sockaddr_storage name;
	socklen_t length = sizeof name;
	CHECK_FAILS(fabric_name(other, reinterpret_cast<sockaddr *>(&name), &length), ENOTSUP);
	CHECK_FAILS(fabric_name(-1, reinterpret_cast<sockaddr *>(&name), &length), EBADF);
	CHECK_FAILS(fabric_name(t.here, nullptr, &length), EINVAL);
	const Region another(region_size);
	CHECK_FAILS(dma_assoc(t.here, another, region_size, 0), EBUSY);
}

BOOST_AUTO_TEST_CASE(one_call_requests_end_as_events)
{
	for_each_channel([](const Channel &ec) {
		const Two t;
		int receives = 0, sends = 0;
		Address from;
		BOOST_TEST(ev_recvfrom(t.there, nullptr, longest, AIO_DMA_BUF, from.get(),
				       from.length, ec, &receives) == 0);
		char *const p = t.here_region.piece("question");
		BOOST_TEST(ev_sendto(t.here, p, 8, AIO_DMA_BUF, t.there.card().get(),
				     t.there.card().length, ec, &sends) == 0);
		hand_over(ec);
		for (int i = 0; i < 2; ++i) {
			event_data_t event{};
			BOOST_TEST_REQUIRE(take_events(ec, &event, 1) == 1);
			BOOST_TEST(outcome(event) == (Outcome{0, 8}));
			++*static_cast<int *>(event.ev_data);
			if (event.ev_data != &receives)
				continue;
			BOOST_TEST(event.ev_type == event_type_dma);
			BOOST_TEST(memcmp(event.ev_un.ev_dma.buf, "question", 8) == 0);
			t.there_region.release(event.ev_un.ev_dma.buf, 8);
		}
		BOOST_TEST(receives == 1);
		BOOST_TEST(sends == 1);
		BOOST_TEST(memcmp(&from.storage, &t.here.card().name, t.here.card().length) == 0);
		t.here_region.release(p, 8);
	});
}

BOOST_AUTO_TEST_CASE(an_armed_receive_tells_of_every_message_until_it_is_cancelled)
{
	const Two t;
	const Channel ec;
	int data = 0;
	BOOST_TEST(ev_recv(t.there, nullptr, longest, AIO_DMA_BUF | EV_MULTISHOT, ec, &data) == 0);
	for (int i = 0; i < 30; ++i) {
		BOOST_TEST(t.here.send(t.there.card(), text_of(i, 20)) == 20);
		event_data_t event{};
		BOOST_TEST_REQUIRE(take_events(ec, &event, 1) == 1);
		BOOST_TEST(outcome(event) == (Outcome{0, 20}));
		BOOST_TEST(memcmp(event.ev_un.ev_dma.buf, text_of(i, 20).data(), 20) == 0);
		t.there_region.release(event.ev_un.ev_dma.buf, 20);
	}
	BOOST_TEST(ev_cancel(ec, &data) == 0);
	BOOST_TEST(next_outcome(ec) == (Outcome{ECANCELED, -1}));
	CHECK_FAILS(ev_cancel(ec, &data), ENOENT);
}

BOOST_AUTO_TEST_CASE(aiocbs_use_the_region_and_know_the_sender)
{
	const Two t;
	Address from;
	aiocb receive{}, send{};
	receive.aio_fildes = t.there;
	receive.aio_nbytes = longest;
	receive.aio_dma_buf = t.there_region;
	receive.aio_sigevent.sigev_notify = send.aio_sigevent.sigev_notify = SIGEV_NONE;
	BOOST_TEST(aio_recvfrom(&receive, AIO_DMA_BUF, from.get(), from.length) == 0);
	send.aio_fildes = t.here;
	send.aio_buf = t.here_region.piece("by aiocb");
	send.aio_nbytes = 8;
	send.aio_dma_buf = t.here_region;
	BOOST_TEST(aio_sendto(&send, AIO_DMA_BUF, t.there.card().get(), t.there.card().length) ==
		   0);
	for (aiocb *cb : {&send, &receive}) {
		const aiocb *list[] = {cb};
		BOOST_TEST(aio_suspend(list, 1, &until_it_hangs) == 0);
		BOOST_TEST(aio_error(cb) == 0);
		BOOST_TEST(aio_return(cb) == 8);
	}
	auto *got = const_cast<void *>(receive.aio_buf);
	BOOST_TEST(memcmp(got, "by aiocb", 8) == 0);
	BOOST_TEST(memcmp(&from.storage, &t.here.card().name, t.here.card().length) == 0);
	t.there_region.release(got, 8);
	t.here_region.release(const_cast<void *>(send.aio_buf), 8);
}

BOOST_AUTO_TEST_CASE(a_receive_and_a_send_that_wait_can_be_cancelled)
{
	const Two t;
	const Channel ec;
	int receive = 0, send = 0;
	BOOST_TEST(ev_recv(t.here, nullptr, longest, AIO_DMA_BUF, ec, &receive) == 0);
	BOOST_TEST(ev_cancel(ec, &receive) == 0);
	BOOST_TEST(next_outcome(ec) == (Outcome{ECANCELED, -1}));
	BOOST_TEST(t.here.send(t.there.card(), "x") == 1);
	while (t.here.send(t.there.card(), "x", MSG_DONTWAIT) == 1)
		;
	char *const p = t.here_region.piece("waits");
	BOOST_TEST(ev_sendto(t.here, p, 5, AIO_DMA_BUF, t.there.card().get(), t.there.card().length,
			     ec, &send) == 0);
	BOOST_TEST(ev_cancel(ec, &send) == 0);
	BOOST_TEST(next_outcome(ec) == (Outcome{ECANCELED, -1}));
	t.here_region.release(p, 5);
}

BOOST_AUTO_TEST_CASE(a_function_is_called_when_a_message_has_come)
{
	const Two t;
	std::atomic<int> called{0};
	BOOST_TEST(async_io_notify(
			   t.there,
			   [](int, void *count) { ++*static_cast<std::atomic<int> *>(count); },
			   &called) == 0);
	CHECK_FAILS(async_io_notify(
			    t.there, [](int, void *) {}, nullptr),
		    EBUSY);
	BOOST_TEST(t.here.send(t.there.card(), "knock") == 5);
	BOOST_TEST(eventually([&] { return called == 1; }));
	// It lies in the region by then.
	Address from;
	const void *p = nullptr;
	BOOST_TEST_REQUIRE(
		sio_recvfrom(t.there, &p, longest, MSG_DONTWAIT, from.get(), from.length) == 5);
	BOOST_TEST(memcmp(p, "knock", 5) == 0);
	BOOST_TEST(memcmp(&from.storage, &t.here.card().name, t.here.card().length) == 0);
	t.there_region.release(p, 5);
}
