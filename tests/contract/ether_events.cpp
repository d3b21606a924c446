// SPDX-License-Identifier: MIT
//
// How a queue of ether_open tells that frames have come: readiness, requests, events, call-backs;
// and what happens when nobody takes them.
#define BOOST_TEST_MODULE ether_events
#include "ether.hpp"

#include <condition_variable>
#include <mutex>
#include <sys/epoll.h>
#include <thread>

namespace {

/// The piece of a dma event, released; its frame's number.
uint64_t take_piece(const Region &region, const event_data_t &event)
{
	BOOST_TEST(event.ev_type == event_type_dma);
	BOOST_TEST_REQUIRE(event.ev_result >= 22);
	const uint64_t n = number_in(event.ev_un.ev_dma.buf);
	region.release(event.ev_un.ev_dma.buf, size_t(event.ev_result));
	return n;
}

} // namespace

BOOST_AUTO_TEST_CASE(the_descriptor_is_readable_while_there_are_frames)
{
	const Setup t;
	const Fd ep(epoll_create1(EPOLL_CLOEXEC));
	epoll_event e{};
	e.events = EPOLLIN | EPOLLET;
	BOOST_TEST_REQUIRE(epoll_ctl(ep, EPOLL_CTL_ADD, t.queue, &e) == 0);
	BOOST_TEST(!t.queue.readable(0));
	for (uint64_t i = 0; i < 10; ++i) {
		t.comes(2 * i);
		t.comes(2 * i + 1);
		BOOST_TEST(t.queue.readable(1000 * int(hang_limit.count())));
		BOOST_TEST(wait_through_stops(ep, &e, 1, 1000 * int(hang_limit.count())) == 1);
		BOOST_TEST((t.queue.receive(MSG_DONTWAIT) == make_frame(100, 2 * i)));
		BOOST_TEST((t.queue.receive(MSG_DONTWAIT) == make_frame(100, 2 * i + 1)));
		BOOST_TEST(!t.queue.readable(0));
	}
}

BOOST_AUTO_TEST_CASE(an_empty_queue_is_waited_for_unless_the_program_says_otherwise)
{
	const Setup t;
	void *p = nullptr;
	CHECK_FAILS(sio_recv(t.queue, &p, 2000, MSG_DONTWAIT), EAGAIN);
	fcntl(t.queue, F_SETFL, O_NONBLOCK);
	CHECK_FAILS(sio_recv(t.queue, &p, 2000, 0), EAGAIN);
	fcntl(t.queue, F_SETFL, 0);
	CHECK_FAILS(sio_recv(t.queue, &p, 2000, MSG_PEEK), EOPNOTSUPP);
	CHECK_FAILS(sio_recv(t.queue, &p, 2000, MSG_WAITALL), EOPNOTSUPP);
	Waiter waiter([&] { return sio_recv(t.queue, &p, 2000, 0); });
	BOOST_TEST(waiter.asleep());
	t.comes(7);
	BOOST_TEST(waiter.returns());
	BOOST_TEST_REQUIRE(waiter.result() == 100);
	BOOST_TEST(same(p, 100, make_frame(100, 7)));
	t.region.release(p, 100);
}

BOOST_AUTO_TEST_CASE(a_time_limit_for_receiving_ends_the_wait_for_a_frame)
{
	const Setup t;
	for (const timeval limit : {timeval{0, 20000}, timeval{0, 400000}}) {
		BOOST_TEST_REQUIRE(
			setsockopt(t.queue, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
		void *p = nullptr;
		Waiter waiter([&] { return sio_recv(t.queue, &p, 2000, 0); });
		const bool in_time = waiter.returns();
		BOOST_TEST(in_time);
		if (!in_time)
			t.comes(1); // so that it ends
		BOOST_TEST_REQUIRE(waiter.returns());
		BOOST_TEST(waiter.result() == -1);
		BOOST_TEST(waiter.error() == EAGAIN);
	}
}

BOOST_AUTO_TEST_CASE(aio_recv_gets_the_address_of_the_frame)
{
	const Setup t;
	for (bool before : {false, true}) {
		Request &request = reading(t.queue, 2000);
		request.cb.aio_dma_buf = t.region;
		if (before)
			t.comes(5);
		BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
		if (!before)
			t.comes(5);
		BOOST_TEST_REQUIRE(
			eventually([&] { return aio_error(&request.cb) != EINPROGRESS; }));
		BOOST_TEST(aio_error(&request.cb) == 0);
		BOOST_TEST(aio_return(&request.cb) == 100);
		auto *const p =
			const_cast<void *>(static_cast<volatile void *>(request.cb.aio_buf));
		BOOST_TEST(same(p, 100, make_frame(100, 5)));
		t.region.release(p, 100);
	}
}

BOOST_AUTO_TEST_CASE(aio_recv_tells_a_channel)
{
	for_each_channel([](Channel &ec) {
		Setup const t;
		Request &request = tell(reading(t.queue, 2000), ec);
		request.cb.aio_dma_buf = t.region;
		BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
		t.comes(3);
		event_data_t const event = next_event(ec);
		BOOST_TEST(event.ev_type == event_type_aio);
		BOOST_TEST(event.ev_un.ev_aio == &request.cb);
		BOOST_TEST(event.ev_result == 100);
		t.region.release(
			const_cast<void *>(static_cast<void volatile *>(request.cb.aio_buf)), 100);
	});
}

BOOST_AUTO_TEST_CASE(an_armed_request_brings_an_event_for_every_frame)
{
	for_each_channel([](Channel &ec) {
		Setup const t;
		int mark;
		BOOST_TEST_REQUIRE(ev_recv(t.queue, nullptr, 2000, AIO_DMA_BUF | EV_MULTISHOT, ec,
					   &mark) == 0);
		hand_over(ec);
		for (uint64_t i = 0; i < 500; ++i) {
			t.comes(i, 22 + i);
			event_data_t const event = next_event(ec);
			BOOST_TEST(event.ev_data == &mark);
			BOOST_TEST(event.ev_un.ev_dma.fd == int(t.queue));
			BOOST_TEST(take_piece(t.region, event) == i);
		}
		BOOST_TEST(ev_cancel(ec, &mark) == 0);
		BOOST_TEST(next_event(ec).ev_errno == ECANCELED);
	});
}

BOOST_AUTO_TEST_CASE(a_call_back_runs_once_for_what_has_come)
{
	const Setup t;
	struct Heard {
		std::atomic<int> count{0}, fd{-1};
	} heard;
	const auto complete = [](int fd, void *context) {
		auto *const h = static_cast<Heard *>(context);
		h->fd = fd;
		++h->count;
	};
	for (int round = 1; round <= 3; ++round) {
		BOOST_TEST_REQUIRE(async_io_notify(t.queue, complete, &heard) == 0);
		CHECK_FAILS(async_io_notify(t.queue, complete, &heard), EBUSY);
		t.comes(uint64_t(round));
		BOOST_TEST(eventually([&] { return heard.count == round; }));
		BOOST_TEST(heard.fd == int(t.queue));
		BOOST_TEST((t.queue.receive(MSG_DONTWAIT) == make_frame(100, uint64_t(round))));
	}
	t.comes(9);
	BOOST_TEST((t.queue.receive() == make_frame(100, 9)));
	BOOST_TEST(heard.count == 3);
	const Fd without(ether_open("e0", 0, 0));
	CHECK_FAILS(async_io_notify(without, complete, &heard), ENOTSUP);
}

BOOST_AUTO_TEST_CASE(a_full_region_drops_and_counts_and_goes_on_when_there_is_room)
{
	const Setup t(64 * 2048);
	std::vector<std::pair<void *, int>> kept;
	uint64_t sent = 0;
	for (; sent < 200; ++sent)
		t.comes(sent);
	void *p;
	for (int n; (n = sio_recv(t.queue, &p, 2000, MSG_DONTWAIT)) > 0;) {
		if (!kept.empty())
			BOOST_TEST(number_in(p) > number_in(kept.back().first));
		kept.emplace_back(p, n);
		// As many as there are, whatever happens between.
		if (kept.size() < 60)
			t.comes(sent++);
	}
	BOOST_TEST((errno == ENOBUFS || errno == EAGAIN));
	const struct dma_stat s = t.region.stat();
	BOOST_TEST(s.frames_dropped > 0u);
	BOOST_TEST(s.frames_dropped + s.frames_received == sent);
	for (auto [piece, n] : kept)
		t.region.release(piece, size_t(n));
	// Nobody calls but poll.
	bool readable = false;
	for (int i = 0; i < 10000 && !readable; ++i) {
		t.comes(1000);
		readable = t.queue.readable(1);
	}
	BOOST_TEST(readable);
	BOOST_TEST((t.queue.receive() == make_frame(100, 1000)));
}

BOOST_AUTO_TEST_CASE(no_slot_left_for_the_kernel_is_enobufs_until_one_is_released)
{
	const Setup t(16 * 2048);
	std::vector<std::pair<void *, size_t>> rest;
	std::vector<std::pair<void *, int>> frames;
	void *p;
	// All that is not the kernel's is the program's; then what is the kernel's, frame by frame.
	while (sio_reserve(t.region, &p, 2048) == 0)
		rest.emplace_back(p, 2048);
	int n = 0;
	for (uint64_t i = 0; i < 64; ++i) {
		t.comes(i);
		if ((n = sio_recv(t.queue, &p, 2000, MSG_DONTWAIT)) < 0)
			break;
		frames.emplace_back(p, n);
	}
	BOOST_TEST(n == -1);
	BOOST_TEST(errno == ENOBUFS);
	for (auto [piece, length] : frames)
		t.region.release(piece, size_t(length));
	bool readable = false;
	for (int i = 0; i < 10000 && !readable; ++i) {
		t.comes(1000);
		readable = t.queue.readable(1);
	}
	BOOST_TEST(readable);
	for (auto [piece, length] : rest)
		t.region.release(piece, length);
}

BOOST_AUTO_TEST_CASE(what_was_dropped_is_told_by_an_overflow_event)
{
	const Setup t(16 * 2048);
	Channel ec;
	int mark;
	BOOST_TEST_REQUIRE(ev_recv(t.queue, nullptr, 2000, AIO_DMA_BUF | EV_MULTISHOT, ec, &mark) ==
			   0);
	uint64_t sent = 0, told = 0, frames = 0;
	std::vector<event_data_t> kept;
	// Events are read, and their pieces kept, until some frames were dropped.
	while (told == 0 && sent < 100000) {
		t.comes(sent++);
		event_data_t event;
		const timespec moment{0, 1'000'000};
		if (take_events(ec, &event, 1, moment) != 1)
			continue;
		if (event.ev_type == event_type_overflow)
			told += uint64_t(event.ev_result);
		else
			kept.push_back(event), ++frames;
	}
	BOOST_TEST(told > 0u);
	BOOST_TEST(frames > 0u);
	for (const event_data_t &event : kept)
		take_piece(t.region, event);
	// In the end every frame is an event, or told to have been dropped.
	BOOST_TEST(eventually([&] {
		event_data_t event;
		while (take_events(ec, &event, 1, at_once) == 1) {
			if (event.ev_type == event_type_overflow)
				told += uint64_t(event.ev_result);
			else
				take_piece(t.region, event), ++frames;
		}
		t.comes(sent++);
		return told + frames >= sent - 1;
	}));
	BOOST_TEST(told <= t.region.stat().frames_dropped);
	BOOST_TEST(numbers(ec).dropped >= told);
}

BOOST_AUTO_TEST_CASE(newest_first_keeps_the_newest_frames)
{
	const Setup t(64 * 2048, DMA_LATEST);
	for (uint64_t i = 0; i < 500; ++i)
		t.comes(i);
	BOOST_TEST(eventually(
		[&] { return t.region.stat().dropped + t.region.stat().frames_dropped > 0; }));
	std::vector<unsigned char> got, last;
	t.comes(1000);
	BOOST_TEST(eventually([&] {
		while (!(got = t.queue.receive(MSG_DONTWAIT)).empty())
			last = got;
		return last == make_frame(100, 1000) || (t.comes(1000), false);
	}));
}

BOOST_AUTO_TEST_CASE(newest_first_old_frames_make_room_before_the_device_has_to_drop_new_ones)
{
	const Setup t(128 * 2048, DMA_LATEST);
	for (uint64_t i = 0; i < 600; ++i) {
		t.comes(i);
		if (i % 16 == 15)
			BOOST_TEST_REQUIRE(eventually(
				[&] { return t.region.stat().frames_received == i + 1; }));
	}
	for (uint64_t i = 600; i < 616; ++i)
		t.comes(i);
	BOOST_TEST(eventually([&] { return t.region.stat().frames_received == 616; }));
	std::vector<unsigned char> got;
	uint64_t left = t.region.stat().dropped;
	while (!(got = t.queue.receive(MSG_DONTWAIT)).empty())
		BOOST_TEST_REQUIRE((got == make_frame(100, left++)));
	BOOST_TEST(left == 616u);
	BOOST_TEST(t.region.stat().frames_dropped == 0u);
}

BOOST_AUTO_TEST_CASE(frames_are_sent_by_sio_send_alone)
{
	const Setup t;
	const Channel ec;
	char *const p = t.region.reserve(100);
	Request &request = writing(t.queue, "x");
	request.cb.aio_buf = p;
	request.cb.aio_nbytes = 100;
	request.cb.aio_dma_buf = t.region;
	CHECK_FAILS(aio_send(&request.cb, AIO_DMA_BUF), EOPNOTSUPP);
	CHECK_FAILS(ev_send(t.queue, p, 100, AIO_DMA_BUF, ec, nullptr), EOPNOTSUPP);
	CHECK_FAILS(sio_send(t.queue, p, 0, 0), EINVAL);
	char outside[100];
	CHECK_FAILS(sio_send(t.queue, outside, 100, 0), EFAULT);
	CHECK_FAILS(sio_send(t.queue, p, 100, MSG_OOB), EOPNOTSUPP);
	t.region.release(p, 100);
}
