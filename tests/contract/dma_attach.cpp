// SPDX-License-Identifier: MIT
//
// A region as the receive memory of a network device's queue. What is received needs no device
// where the kernel can do without (DMA_NODEV, Linux 7.1): tests/kmod/linux-7.3.tap runs this there,
// and elsewhere those cases only look that it is refused.
#define BOOST_TEST_MODULE dma_attach
#include "attached.hpp"

#include <cstdint>
#include <poll.h>

namespace {

/// What is larger cannot be had from malloc.
std::atomic<size_t> largest_allocation{SIZE_MAX};

} // namespace

// Sanitizers have allocators of their own.
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
extern "C" void *__libc_malloc(size_t);
extern "C" void *malloc(size_t size) noexcept
{
	return size <= largest_allocation ? __libc_malloc(size) : nullptr;
}
#endif

namespace {

constexpr uid_t nobody = 65534;

} // namespace

BOOST_AUTO_TEST_CASE(impossible_arguments_are_refused_and_nothing_is_attached)
{
	Region region(region_size);
	CHECK_FAILS(dma_attach(nullptr, "lo", 0, 0), EINVAL);
	CHECK_FAILS(dma_attach(region, nullptr, 0, 0), EINVAL);
	CHECK_FAILS(dma_attach(region, "", 0, 0), EINVAL);
	CHECK_FAILS(dma_attach(region, "../net/lo", 0, 0), EINVAL);
	CHECK_FAILS(dma_attach(region, "a_name_that_is_too_long", 0, 0), EINVAL);
	CHECK_FAILS(dma_attach(region, "a_name_that_is_too_long", 0, DMA_NODEV), EINVAL);
	CHECK_FAILS(dma_attach(region, "lo", 0, 4), EINVAL);
	CHECK_FAILS(dma_attach(region, "lo", 0, DMA_ZEROCOPY | DMA_NODEV), EINVAL);
	CHECK_FAILS(dma_attach(region, "lo", 100000, 0), EINVAL);
	CHECK_FAILS(dma_attach(region, "nosuchdevice", 0, 0), ENODEV);
	CHECK_FAILS(dma_attach(region, "nosuchdevice", 0, DMA_ZEROCOPY), ENODEV);
	CHECK_FAILS(dma_detach(region, "lo", 0), EINVAL);
	CHECK_FAILS(dma_detach(nullptr, "lo", 0), EINVAL);
	BOOST_TEST(region.stat().attached == dma_not_attached);
}

BOOST_AUTO_TEST_CASE(a_device_that_cannot_is_one_by_name_and_dma_stat_says_why)
{
	Region region(region_size);
	BOOST_TEST(std::string_view(region.stat().attached_reason).size() > 0u);
	BOOST_TEST_REQUIRE(dma_attach(region, "lo", 0, 0) == 0);
	BOOST_TEST(region.stat().attached == dma_attached_by_name);
	const std::string_view reason = region.stat().attached_reason;
	BOOST_TEST((reason.find("CAP_NET_ADMIN") != reason.npos) == !may_administer());
	BOOST_TEST(region.stat().requests == 0u);
	{
		Associated s(tcp4_kind, region);
		s.peer_sends("copied");
		BOOST_TEST(s.recv(100) == "copied");
	}
	BOOST_TEST(region.stat().used == 0u);
	BOOST_TEST(region.stat().placed + region.stat().placed_by_kernel == 0u);
	BOOST_TEST(dma_detach(region, "lo", 0) == 0);
	CHECK_FAILS(dma_detach(region, "lo", 0), EINVAL);
}

BOOST_AUTO_TEST_CASE(who_would_rather_fail_than_copy_fails)
{
	Region region(region_size);
	CHECK_FAILS(dma_attach(region, "lo", 0, DMA_ZEROCOPY), refusal());
	BOOST_TEST(region.stat().attached == dma_not_attached);
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(without_rights_it_is_eperm_where_it_is_insisted_on)
{
	if (!may_administer())
		return;
	BOOST_TEST(in_child_process([] {
			   dma_mem_t mem;
			   struct dma_stat s;
			   if (dma_alloc(&mem, region_size, 0) != 0 ||
			       setresuid(nobody, nobody, nobody) != 0)
				   return 1;
			   if (dma_attach(mem, "lo", 0, DMA_ZEROCOPY) != -1 || errno != EPERM)
				   return 2;
			   if (dma_attach(mem, nullptr, 0, DMA_NODEV) != -1 || errno != EPERM)
				   return 3;
			   if (dma_attach(mem, "lo", 0, 0) != 0 || dma_stat(mem, &s) != 0)
				   return 4;
			   return strstr(s.attached_reason, "CAP_NET_ADMIN") != nullptr ? 0 : 5;
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(one_queue_has_one_region_and_one_region_one_queue)
{
	Region one(region_size), other(region_size);
	BOOST_TEST_REQUIRE(dma_attach(one, "lo", 0, 0) == 0);
	CHECK_FAILS(dma_attach(one, "lo", 0, 0), EBUSY);
	CHECK_FAILS(dma_attach(one, nullptr, 0, DMA_NODEV), EBUSY);
	CHECK_FAILS(dma_attach(other, "lo", 0, 0), EBUSY);
	CHECK_FAILS(dma_detach(other, "lo", 0), EINVAL);
	CHECK_FAILS(dma_detach(one, "lo", 1), EINVAL);
	CHECK_FAILS(dma_detach(one, nullptr, 0), EINVAL);
	BOOST_TEST(dma_detach(one, "lo", 0) == 0);
	BOOST_TEST(dma_attach(other, "lo", 0, 0) == 0);
	BOOST_TEST(dma_detach(other, "lo", 0) == 0);
}

BOOST_AUTO_TEST_CASE(a_region_that_is_attached_is_not_freed)
{
	dma_mem_t mem;
	BOOST_TEST_REQUIRE(dma_alloc(&mem, region_size, 0) == 0);
	BOOST_TEST_REQUIRE(dma_attach(mem, "lo", 0, 0) == 0);
	CHECK_FAILS(dma_free(mem, region_size), EBUSY);
	BOOST_TEST(dma_detach(mem, "lo", 0) == 0);
	BOOST_TEST(dma_free(mem, region_size) == 0);
}

BOOST_AUTO_TEST_CASE(a_child_has_the_region_and_no_attachment)
{
	Region region(region_size);
	BOOST_TEST_REQUIRE(dma_attach(region, "lo", 0, 0) == 0);
	BOOST_TEST(in_child_process([&] {
			   if (dma_detach(region, "lo", 0) != -1 || errno != EINVAL)
				   return 1;
			   struct dma_stat s;
			   return dma_stat(region, &s) == 0 && s.attached == dma_not_attached ? 0
											      : 2;
		   }) == 0);
	BOOST_TEST(dma_detach(region, "lo", 0) == 0);
}

BOOST_FIXTURE_TEST_CASE(what_arrives_is_a_piece_where_the_kernel_has_put_it, AttachedRegion)
{
	if (!attached)
		return;
	BOOST_TEST(region.stat().attached == dma_attached_without_device);
	BOOST_TEST(region.stat().used == 0u);
	BOOST_TEST(region.stat().requests == 0u);
	Associated s(tcp4_kind, region);
	BOOST_TEST(s.recv_nothing() == -1);
	s.peer_sends("where it lies");
	BOOST_TEST(s.recv(100) == "where it lies");
	BOOST_TEST(region.stat().placed_by_kernel == 13u);
	BOOST_TEST(region.stat().placed_by_copy == 0u);
	// As much as is asked for, the rest later.
	s.peer_sends("in two parts");
	BOOST_TEST(s.recv(6) == "in two");
	BOOST_TEST(s.recv(100) == " parts");
	// What does more than take it is done as ever.
	s.peer_sends("seen");
	BOOST_TEST(s.recv(100, MSG_PEEK) == "seen");
	BOOST_TEST(s.recv(4, MSG_WAITALL) == "seen");
	s.s.b.reset();
	BOOST_TEST(s.recv(100).empty());
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_FIXTURE_TEST_CASE(wrong_releases_of_arrivals_are_refused, AttachedRegion)
{
	if (!attached)
		return;
	Associated s(tcp4_kind, region);
	s.peer_sends(std::string(1000, 'x'));
	void *p;
	BOOST_TEST_REQUIRE(sio_recv(s, &p, 1000, 0) == 1000);
	CHECK_FAILS(sio_release(region, p, 999), EINVAL);
	CHECK_FAILS(sio_release(region, static_cast<char *>(p) + 128, 872), EINVAL);
	CHECK_FAILS(sio_release(region, static_cast<char *>(p) - 4096, 1000), EINVAL);
	region.release(p, 1000);
	CHECK_FAILS(sio_release(region, p, 1000), EINVAL);
}

BOOST_FIXTURE_TEST_CASE(a_long_stream_comes_right_whatever_is_kept_and_released_in_any_order,
			AttachedRegion)
{
	if (!attached)
		return;
	constexpr size_t bytes = 24 << 20;
	// None, some, and so many that the area is used up again and again; and received ahead.
	for (auto [most, flags] : {std::pair(0u, 0u), std::pair(20u, 0u), std::pair(150u, 0u),
				   std::pair(30u, DMA_BUFSIZE(5000))}) {
		Associated s(tcp4_kind, region, flags);
		std::thread peer = sender(s.s.b, bytes / 3, most + 1);
		std::mt19937 random(1);
		std::vector<Piece> kept;
		size_t at = 0;
		while (at < bytes / 3) {
			void *p;
			const ssize_t n = sio_recv(s, &p, random() % 20000 + 1, 0);
			if (n == -1 && errno == ENOBUFS) {
				release_down_to(region, kept, kept.size() / 2, random);
				continue;
			}
			BOOST_TEST_REQUIRE(n > 0);
			kept.push_back({p, size_t(n), at});
			at += size_t(n);
			release_down_to(region, kept, most, random);
		}
		release_down_to(region, kept, 0, random);
		peer.join();
		BOOST_TEST(region.stat().used == 0u);
	}
	BOOST_TEST(region.stat().placed_by_kernel > 0u);
	BOOST_TEST(region.stat().placed_by_copy > 0u);
}

BOOST_FIXTURE_TEST_CASE(an_armed_connection_tells_of_each_arrival, AttachedRegion)
{
	if (!attached)
		return;
	constexpr size_t bytes = 4 << 20;
	for_each_channel([&](Channel &ec) {
		const uint64_t before = region.stat().placed_by_kernel;
		Associated s(tcp4_kind, region);
		BOOST_TEST_REQUIRE(
			ev_recv(s, nullptr, 8192, AIO_DMA_BUF | EV_MULTISHOT, ec, nullptr) == 0);
		std::thread peer = sender(s.s.b, bytes, 3);
		std::mt19937 random(2);
		std::vector<Piece> kept;
		for (size_t at = 0; at < bytes;) {
			const event_data_t e = next_event(ec);
			BOOST_TEST_REQUIRE(e.ev_result > 0);
			kept.push_back({e.ev_un.ev_dma.buf, size_t(e.ev_result), at});
			at += size_t(e.ev_result);
			release_down_to(region, kept, 30, random);
		}
		peer.join();
		s.s.b.reset();
		BOOST_TEST(next_event(ec).ev_result == 0);
		release_down_to(region, kept, 0, random);
		BOOST_TEST(region.stat().used == 0u);
		BOOST_TEST(region.stat().placed_by_kernel - before > bytes / 2);
	});
}

BOOST_FIXTURE_TEST_CASE(where_memory_is_short_no_byte_is_lost, AttachedRegion)
{
	if (!attached)
		return;
	constexpr size_t bytes = 30000;
	// A new association has no queue yet; the first receive of all has memory for everything.
	for (unsigned i = 0; i < 30; i++) {
		Associated s(tcp4_kind, region, DMA_BUFSIZE(16384));
		std::thread peer = sender(s.s.b, bytes, i);
		peer.join();
		for (size_t at = 0; at < bytes;) {
			void *p;
			largest_allocation = i == 0 ? SIZE_MAX : i % 2 == 0 ? 400 : 0;
			const ssize_t n = sio_recv(s, &p, 16384, 0);
			largest_allocation = SIZE_MAX;
			BOOST_TEST_REQUIRE(n > 0);
			check_and_release(region, {p, size_t(n), at});
			at += size_t(n);
		}
	}
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_FIXTURE_TEST_CASE(what_has_arrived_is_sent_on_from_where_it_lies, AttachedRegion)
{
	if (!attached)
		return;
	constexpr size_t bytes = 4 << 20;
	Associated s(tcp4_kind, region);
	const Pair next = make_pair(tcp4_kind);
	std::thread peer = sender(s.s.b, bytes, 10);
	std::thread reader([&] {
		std::vector<char> all(bytes);
		BOOST_TEST(recv(next.b, all.data(), bytes, MSG_WAITALL) == ssize_t(bytes));
		BOOST_TEST(is_right(all.data(), bytes, 0));
	});
	for (size_t at = 0, i = 0; at < bytes; i++) {
		void *p;
		const ssize_t n = sio_recv(s, &p, 4096, 0);
		BOOST_TEST_REQUIRE(n > 0);
		if (i % 2 == 0) { // released while it is sent, or afterwards
			Request &request = on_region(next.a, region, size_t(n), p);
			BOOST_TEST_REQUIRE(aio_send(&request.cb, AIO_DMA_BUF) == 0);
			region.release(p, size_t(n));
			BOOST_TEST(finish(request).result == n);
		} else {
			for (ssize_t done = 0; done < n;) {
				const int m = sio_send(next.a, static_cast<char *>(p) + done,
						       size_t(n - done), 0);
				BOOST_TEST_REQUIRE(m > 0);
				done += m;
			}
			region.release(p, size_t(n));
		}
		at += size_t(n);
	}
	peer.join();
	reader.join();
	BOOST_TEST(region.stat().used == 0u);
	BOOST_TEST(region.stat().placed_by_kernel > bytes / 2);
}

BOOST_FIXTURE_TEST_CASE(requests_and_call_backs_are_what_they_always_were, AttachedRegion)
{
	if (!attached)
		return;
	Associated s(tcp4_kind, region);
	Request &request = on_region(s, region, 100);
	BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
	s.peer_sends("a request");
	BOOST_TEST(received(request, region) == "a request");
	Channel ec;
	BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 100, AIO_DMA_BUF, ec, nullptr) == 0);
	s.peer_sends("an event");
	const event_data_t e = next_event(ec);
	BOOST_TEST_REQUIRE(e.ev_result == 8);
	BOOST_TEST(std::string_view(static_cast<char *>(e.ev_un.ev_dma.buf), 8) == "an event");
	region.release(e.ev_un.ev_dma.buf, 8);
	std::atomic<int> called{0};
	BOOST_TEST_REQUIRE(async_io_notify(
				   s, [](int, void *p) { ++*static_cast<std::atomic<int> *>(p); },
				   &called) == 0);
	s.peer_sends("a call");
	BOOST_TEST(eventually([&] { return called == 1; }));
	BOOST_TEST(s.recv(100) == "a call");
	BOOST_TEST(region.stat().placed_by_kernel == 9u + 8 + 6);
}

BOOST_FIXTURE_TEST_CASE(what_is_fetched_before_a_call_back_is_read_in_its_order, AttachedRegion)
{
	if (!attached)
		return;
	constexpr size_t bytes = 200000;
	Associated s(tcp4_kind, region, DMA_BUFSIZE(8192));
	std::thread peer = sender(s.s.b, bytes, 8);
	std::atomic<unsigned> called{0};
	unsigned seen = 0;
	for (size_t at = 0; at < bytes;) {
		BOOST_TEST_REQUIRE(
			async_io_notify(
				s, [](int, void *p) { ++*static_cast<std::atomic<unsigned> *>(p); },
				&called) == 0);
		seen++;
		BOOST_TEST_REQUIRE(eventually([&] { return called == seen; }));
		void *p;
		for (ssize_t n; (n = sio_recv(s, &p, 5000, MSG_DONTWAIT)) > 0; at += size_t(n))
			check_and_release(region, {p, size_t(n), at});
	}
	peer.join();
}

BOOST_FIXTURE_TEST_CASE(what_poll_does_not_tell_of_is_not_kept_back, AttachedRegion)
{
	if (!attached)
		return;
	constexpr size_t bytes = 2 << 20;
	Associated s(tcp4_kind, region);
	std::thread peer = sender(s.s.b, bytes, 9);
	size_t at = 0;
	for (pollfd ready{s, POLLIN, 0}; at < bytes && poll(&ready, 1, 60000) == 1;) {
		void *p;
		const ssize_t n = sio_recv(s, &p, 65536, MSG_DONTWAIT);
		if (n > 0)
			check_and_release(region, {p, size_t(n), at});
		at += size_t(n > 0 ? n : 0);
	}
	BOOST_TEST(at == bytes);
	peer.join();
}

BOOST_FIXTURE_TEST_CASE(a_reset_reaches_whoever_comes_next_once, AttachedRegion)
{
	if (!attached)
		return;
	for (int i = 0; i < 100; i++) {
		Associated s(tcp4_kind, region);
		s.peer_sends("before");
		BOOST_TEST(s.recv(100) == "before");
		const linger none{1, 0};
		setsockopt(s.s.b, SOL_SOCKET, SO_LINGER, &none, sizeof none);
		s.s.b.reset();
		void *p;
		CHECK_FAILS(sio_recv(s, &p, 100, 0), ECONNRESET);
		BOOST_TEST(sio_recv(s, &p, 100, 0) == 0);
	}
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(what_the_program_has_outlives_the_attachment)
{
	Region region(region_size);
	for (int i = 0; i < 20; i++) {
		Attached attached(region);
		if (!attached)
			return;
		Associated s(tcp4_kind, region);
		std::vector<Piece> kept;
		size_t at = 0;
		std::thread peer = sender(s.s.b, 100000, 5);
		std::mt19937 random(4);
		while (at < 100000) {
			void *p;
			const ssize_t n = sio_recv(s, &p, 3000, 0);
			BOOST_TEST_REQUIRE(n > 0);
			kept.push_back({p, size_t(n), at});
			at += size_t(n);
			if (at > 50000)
				attached.end();
			release_down_to(region, kept, 10, random);
		}
		peer.join();
		release_down_to(region, kept, 0, random);
		BOOST_TEST(region.stat().used == 0u);
	}
	// All of it is there again.
	region.release(region.fill());
}

BOOST_FIXTURE_TEST_CASE(what_a_child_releases_comes_back_to_the_queue, AttachedRegion)
{
	if (!attached)
		return;
	Associated s(tcp4_kind, region);
	// More, all together, than there are pages.
	uint64_t bytes = 0;
	for (int i = 0; i < 20; i++) {
		std::vector<std::pair<void *, size_t>> pieces;
		for (int k = 0; k < 30; k++) {
			s.peer_sends(std::string(500, 'x'));
			void *p;
			const ssize_t n = sio_recv(s, &p, 500, 0);
			BOOST_TEST_REQUIRE(n > 0);
			pieces.emplace_back(p, size_t(n));
			bytes += uint64_t(n);
		}
		BOOST_TEST(in_child_process([&] {
				   for (auto [p, n] : pieces)
					   if (sio_release(region, p, n) != 0)
						   return 1;
				   return 0;
			   }) == 0);
	}
	// What the sender's pages end in the middle of comes in two parts.
	BOOST_TEST(region.stat().placed_by_kernel + region.stat().placed_by_copy == bytes);
	BOOST_TEST(region.stat().placed_by_kernel > bytes / 2);
	BOOST_TEST(region.stat().used == 0u);
}

namespace {

/// In a child: attaches, receives, keeps some, and ends in its way. 77: not here.
[[noreturn]] void receive_and_end(const Region &region, int how)
{
	if (dma_attach(region, nullptr, 0, DMA_NODEV) != 0)
		_exit(77);
	Pair s = make_pair(tcp4_kind);
	if (dma_assoc(s.a, region, region.size(), 0) != 0)
		_exit(1);
	std::thread(sender(s.b, 1 << 30, 1)).detach();
	for (unsigned i = 0; i < 60; i++) {
		void *p;
		const ssize_t n = sio_recv(s.a, &p, 4096, 0);
		if (n <= 0 || (i % 2 == 0 && sio_release(region, p, size_t(n)) != 0))
			_exit(2);
	}
	if (how == 0)
		kill(getpid(), SIGKILL);
	if (how == 1)
		execl("/proc/self/exe", "contract", "--help=version", nullptr);
	_exit(0);
}

} // namespace

BOOST_AUTO_TEST_CASE(the_end_of_a_process_gives_the_queue_back_and_the_next_one_can_have_it)
{
	Region region(region_size);
	for (int how = 0; how < 15; how++) {
		const pid_t child = fork();
		if (child == 0) {
			alarm(60);
			receive_and_end(region, how % 3);
		}
		int status;
		BOOST_TEST_REQUIRE(waitpid(child, &status, 0) == child);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			return;
		BOOST_TEST((WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL
						: WEXITSTATUS(status) == 0));
	}
	// What they had comes back where it is missing.
	region.release(region.fill());
}
