// SPDX-License-Identifier: MIT
//
// DMA regions and their pieces: allocation, limits, how memory is held, exactness of
// sio_reserve and sio_release, children.
#define BOOST_TEST_MODULE dma_regions
#include "dma.hpp"

#include <sys/mman.h>
#include <sys/resource.h>

#include <set>

// --------------------------------------------------------------------- regions

BOOST_AUTO_TEST_CASE(a_region_is_made_and_freed_with_its_size)
{
	dma_mem_t mem;
	BOOST_TEST_REQUIRE(dma_alloc(&mem, 10000, 0) == 0);
	CHECK_FAILS(dma_free(mem, 9999), EINVAL);
	BOOST_TEST(dma_free(mem, 10000) == 0);
	CHECK_FAILS(dma_free(mem, 10000), EINVAL);
}

BOOST_AUTO_TEST_CASE(impossible_arguments_are_refused)
{
	dma_mem_t mem;
	CHECK_FAILS(dma_alloc(nullptr, 4096, 0), EINVAL);
	CHECK_FAILS(dma_alloc(&mem, 0, 0), EINVAL);
	CHECK_FAILS(dma_alloc(&mem, 4096, 1u << 8), EINVAL);
	CHECK_FAILS(dma_alloc(&mem, 4096, DMA_NODE(1022)), EINVAL);
	static char own[4096];
	CHECK_FAILS(dma_import(&mem, own, sizeof own, DMA_HUGE), EINVAL);
	CHECK_FAILS(dma_import(&mem, nullptr, sizeof own, 0), EINVAL);
	CHECK_FAILS(dma_import(&mem, own + 1, 100, 0), EINVAL);
}

BOOST_AUTO_TEST_CASE(any_value_may_be_passed_as_a_handle)
{
	Region region(4096);
	dma_mem_t stale;
	BOOST_TEST_REQUIRE(dma_alloc(&stale, 4096, 0) == 0);
	BOOST_TEST_REQUIRE(dma_free(stale, 4096) == 0);
	Region in_its_place(4096);
	static char own[4096];
	for (dma_mem_t mem : {dma_mem_t{}, stale, reinterpret_cast<dma_mem_t>(own),
			      reinterpret_cast<dma_mem_t>(~uintptr_t{0})}) {
		void *p;
		struct dma_stat s;
		CHECK_FAILS(dma_free(mem, 4096), EINVAL);
		CHECK_FAILS(dma_stat(mem, &s), EINVAL);
		CHECK_FAILS(sio_reserve(mem, &p, 1), EINVAL);
		CHECK_FAILS(sio_release(mem, own, 1), EINVAL);
		CHECK_FAILS(dma_assoc(0, mem, 4096, 0), EINVAL);
		CHECK_FAILS(dma_disassoc(0, mem, 4096), EINVAL);
	}
	CHECK_FAILS(dma_stat(region, nullptr), EINVAL);
}

BOOST_AUTO_TEST_CASE(past_their_own_limit_regions_are_refused)
{
	sigevec_limits before;
	BOOST_TEST_REQUIRE(sigevec_get_limits(&before) == 0);
	Region region(1 << 20);
	sigevec_limits limits = before;
	limits.dma = (1 << 20) + 8192;
	BOOST_TEST_REQUIRE(sigevec_set_limits(&limits) == 0);
	dma_mem_t mem;
	CHECK_FAILS(dma_alloc(&mem, 8193, 0), EAGAIN);
	static char own[16384];
	CHECK_FAILS(dma_import(&mem, own, sizeof own, 0), EAGAIN);
	CHECK_FAILS(dma_alloc(&mem, SIZE_MAX, 0), EAGAIN);
	BOOST_TEST(dma_alloc(&mem, 8192, 0) == 0);
	limits.dma = 1 << 20;
	CHECK_FAILS(sigevec_set_limits(&limits), EBUSY);
	BOOST_TEST(dma_free(mem, 8192) == 0);
	BOOST_TEST(sigevec_set_limits(&limits) == 0);
	sigevec_limits read{};
	BOOST_TEST(sigevec_get_limits(&read) == 0);
	BOOST_TEST(read.dma == limits.dma);
	BOOST_TEST(sigevec_set_limits(&before) == 0);
}

BOOST_AUTO_TEST_CASE(dma_stat_tells_how_the_memory_is_held_and_why)
{
	for (unsigned flags : {0u, DMA_LAZY, DMA_HUGE, DMA_NODE(0)}) {
		Region region(1 << 16, flags);
		const auto s = region.stat();
		BOOST_TEST(s.size == 1u << 16);
		BOOST_TEST(s.unit == 128);
		BOOST_TEST((s.page_size == 4096 || s.page_size == 2u << 20));
		BOOST_TEST((s.held == dma_lazily) == (flags == DMA_LAZY));
		BOOST_TEST_REQUIRE(s.reason != nullptr);
		BOOST_TEST(strlen(s.reason) > 0);
		memset(region.reserve(1 << 16), 1, 1 << 16);
	}
}

BOOST_AUTO_TEST_CASE(without_memory_to_lock_a_region_is_not_held_and_works)
{
	BOOST_TEST(in_child([] {
			   rlimit none{0, 0};
			   CHILD_REQUIRE(setrlimit(RLIMIT_MEMLOCK, &none) == 0);
			   if (geteuid() == 0 && setuid(65534) != 0)
				   return; // may not give its privileges up: nothing to see
			   dma_mem_t mem;
			   struct dma_stat s;
			   void *p;
			   CHILD_REQUIRE(dma_alloc(&mem, 1 << 20, 0) == 0);
			   CHILD_REQUIRE(dma_stat(mem, &s) == 0 && s.held == dma_not_held);
			   CHILD_REQUIRE(sio_reserve(mem, &p, 1 << 20) == 0);
			   memset(p, 1, 1 << 20);
			   CHILD_REQUIRE(dma_free(mem, 1 << 20) == 0);
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(memory_of_the_programs_own_becomes_a_region_and_stays_the_programs)
{
	alignas(4096) static char own[65536];
	dma_mem_t mem, other;
	BOOST_TEST_REQUIRE(dma_import(&mem, own, sizeof own, 0) == 0);
	CHECK_FAILS(dma_import(&other, own + 4096, 4096, 0), EINVAL);
	void *p;
	BOOST_TEST_REQUIRE(sio_reserve(mem, &p, sizeof own) == 0);
	BOOST_TEST(p == own);
	BOOST_TEST(sio_release(mem, p, sizeof own) == 0);
	BOOST_TEST(dma_free(mem, sizeof own) == 0);
	memset(own, 1, sizeof own);
	void *gone =
		mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(static_cast<char *>(gone) + 4096, 4096);
	CHECK_FAILS(dma_import(&mem, gone, 8192, 0), EFAULT);
	munmap(gone, 4096);
}

BOOST_AUTO_TEST_CASE(an_imported_region_need_not_begin_or_end_at_a_page)
{
	static char own[10000];
	dma_mem_t mem;
	BOOST_TEST_REQUIRE(dma_import(&mem, own + 1, 9001, 0) == 0);
	std::vector<void *> pieces;
	for (void *p; sio_reserve(mem, &p, 512) == 0;)
		pieces.push_back(p);
	BOOST_TEST(pieces.size() >= 15u);
	for (void *p : pieces) {
		BOOST_TEST(reinterpret_cast<uintptr_t>(p) % 512 == 0u);
		BOOST_TEST((p >= own + 1 && static_cast<char *>(p) + 512 <= own + 9002));
		BOOST_TEST(sio_release(mem, p, 512) == 0);
	}
	BOOST_TEST(dma_free(mem, 9001) == 0);
}

BOOST_AUTO_TEST_CASE(a_region_in_use_is_not_freed)
{
	dma_mem_t mem;
	BOOST_TEST_REQUIRE(dma_alloc(&mem, 65536, 0) == 0);
	Pair s = make_pair(unix_stream_kind);
	BOOST_TEST_REQUIRE(dma_assoc(s.a, mem, 65536, 0) == 0);
	CHECK_FAILS(dma_free(mem, 65536), EBUSY);
	BOOST_TEST(dma_disassoc(s.a, mem, 65536) == 0);
	BOOST_TEST_REQUIRE(dma_assoc(s.b, mem, 65536, 0) == 0);
	s.b.reset(); // closing is enough
	BOOST_TEST(dma_free(mem, 65536) == 0);
}

// ---------------------------------------------------------------------- pieces

BOOST_AUTO_TEST_CASE(pieces_lie_in_the_region_apart_and_aligned)
{
	Region region(1 << 20);
	std::vector<std::pair<char *, size_t>> pieces;
	char *const all = region.reserve(1 << 20);
	region.release(all, 1 << 20);
	for (size_t size :
	     {1, 127, 128, 129, 512, 1000, 4096, 8191, 8192, 8193, 12288, 65536, 100000, 1536}) {
		char *const p = region.reserve(size);
		BOOST_TEST((p >= all && p + size <= all + (1 << 20)));
		BOOST_TEST(reinterpret_cast<uintptr_t>(p) % 128 == 0u);
		if (size % 512 == 0)
			BOOST_TEST(reinterpret_cast<uintptr_t>(p) % 512 == 0u);
		if (size % 4096 == 0)
			BOOST_TEST(reinterpret_cast<uintptr_t>(p) % 4096 == 0u);
		for (auto [other, length] : pieces)
			BOOST_TEST((p + size <= other || other + length <= p));
		pieces.emplace_back(p, size);
	}
	for (auto [p, size] : pieces)
		region.release(p, size);
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(every_byte_can_be_had_and_then_there_are_no_more)
{
	Region region(16384);
	char *const quarter = region.reserve(4096);
	char *const rest = region.reserve(12288);
	void *p;
	CHECK_FAILS(sio_reserve(region, &p, 1), ENOBUFS);
	CHECK_FAILS(sio_reserve(region, &p, 16385), EINVAL);
	Region odd(1000);
	CHECK_FAILS(sio_reserve(odd, &p, 1001), EINVAL);
	CHECK_FAILS(sio_reserve(region, &p, 0), EINVAL);
	CHECK_FAILS(sio_reserve(region, nullptr, 1), EINVAL);
	BOOST_TEST(region.stat().used == 16384u);
	region.release(quarter, 4096);
	BOOST_TEST_REQUIRE(sio_reserve(region, &p, 4096) == 0);
	BOOST_TEST(p == quarter);
	region.release(p, 4096);
	region.release(rest, 12288);
	std::set<void *> all;
	for (void *q; sio_reserve(region, &q, 1) == 0;)
		all.insert(q);
	BOOST_TEST(all.size() == 128u);
	BOOST_TEST(region.stat().full >= 2u);
}

BOOST_AUTO_TEST_CASE(what_is_released_wrongly_is_refused_and_nothing_happens)
{
	Region region(1 << 16), other(1 << 16);
	char *const p = region.reserve(1000);
	char *const q = region.reserve(1000);
	memset(q, 7, 1000);
	static char own[1000];
	CHECK_FAILS(sio_release(region, p, 999), EINVAL);
	CHECK_FAILS(sio_release(region, p, 1001), EINVAL);
	CHECK_FAILS(sio_release(region, p, 0), EINVAL);
	CHECK_FAILS(sio_release(region, p, SIZE_MAX), EINVAL);
	CHECK_FAILS(sio_release(region, p + 1, 1000), EINVAL);
	CHECK_FAILS(sio_release(region, p + 128, 872), EINVAL);
	CHECK_FAILS(sio_release(other, p, 1000), EINVAL);
	CHECK_FAILS(sio_release(region, own, 1000), EINVAL);
	CHECK_FAILS(sio_release(region, nullptr, 1000), EINVAL);
	CHECK_FAILS(sio_release(region, p - (1 << 20), 1000), EINVAL);
	BOOST_TEST(region.stat().used == 2048u);
	region.release(p, 1000);
	CHECK_FAILS(sio_release(region, p, 1000), EINVAL);
	region.release(q, 1000);
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(threads_never_get_the_same_piece)
{
	Region region(1 << 18);
	constexpr size_t sizes[] = {64, 128, 1000, 4096, 9000, 20000};
	std::atomic<int> wrong{0};
	std::vector<std::thread> threads;
	for (unsigned t = 0; t < 4; ++t)
		threads.emplace_back([&, t] {
			std::vector<std::pair<char *, size_t>> held;
			for (unsigned i = 0; i < 20000 / slowness; ++i) {
				size_t const size = sizes[(i * 7 + t) % std::size(sizes)];
				void *p;
				if (held.size() < 4 && sio_reserve(region, &p, size) == 0) {
					memset(p, int(t + 1), size);
					held.emplace_back(static_cast<char *>(p), size);
				} else if (!held.empty()) {
					auto [q, n] = held.front();
					held.erase(held.begin());
					if (q[0] != char(t + 1) || q[n / 2] != char(t + 1) ||
					    q[n - 1] != char(t + 1))
						++wrong;
					if (sio_release(region, q, n) != 0)
						++wrong;
					if (sio_release(region, q + 1, n) == 0)
						++wrong;
				}
			}
			for (auto [q, n] : held)
				if (sio_release(region, q, n) != 0)
					++wrong;
		});
	for (std::thread &thread : threads)
		thread.join();
	BOOST_TEST(wrong == 0);
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(of_two_threads_that_release_a_piece_one_succeeds)
{
	Region region(1 << 16);
	for (int i = 0; i < 2000; ++i) {
		char *const p = region.reserve(3000);
		std::atomic<int> released{0}, ready{0};
		auto release = [&] {
			++ready;
			while (ready < 2)
				sched_yield();
			if (sio_release(region, p, 3000) == 0)
				++released;
		};
		std::thread other(release);
		release();
		other.join();
		BOOST_TEST_REQUIRE(released == 1);
	}
	BOOST_TEST(region.stat().used == 0u);
}

// -------------------------------------------------------------------- children

BOOST_AUTO_TEST_CASE(a_child_shares_memory_and_pieces)
{
	Region region(1 << 16);
	char *const from_parent = region.piece("parent");
	char *const answer = region.reserve(16);
	BOOST_TEST(in_child([&] {
			   CHILD_REQUIRE(memcmp(from_parent, "parent", 6) == 0);
			   strcpy(answer, "child");
			   CHILD_REQUIRE(sio_release(region, from_parent, 6) == 0);
			   void *p;
			   CHILD_REQUIRE(sio_reserve(region, &p, 5000) == 0);
			   memset(p, 'c', 5000);
		   }) == 0);
	BOOST_TEST(answer == std::string("child"));
	CHECK_FAILS(sio_release(region, from_parent, 6), EINVAL);
	// What the child has taken stays taken.
	BOOST_TEST(region.stat().used == 128u + 40 * 128u);
}

BOOST_AUTO_TEST_CASE(a_child_uses_the_associations_of_its_parent)
{
	Region region(1 << 16);
	Associated s(tcp4_kind, region);
	s.peer_sends("before");
	BOOST_TEST(in_child([&] {
			   void *p;
			   CHILD_REQUIRE(sio_recv(s, &p, 100, 0) == 6 &&
					 memcmp(p, "before", 6) == 0);
			   CHILD_REQUIRE(sio_release(region, p, 6) == 0);
			   CHILD_REQUIRE(sio_reserve(region, &p, 6) == 0);
			   memcpy(p, "answer", 6);
			   CHILD_REQUIRE(sio_send(s, p, 6, 0) == 6);
			   CHILD_REQUIRE(sio_release(region, p, 6) == 0);
		   }) == 0);
	BOOST_TEST(contract::take(s.s.b, 6) == "answer");
	s.peer_sends("after");
	BOOST_TEST(s.recv(100) == "after");
	BOOST_TEST(region.stat().used == 0u);
}
