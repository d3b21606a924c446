// SPDX-License-Identifier: MIT
//
// Frames between a queue of ether_open and the other end of its cable.
#define BOOST_TEST_MODULE ether_frames
#include "ether.hpp"

#include <thread>

namespace {

/// Every size around the corners.
std::vector<size_t> sizes_up_to(size_t most)
{
	std::vector<size_t> sizes;
	for (size_t s : {14,   15,   21,   22,   59,   60,   64,   127,  128,  129,  255,  256, 512,
			 1024, 1500, 1514, 1790, 1792, 2048, 3000, 4095, 4096, 4097, 8999, 9014})
		if (s <= most)
			sizes.push_back(s);
	return sizes;
}

void to_the_queue(const Queue &queue, const PacketSocket &peer, size_t most)
{
	uint64_t number = 0;
	for (size_t size : sizes_up_to(most)) {
		const auto frame = make_frame(size, ++number);
		BOOST_TEST_REQUIRE(peer.send(frame));
		const auto got = queue.receive();
		BOOST_TEST_CONTEXT(size << " bytes")
		BOOST_TEST(same(got.data(), got.size(), frame));
	}
}
void from_the_queue(const Queue &queue, const PacketSocket &peer, size_t most)
{
	uint64_t number = 0;
	for (size_t size : sizes_up_to(most)) {
		const auto frame = make_frame(size, ++number);
		queue.send(frame);
		const auto got = peer.receive();
		BOOST_TEST_CONTEXT(size << " bytes")
		BOOST_TEST(same(got.data(), got.size(), frame));
	}
}

} // namespace

BOOST_AUTO_TEST_CASE(frames_arrive_whole_from_the_smallest_to_the_largest)
{
	for (int mtu : {1500, 9000}) {
		const Cable cable(mtu);
		const Region region(region_size);
		for (unsigned flags : {0u, ETHER_COPY}) {
			const Queue queue("e0", region, region_size, 0, flags);
			const PacketSocket peer("e1");
			BOOST_TEST_CONTEXT("MTU " << mtu)
			to_the_queue(queue, peer, size_t(mtu) + 14);
		}
		BOOST_TEST(region.stat().used == 0u);
	}
}

BOOST_AUTO_TEST_CASE(frames_are_sent_whole_from_wherever_they_lie)
{
	for (int mtu : {1500, 9000}) {
		const Cable cable(mtu);
		const Region region(region_size);
		{
			const Queue queue("e0", region, region_size);
			const PacketSocket peer("e1");
			BOOST_TEST_CONTEXT("MTU " << mtu)
			from_the_queue(queue, peer, size_t(mtu) + 14);
		}
		BOOST_TEST(region.stat().used == 0u);
	}
}

BOOST_AUTO_TEST_CASE(frames_from_another_region_and_in_several_parts_are_sent_too)
{
	const Cable cable;
	const Region region(region_size), other(65536);
	const Queue queue("e0", region, region_size);
	const PacketSocket peer("e1");
	const auto frame = make_frame(1000, 5);
	char *const p = other.reserve(1000);
	memcpy(p, frame.data(), 1000);
	BOOST_TEST(sio_send(queue, p, 1000, 0) == 1000);
	BOOST_TEST((peer.receive() == frame));
	iovec parts[3] = {{p, 14}, {p + 14, 500}, {p + 514, 486}};
	msghdr m{};
	m.msg_iov = parts;
	m.msg_iovlen = 3;
	BOOST_TEST(sio_sendmsg(queue, &m, sizeof m, 0) == 1000);
	BOOST_TEST((peer.receive() == frame));
	other.release(p, 1000);
}

BOOST_FIXTURE_TEST_CASE(a_vlan_tag_stays_in_its_frame, Setup)
{
	auto frame = make_frame(1518, 9);
	const unsigned char tag[] = {0x81, 0x00, 0x20, 0x2a, 0x88, 0xb5};
	memcpy(&frame[12], tag, sizeof tag);
	BOOST_TEST_REQUIRE(peer.send(frame));
	const auto got = queue.receive();
	BOOST_TEST(same(got.data(), got.size(), frame));
}

BOOST_AUTO_TEST_CASE(a_frame_larger_than_a_slot_is_dropped_and_counted)
{
	for (int mtu : {1500, 9000}) {
		const Cable cable(mtu);
		const Region region(region_size);
		const Queue queue("e0", region, region_size, 0, 0, DMA_BUFSIZE(500));
		const PacketSocket peer("e1");
		BOOST_TEST_REQUIRE(peer.send(make_frame(501, 1)));
		BOOST_TEST_REQUIRE(peer.send(make_frame(size_t(mtu) + 14, 2)));
		BOOST_TEST_REQUIRE(peer.send(make_frame(500, 3)));
		const auto got = queue.receive();
		BOOST_TEST(same(got.data(), got.size(), make_frame(500, 3)));
		BOOST_TEST(region.stat().frames_dropped == 2u);
		BOOST_TEST(region.stat().frames_received == 1u);
		BOOST_TEST(queue.receive(MSG_DONTWAIT).empty());
	}
}

BOOST_AUTO_TEST_CASE(a_frame_that_the_device_would_drop_is_emsgsize)
{
	const Cable cable;
	const Region region(region_size);
	const Queue queue("e0", region, region_size);
	const PacketSocket peer("e1");
	char *const p = region.reserve(9014);
	const auto frame = make_frame(9014, 5);
	memcpy(p, frame.data(), frame.size());
	CHECK_FAILS(sio_send(queue, p, 9014, 0), EMSGSIZE);
	CHECK_FAILS(sio_send(queue, p, 1500 + 14 + 8 + 1, 0), EMSGSIZE);
	BOOST_TEST(region.stat().frames_sent == 0u);
	BOOST_TEST(sio_send(queue, p, 1514, 0) == 1514);
	BOOST_TEST(peer.receive().size() == 1514u);
	// As it is now, not as it was.
	BOOST_TEST_REQUIRE(run("ip link set e1 mtu 9000 && ip link set e0 mtu 9000"));
	if (sio_send(queue, p, 9014, 0) < 0)
		BOOST_TEST(errno == EMSGSIZE); // a kernel that knows no frames in parts
	else
		BOOST_TEST((peer.receive() == frame));
	region.release(p, 9014);
}

BOOST_FIXTURE_TEST_CASE(a_frame_is_cut_to_what_was_asked_for_as_a_datagram_is, Setup)
{
	const auto frame = make_frame(200, 1);
	BOOST_TEST_REQUIRE(peer.send(frame));
	void *p = nullptr;
	BOOST_TEST_REQUIRE(sio_recv(queue, &p, 50, 0) == 50);
	BOOST_TEST(memcmp(p, frame.data(), 50) == 0);
	region.release(p, 50);
	const void *m = nullptr;
	BOOST_TEST_REQUIRE(peer.send(frame));
	BOOST_TEST_REQUIRE(sio_recvmsg(queue, &m, sizeof(msghdr), 0) == 200);
	auto *const header = static_cast<const msghdr *>(m);
	BOOST_TEST(memcmp(header->msg_iov[0].iov_base, frame.data(), 200) == 0);
	region.release(m, sizeof(msghdr));
}

BOOST_FIXTURE_TEST_CASE(a_frame_is_given_back_exactly_as_it_was_got, Setup)
{
	BOOST_TEST_REQUIRE(peer.send(make_frame(100, 1)));
	void *p = nullptr;
	BOOST_TEST_REQUIRE(sio_recv(queue, &p, 2000, 0) == 100);
	auto *const at = static_cast<char *>(p);
	CHECK_FAILS(sio_release(region, at, 99), EINVAL);
	CHECK_FAILS(sio_release(region, at + 1, 100), EINVAL);
	CHECK_FAILS(sio_release(region, at - 256, 2048), EINVAL);
	CHECK_FAILS(sio_release(region, at - 256, 100), EINVAL);
	region.release(p, 100);
	CHECK_FAILS(sio_release(region, at, 100), EINVAL);
}

BOOST_FIXTURE_TEST_CASE(a_frame_that_has_come_goes_back_without_a_copy_and_may_be_released_at_once,
			Setup)
{
	for (uint64_t i = 0; i < 20000; ++i) {
		const auto frame = make_frame(60 + i % 1400, i);
		BOOST_TEST_REQUIRE(peer.send(frame));
		void *p = nullptr;
		const int n = sio_recv(queue, &p, 2000, 0);
		BOOST_TEST_REQUIRE(n == int(frame.size()));
		BOOST_TEST_REQUIRE(sio_send(queue, p, size_t(n), 0) == n);
		BOOST_TEST_REQUIRE(sio_release(region, p, size_t(n)) == 0);
		if (i % 16 == 0) {
			// The cable keeps the order.
			for (auto got = peer.receive(); number_in(got.data()) != i;
			     got = peer.receive()) {
			}
		}
	}
}

BOOST_FIXTURE_TEST_CASE(frames_kept_back_with_msg_more_go_with_the_next_one, Setup)
{
	for (uint64_t i = 0; i < 10; ++i)
		queue.send(make_frame(100, i), i < 9 ? MSG_MORE : 0);
	for (uint64_t i = 0; i < 10; ++i)
		BOOST_TEST((peer.receive() == make_frame(100, i)));
}

BOOST_AUTO_TEST_CASE(a_million_frames_are_all_there_byte_by_byte)
{
	// The engines have no part in it: in their runs, and with sanitizers, which are slow, a
	// tenth will do.
	const char *const sanitizer = getenv("SIGEVEC_SANITIZER");
	const bool all =
		getenv("SIGEVEC_ENGINE") == nullptr && (sanitizer == nullptr || *sanitizer == 0);
	const uint64_t count = all ? 1'000'000 : 100'000;
	const Cable cable;
	const Region here(8 << 20), there(8 << 20);
	const Queue to("e0", here, here.size()), from("e1", there, there.size());
	std::atomic<uint64_t> taken{0};
	std::thread sender([&] {
		for (uint64_t i = 0; i < count; ++i) {
			// No more on the way than there is room for: nothing is dropped.
			while (i - taken >= 500)
				sched_yield();
			auto const frame = make_frame(60 + i * 7 % 1455, i);
			void *p = nullptr;
			while (sio_reserve(there, &p, frame.size()) != 0)
				sched_yield();
			memcpy(p, frame.data(), frame.size());
			if (sio_send(from, p, frame.size(),
				     i % 16 != 15 && i + 1 != count && i - taken < 400
					     ? MSG_MORE
					     : 0) != int(frame.size()))
				return;
			sio_release(there, p, frame.size());
		}
	});
	uint64_t wrong = 0;
	for (uint64_t i = 0; i < count; ++i) {
		void *p = nullptr;
		const int n = sio_recv(to, &p, 2000, 0);
		if (n <= 0)
			break;
		wrong += same(p, size_t(n), make_frame(60 + i * 7 % 1455, i)) ? 0 : 1;
		sio_release(here, p, size_t(n));
		taken = i + 1;
	}
	sender.join();
	BOOST_TEST(taken == count);
	BOOST_TEST(wrong == 0u);
	BOOST_TEST(here.stat().frames_received == count);
	BOOST_TEST(here.stat().frames_dropped == 0u);
	BOOST_TEST(there.stat().frames_sent == count);
}

BOOST_AUTO_TEST_CASE(several_queues_of_a_device_have_a_region_each_or_share_one)
{
	constexpr unsigned queues = 4;
	for (bool shared : {false, true}) {
		const Cable cable(1500, queues);
		std::deque<Region> regions;
		std::deque<Queue> to, from;
		for (unsigned q = 0; q < queues; ++q) {
			if (q == 0 || !shared)
				regions.emplace_back(4 << 20), regions.emplace_back(4 << 20);
			const Region &a = regions[regions.size() - 2], &b = regions.back();
			to.emplace_back("e0", a, a.size(), q);
			from.emplace_back("e1", b, b.size(), q);
		}
		for (uint64_t i = 0; i < 400; ++i)
			from[i % queues].send(make_frame(100 + i, i));
		for (uint64_t i = 0; i < 400; ++i) {
			const auto got = to[i % queues].receive();
			BOOST_TEST(same(got.data(), got.size(), make_frame(100 + i, i)));
		}
		uint64_t received = 0;
		for (size_t r = 0; r < regions.size(); r += 2)
			received += regions[r].stat().frames_received;
		BOOST_TEST(received == 400u);
		BOOST_TEST(regions[0].stat().sockets == (shared ? queues : 1u));
		// Queues come and go; the others stay.
		to.pop_front();
		from[3].send(make_frame(77, 7));
		BOOST_TEST((to[2].receive() == make_frame(77, 7)));
		to.clear();
		from.clear();
		for (const Region &r : regions)
			BOOST_TEST(r.stat().used == 0u);
	}
}

BOOST_AUTO_TEST_CASE(one_reader_for_each_queue_at_once)
{
	constexpr unsigned queues = 4;
	constexpr uint64_t each = 5000;
	const Cable cable(1500, queues);
	const Region here(8 << 20), there(8 << 20);
	std::deque<Queue> to, from;
	for (unsigned q = 0; q < queues; ++q)
		to.emplace_back("e0", here, here.size(), q),
			from.emplace_back("e1", there, there.size(), q);
	std::atomic<uint64_t> taken[queues] = {}, wrong{0};
	std::deque<std::thread> threads;
	for (unsigned q = 0; q < queues; ++q) {
		threads.emplace_back([&, q] {
			for (uint64_t i = 0; i < each; ++i) {
				void *p = nullptr;
				int const n = sio_recv(to[q], &p, 2000, 0);
				if (n < 0 ||
				    !same(p, size_t(n), make_frame(60 + i % 1000, i * queues + q)))
					++wrong;
				if (n > 0)
					sio_release(here, p, size_t(n));
				taken[q] = i + 1;
			}
		});
		threads.emplace_back([&, q] {
			for (uint64_t i = 0; i < each; ++i) {
				while (i - taken[q] >= 64)
					sched_yield();
				auto const f = make_frame(60 + i % 1000, i * queues + q);
				void *p = nullptr;
				while (sio_reserve(there, &p, f.size()) != 0)
					sched_yield();
				memcpy(p, f.data(), f.size());
				if (sio_send(from[q], p, f.size(), 0) != int(f.size()))
					++wrong;
				sio_release(there, p, f.size());
			}
		});
	}
	for (auto &t : threads)
		t.join();
	BOOST_TEST(wrong == 0u);
}
