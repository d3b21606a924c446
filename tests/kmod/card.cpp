// SPDX-License-Identifier: MIT
//
// ether_open on a device that reads and writes the region itself: that of the test module
// (module/card.c), for there is none in a virtual machine.
#define BOOST_TEST_MODULE kmod_card
#include "../contract/frames.hpp"

#include <fstream>

using namespace contract;

namespace {

constexpr const char *hold_file = "/sys/module/sigevec_test_card/parameters/hold";

struct NeedCard {
	NeedCard()
	{
		if (access(hold_file, W_OK) != 0)
			skip_program("the test's network device needs Linux 6.12 with AF_XDP");
		// The kernel's own chatter would be counted.
		run("for i in card0 cable0; do echo 1 > /proc/sys/net/ipv6/conf/$i/disable_ipv6; "
		    "ip link set $i up; done");
	}
};
BOOST_TEST_GLOBAL_FIXTURE(NeedCard);

/// As long as it lives the device does not read what is to be sent.
struct Held {
	Held() { set("1"); }
	~Held() { set("0"); }
	static void set(const char *value) { std::ofstream(hold_file) << value; }
};

struct Setup {
	Region region;
	Queue queue;
	PacketSocket peer{"cable0"};
	explicit Setup(size_t size = region_size, unsigned flags = ETHER_ZEROCOPY)
	    : region(size), queue("card0", region, size, 0, flags)
	{
	}
	void comes(uint64_t number, size_t size = 100) const
	{
		BOOST_TEST_REQUIRE(peer.send(make_frame(size, number)));
	}
};

} // namespace

BOOST_AUTO_TEST_CASE(it_is_told_how_frames_get_in)
{
	for (auto [flags, expected] : {std::pair{ETHER_ZEROCOPY, dma_ether_zero_copy},
				       {0u, dma_ether_zero_copy},
				       {ETHER_COPY, dma_ether_copy}}) {
		const Setup s(region_size, flags);
		BOOST_TEST(s.region.stat().ether == expected);
		s.comes(1);
		BOOST_TEST((s.queue.receive() == make_frame(100, 1)));
		s.queue.send(make_frame(100, 2));
		BOOST_TEST((s.peer.receive() == make_frame(100, 2)));
		BOOST_TEST(s.region.stat().sends_zero_copy ==
			   (expected == dma_ether_zero_copy ? 1u : 0u));
		BOOST_TEST(s.region.stat().sends_copied ==
			   (expected == dma_ether_zero_copy ? 0u : 1u));
	}
}

BOOST_FIXTURE_TEST_CASE(frames_arrive_whole_and_in_order, Setup)
{
	for (uint64_t i = 0; i < 5000; ++i) {
		const auto frame = make_frame(60 + i * 7 % 1455, i);
		BOOST_TEST_REQUIRE(peer.send(frame));
		BOOST_TEST_REQUIRE((queue.receive() == frame));
	}
	BOOST_TEST(region.stat().frames_received == 5000u);
	BOOST_TEST(region.stat().frames_dropped == 0u);
}

BOOST_FIXTURE_TEST_CASE(frames_are_sent_whole_and_in_order, Setup)
{
	for (uint64_t i = 0; i < 5000; ++i) {
		const auto frame = make_frame(60 + i * 7 % 1455, i);
		queue.send(frame, i % 3 == 0 ? 0 : MSG_MORE);
		if (i % 3 != 0)
			continue;
		for (uint64_t n = i == 0 ? 0 : i - 2; n <= i; ++n)
			BOOST_TEST_REQUIRE((peer.receive() == make_frame(60 + n * 7 % 1455, n)));
	}
	BOOST_TEST(region.stat().frames_sent == 5000u);
}

BOOST_FIXTURE_TEST_CASE(a_frame_that_has_come_goes_back_from_where_it_lies, Setup)
{
	for (uint64_t i = 0; i < 1000; ++i) {
		comes(i);
		void *p = nullptr;
		BOOST_TEST_REQUIRE(sio_recv(queue, &p, 2000, 0) == 100);
		BOOST_TEST_REQUIRE(sio_send(queue, p, 100, 0) == 100);
		region.release(p, 100);
		BOOST_TEST_REQUIRE((peer.receive() == make_frame(100, i)));
	}
}

BOOST_FIXTURE_TEST_CASE(what_is_released_while_the_device_has_it_is_used_again_only_then, Setup)
{
	char *const p = region.reserve(1000);
	const auto frame = make_frame(1000, 7);
	memcpy(p, frame.data(), frame.size());
	const size_t used = region.stat().used;
	{
		const Held held;
		BOOST_TEST_REQUIRE(sio_send(queue, p, 1000, 0) == 1000);
		region.release(p, 1000);
		BOOST_TEST(region.stat().used == used);
		for (auto [q, n] : region.fill()) {
			BOOST_TEST((static_cast<char *>(q) + n <= p ||
				    static_cast<char *>(q) >= p + 1000));
			memset(q, 0xee, n);
			region.release(q, n);
		}
	}
	BOOST_TEST((peer.receive() == frame));
	// Looked for by the next sends.
	for (uint64_t i = 0; i < 64; ++i)
		queue.send(make_frame(100, i));
	BOOST_TEST(eventually([&] { return region.stat().used < used + 64 * region.stat().unit; }));
}

BOOST_AUTO_TEST_CASE(without_slots_the_device_drops_and_goes_on_when_one_is_released)
{
	const Setup s(32 * 1024);
	std::vector<std::pair<void *, int>> kept;
	uint64_t sent = 0;
	for (; sent < 100; ++sent)
		s.comes(sent);
	for (;;) {
		void *p = nullptr;
		const int n = sio_recv(s.queue, &p, 2000, MSG_DONTWAIT);
		if (n <= 0)
			break;
		kept.emplace_back(p, n);
	}
	BOOST_TEST(kept.size() >= 4u);
	BOOST_TEST(kept.size() < 100u);
	BOOST_TEST(s.region.stat().frames_dropped > 0u);
	for (auto [p, n] : kept)
		s.region.release(p, size_t(n));
	void *p = nullptr;
	BOOST_TEST(sio_recv(s.queue, &p, 2000, MSG_DONTWAIT) == -1);
	s.comes(1000);
	BOOST_TEST((s.queue.receive() == make_frame(100, 1000)));
}

BOOST_AUTO_TEST_CASE(the_device_writes_nothing_after_dma_disassoc)
{
	const Region region(region_size);
	const PacketSocket peer("cable0");
	for (uint64_t i = 0; i < 20; ++i) {
		{
			const Queue queue("card0", region, region_size, 0, ETHER_ZEROCOPY);
			BOOST_TEST_REQUIRE(peer.send(make_frame(100, i)));
			BOOST_TEST((queue.receive() == make_frame(100, i)));
		}
		BOOST_TEST(region.stat().used == 0u);
		const auto pieces = region.fill();
		for (auto [p, n] : pieces)
			memset(p, 0x55, n);
		for (uint64_t k = 0; k < 10; ++k)
			BOOST_TEST_REQUIRE(peer.send(make_frame(100, k)));
		for (auto [p, n] : pieces) {
			BOOST_TEST_REQUIRE(std::all_of(static_cast<char *>(p),
						       static_cast<char *>(p) + n,
						       [](char c) { return c == 0x55; }));
			region.release(p, n);
		}
	}
}

BOOST_FIXTURE_TEST_CASE(a_frame_wakes_who_waits_and_a_channel, Setup)
{
	Waiter waiter([&] {
		void *p = nullptr;
		int const n = sio_recv(queue, &p, 2000, 0);
		if (n > 0)
			sio_release(region, p, size_t(n));
		return n;
	});
	BOOST_TEST(waiter.asleep());
	comes(1);
	BOOST_TEST(waiter.returns());
	BOOST_TEST(waiter.result() == 100);
	Request &request = reading(queue, 2000);
	request.cb.aio_dma_buf = region;
	BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
	comes(2);
	BOOST_TEST(eventually([&] { return aio_error(&request.cb) != EINPROGRESS; }));
	BOOST_TEST(aio_return(&request.cb) == 100);
	region.release(const_cast<void *>(request.cb.aio_buf), 100);
}

// The last one.
BOOST_FIXTURE_TEST_CASE(a_device_that_goes_ends_what_waits, Setup)
{
	const Held held;
	queue.send(make_frame(100, 1));
	Waiter waiter([&] {
		void *p = nullptr;
		return sio_recv(queue, &p, 2000, 0);
	});
	BOOST_TEST(waiter.asleep());
	BOOST_TEST_REQUIRE(run("rmmod sigevec_test_card"));
	BOOST_TEST(waiter.returns());
	BOOST_TEST(waiter.error() == ENETDOWN);
	void *p = region.reserve(100);
	BOOST_TEST(sio_send(queue, p, 100, 0) == -1);
	region.release(p, 100);
}
