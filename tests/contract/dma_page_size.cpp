// SPDX-License-Identifier: MIT
//
// DMA regions on a machine whose pages are larger than 4 KiB, as on some of arm64. The program
// says so itself, in the C library's place: what suits pages of 64 KiB also suits smaller ones.
#define BOOST_TEST_MODULE dma_page_size
#include "dma.hpp"

#include <sys/mman.h>

#include <fstream>

namespace {
constexpr size_t page = 65536;
}
extern "C" int getpagesize() noexcept
{
	return page;
}

namespace {

/// Bytes of the address space that cannot be touched, without what libc sets apart for a thread
/// that allocates for the first time.
size_t guarded()
{
	constexpr unsigned long most = 1 << 20;
	std::ifstream maps("/proc/self/maps");
	size_t sum = 0;
	for (std::string line; std::getline(maps, line);) {
		unsigned long from, to;
		char rights[5];
		if (sscanf(line.c_str(), "%lx-%lx %4s", &from, &to, rights) == 3 &&
		    rights == std::string("---p") && to - from < most)
			sum += to - from;
	}
	return sum;
}

void check_use(const Region &region)
{
	for (auto [p, n] : region.fill()) {
		memset(p, 'x', n);
		region.release(p, n);
	}
	BOOST_TEST(region.stat().used == 0u);
}

} // namespace

BOOST_AUTO_TEST_CASE(the_page_size_of_a_region_is_the_machines)
{
	Region region(10000);
	BOOST_TEST(region.stat().page_size == page);
	check_use(region);
	dma_mem_t mem;
	alignas(4096) static char own[8192];
	struct dma_stat s {};
	BOOST_TEST_REQUIRE(dma_import(&mem, own, sizeof own, DMA_LAZY) == 0);
	BOOST_TEST(dma_stat(mem, &s) == 0);
	BOOST_TEST(s.page_size == page);
	BOOST_TEST(dma_free(mem, sizeof own) == 0);
}

BOOST_AUTO_TEST_CASE(records_of_pieces_stand_between_whole_pages_that_cannot_be_touched)
{
	Region first(4096);
	const size_t before = guarded();
	Region second(4096);
	BOOST_TEST(guarded() - before == 2 * page);
	check_use(second);
}
