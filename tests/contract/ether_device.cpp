// SPDX-License-Identifier: MIT
//
// ether_open: arguments and rights, modes, and how all of it ends.
#define BOOST_TEST_MODULE ether_device
#include "ether.hpp"

#include <thread>

BOOST_AUTO_TEST_CASE(arguments_that_make_no_sense_are_refused)
{
	const Cable cable(1500, 2);
	CHECK_FAILS(ether_open(nullptr, 0, 0), EINVAL);
	CHECK_FAILS(ether_open("a_name_too_long_for_a_device", 0, 0), EINVAL);
	CHECK_FAILS(ether_open("nodevice", 0, 0), ENODEV);
	CHECK_FAILS(ether_open("", 0, 0), ENODEV);
	CHECK_FAILS(ether_open("e0", 0, 8), EINVAL);
	CHECK_FAILS(ether_open("e0", 0, ETHER_COPY | ETHER_ZEROCOPY), EINVAL);
	CHECK_FAILS(ether_open("e0", 2, 0), EINVAL);
	CHECK_FAILS(ether_open("e0", UINT_MAX, 0), EINVAL);
	CHECK_FAILS(ether_open("lo", 77, 0), EINVAL); // which does not say how many
	const int before = open_descriptors();
	CHECK_FAILS(ether_open("e0", 2, ETHER_PROMISC), EINVAL);
	BOOST_TEST(open_descriptors() == before);
	BOOST_TEST(!has_program("e0"));
}

BOOST_AUTO_TEST_CASE(a_device_whose_driver_cannot_do_without_copies_says_so)
{
	const Cable cable;
	CHECK_FAILS(ether_open("e0", 0, ETHER_ZEROCOPY), EOPNOTSUPP);
	BOOST_TEST(!has_program("e0"));
	const Region region(region_size);
	BOOST_TEST(region.stat().ether == dma_no_ether);
	const Queue queue("e0", region, region_size);
	BOOST_TEST(region.stat().ether == dma_ether_copy);
}

BOOST_AUTO_TEST_CASE(where_the_driver_knows_no_xdp_the_kernel_does_it)
{
	run("ip link del b0");
	if (!run("ip link add b0 type dummy && ip link set b0 up")) {
		BOOST_TEST_MESSAGE("no dummy devices");
		return;
	}
	const Region region(region_size);
	{
		const Queue queue("b0", region, region_size);
		BOOST_TEST((region.stat().ether == dma_ether_generic ||
			    region.stat().ether == dma_ether_copy));
		queue.send(make_frame(100, 1));
		BOOST_TEST(region.stat().frames_sent == 1u);
	}
	run("ip link del b0");
}

BOOST_AUTO_TEST_CASE(without_the_right_to_it_eperm)
{
	const Cable cable;
	const pid_t child = fork();
	if (child == 0) {
		CHILD_REQUIRE(setresuid(65534, 65534, 65534) == 0);
		CHILD_REQUIRE(ether_open("e0", 0, 0) == -1);
		CHILD_REQUIRE(errno == EPERM);
		_exit(0);
	}
	BOOST_TEST(wait_for(child) == 0);
}

BOOST_AUTO_TEST_CASE(a_region_too_small_for_two_slots_is_refused)
{
	const Cable cable;
	const Region small(2048);
	const Fd fd(ether_open("e0", 0, 0));
	CHECK_FAILS(dma_assoc(fd, small, 2048, 0), EINVAL);
	const Region enough(8192);
	BOOST_TEST(dma_assoc(fd, enough, 8192, 0) == 0);
	BOOST_TEST(dma_disassoc(fd, enough, 8192) == 0);
}

BOOST_AUTO_TEST_CASE(an_imported_region_will_do_wherever_it_begins)
{
	const Cable cable;
	static char memory[256 * 1024];
	dma_mem_t mem;
	const size_t size = sizeof memory - 1000;
	BOOST_TEST_REQUIRE(dma_import(&mem, memory + 777, size, 0) == 0);
	{
		const Queue queue("e0", mem, size);
		const PacketSocket peer("e1");
		for (uint64_t i = 0; i < 300; ++i) {
			BOOST_TEST_REQUIRE(peer.send(make_frame(1000, i)));
			BOOST_TEST((queue.receive() == make_frame(1000, i)));
			queue.send(make_frame(1200, i));
			BOOST_TEST((peer.receive() == make_frame(1200, i)));
		}
	}
	BOOST_TEST(dma_free(mem, size) == 0);
}

BOOST_AUTO_TEST_CASE(promiscuous_as_long_as_it_is_open)
{
	const Cable cable;
	const auto promiscuous = [] {
		return run("ip -d link show dev e0 | grep -q 'promiscuity [1-9]'");
	};
	const Region region(region_size);
	BOOST_TEST(!promiscuous());
	{
		const Queue queue("e0", region, region_size, 0, ETHER_PROMISC);
		BOOST_TEST(promiscuous());
	}
	BOOST_TEST(eventually([&] { return !promiscuous(); }));
}

BOOST_AUTO_TEST_CASE(a_closed_descriptor_gives_the_device_back)
{
	const Cable cable;
	const Region region(region_size);
	Fd fd(ether_open("e0", 0, 0));
	BOOST_TEST_REQUIRE(fd >= 0);
	BOOST_TEST(has_program("e0"));
	BOOST_TEST_REQUIRE(dma_assoc(fd, region, region_size, 0) == 0);
	fd = Fd(-1);
	// Without another call of the library's.
	BOOST_TEST(eventually([] { return !has_program("e0"); }));
	// And at once, with one.
	for (int i = 0; i < 5; ++i) {
		fd = Fd(ether_open("e0", 0, 0));
		BOOST_TEST_REQUIRE(fd >= 0);
		BOOST_TEST_REQUIRE(dma_assoc(fd, region, region_size, 0) == 0);
	}
	fd = Fd(-1);
	BOOST_TEST(dma_free(region, 1) == -1);
	BOOST_TEST(
		eventually([&] { return region.stat().sockets == 0 && region.stat().used == 0; }));
}

BOOST_AUTO_TEST_CASE(what_is_disassociated_may_be_associated_again)
{
	const Cable cable;
	const Region region(region_size);
	const PacketSocket peer("e1");
	const Fd fd(ether_open("e0", 0, 0));
	for (uint64_t i = 0; i < 5; ++i) {
		BOOST_TEST_REQUIRE(dma_assoc(fd, region, region_size, 0) == 0);
		BOOST_TEST_REQUIRE(peer.send(make_frame(100, i)));
		void *p = nullptr;
		BOOST_TEST_REQUIRE(sio_recv(fd, &p, 2000, 0) == 100);
		BOOST_TEST(same(p, 100, make_frame(100, i)));
		BOOST_TEST_REQUIRE(dma_disassoc(fd, region, region_size) == 0);
		region.release(p, 100);
		BOOST_TEST(region.stat().used == 0u);
		CHECK_FAILS(sio_recv(fd, &p, 2000, MSG_DONTWAIT), EINVAL);
	}
}

BOOST_AUTO_TEST_CASE(the_figures_of_a_region_go_on_when_its_queues_have_left)
{
	const Region region(region_size);
	const auto check = [&](uint64_t rounds) {
		auto const s = region.stat();
		BOOST_TEST(s.received == rounds * (100 + 150));
		BOOST_TEST(s.sent == rounds * (200 + 300));
		BOOST_TEST(s.sends_copied == 2 * rounds);
		BOOST_TEST(s.sends_zero_copy == 0u);
	};
	for (uint64_t round = 1; round <= 2; ++round) {
		const Cable cable;
		const PacketSocket peer("e1");
		{
			const Queue queue("e0", region, region_size);
			BOOST_TEST_REQUIRE(peer.send(make_frame(100, 1)));
			BOOST_TEST_REQUIRE(peer.send(make_frame(150, 2)));
			BOOST_TEST(queue.receive().size() == 100u);
			BOOST_TEST(queue.receive().size() == 150u);
			queue.send(make_frame(200, 3));
			queue.send(make_frame(300, 4));
			check(round);
		}
		check(round);
	}
}

BOOST_AUTO_TEST_CASE(what_the_program_has_set_of_the_descriptor_stays_after_dma_disassoc)
{
	const Cable cable;
	const Region region(region_size);
	const Fd fd(ether_open("e0", 0, 0));
	const timeval limit{7, 0};
	fcntl(fd, F_SETFL, O_NONBLOCK);
	fcntl(fd, F_SETFD, 0);
	BOOST_TEST_REQUIRE(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
	BOOST_TEST_REQUIRE(dma_assoc(fd, region, region_size, 0) == 0);
	BOOST_TEST_REQUIRE(dma_disassoc(fd, region, region_size) == 0);
	BOOST_TEST((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
	BOOST_TEST(fcntl(fd, F_GETFD) == 0);
	timeval now{};
	socklen_t n = sizeof now;
	BOOST_TEST(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &now, &n) == 0);
	BOOST_TEST(now.tv_sec == 7);
}

BOOST_AUTO_TEST_CASE(a_thread_with_a_cancellation_pending_may_associate_a_device)
{
	const Cable cable;
	const Region region(region_size), other(region_size);
	const Fd first(ether_open("e0", 0, 0)), second(ether_open("e0", 0, 0));
	BOOST_TEST_REQUIRE(dma_assoc(first, region, region_size, 0) == 0);
	std::atomic<bool> returned{false};
	std::thread thread([&] {
		pthread_cancel(pthread_self());
		dma_assoc(second, other, region_size,
			  0); // the queue is taken: it waits for a moment
		returned = true;
	});
	thread.join();
	BOOST_TEST(returned.load());
	BOOST_TEST(dma_disassoc(first, region, region_size) == 0);
}

BOOST_FIXTURE_TEST_CASE(a_device_that_is_removed_ends_what_waits, Setup)
{
	Waiter waiter([&] {
		void *p = nullptr;
		return sio_recv(queue, &p, 2000, 0);
	});
	BOOST_TEST(waiter.asleep());
	Request &request = reading(queue, 2000);
	request.cb.aio_dma_buf = region;
	BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
	BOOST_TEST_REQUIRE(run("ip link del e0"));
	BOOST_TEST(waiter.returns());
	BOOST_TEST(waiter.result() == -1);
	BOOST_TEST(waiter.error() == ENETDOWN);
	BOOST_TEST(eventually([&] { return aio_error(&request.cb) != EINPROGRESS; }));
	BOOST_TEST(aio_error(&request.cb) == ENETDOWN);
	void *p = region.reserve(100);
	BOOST_TEST(sio_send(queue, p, 100, 0) == -1);
	region.release(p, 100);
}

BOOST_FIXTURE_TEST_CASE(a_link_that_goes_down_and_up_again_goes_on, Setup)
{
	for (uint64_t i = 0; i < 3; ++i) {
		BOOST_TEST_REQUIRE(run("ip link set e0 down"));
		while (!queue.receive(MSG_DONTWAIT).empty()) {
		}
		BOOST_TEST(errno == EAGAIN);
		BOOST_TEST_REQUIRE(run("ip link set e0 up"));
		// What is sent before the kernel has noticed that the link is up is lost.
		BOOST_TEST(eventually(
			[&] { return peer.send(make_frame(100, i)) && queue.readable(20); }));
		BOOST_TEST((queue.receive() == make_frame(100, i)));
		while (!queue.receive(MSG_DONTWAIT).empty()) {
		}
		queue.send(make_frame(200, i));
	}
}

BOOST_FIXTURE_TEST_CASE(a_child_of_fork_has_none_of_it_and_disturbs_nothing, Setup)
{
	const pid_t child = fork();
	if (child == 0) {
		void *p = nullptr;
		CHILD_REQUIRE(sio_recv(queue, &p, 2000, MSG_DONTWAIT) == -1);
		CHILD_REQUIRE(sio_reserve(region, &p, 100) == 0);
		CHILD_REQUIRE(sio_send(queue, p, 100, 0) == -1);
		CHILD_REQUIRE(sio_release(region, p, 100) == 0);
		_exit(0);
	}
	BOOST_TEST(wait_for(child) == 0);
	BOOST_TEST_REQUIRE(peer.send(make_frame(100, 3)));
	BOOST_TEST((queue.receive() == make_frame(100, 3)));
}

BOOST_AUTO_TEST_CASE(a_region_is_on_the_node_of_who_made_it)
{
	const Region region(region_size);
	memset(region.reserve(4096), 1, 4096);
	unsigned cpu = 0, node = 0;
	BOOST_TEST_REQUIRE(getcpu(&cpu, &node) == 0);
	if (access("/sys/devices/system/node/node1", F_OK) != 0)
		BOOST_TEST(region.stat().node == int(node));
}
