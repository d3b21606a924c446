// SPDX-License-Identifier: MIT
//
// Regions registered with io_uring: what is pinned, for how long, and that what goes through a ring
// afterwards goes into the right memory. The kernel tells how much is pinned (VmPin).
#define BOOST_TEST_MODULE dma_registration
#include "config.h"
#include "dma.hpp"

#include <fstream>
#include <linux/io_uring.h>
#include <sys/syscall.h>

namespace {

constexpr size_t size = 1 << 20;

long pinned_kilobytes()
{
	std::ifstream in("/proc/self/status");
	for (std::string line; std::getline(in, line);)
		if (line.rfind("VmPin:", 0) == 0)
			return atol(line.c_str() + 6);
	return -1;
}

/// Whether the library can have a ring, as the kernel tells, and may.
bool has_ring()
{
	const char *const engine = getenv("SIGEVEC_ENGINE");
	int fd = -1;
#ifdef HAVE_LIBURING
	io_uring_params p{};
	p.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	fd = int(syscall(SYS_io_uring_setup, 2, &p));
	if (fd >= 0)
		close(fd);
#endif
	return fd >= 0 && (engine == nullptr || engine == std::string_view("uring"));
}

dma_held expected()
{
	return has_ring() ? dma_by_ring : dma_locked;
}
long expected_pinned()
{
	return has_ring() ? long(size) / 1024 : 0;
}

/// What is written from a piece to a file, and read back into another.
std::string through_a_file(const Region &region, const std::string &text)
{
	File file = disk_file();
	char *const p = region.piece(text);
	Request &write = on_region(file.fd, region, text.size(), p);
	write.cb.aio_lio_opcode = LIO_DMA_WRITE;
	aiocb *list[] = {&write.cb};
	BOOST_TEST_REQUIRE(lio_listio(LIO_WAIT, list, 1, nullptr) == 0);
	region.release(p, text.size());
	Request &read = on_region(file.fd, region, text.size());
	read.cb.aio_lio_opcode = LIO_DMA_READ;
	list[0] = &read.cb;
	BOOST_TEST_REQUIRE(lio_listio(LIO_WAIT, list, 1, nullptr) == 0);
	return received(read, region);
}

/// The same through a connection, in one send that is large enough to do without a copy.
std::string through_a_socket(const Region &region, const std::string &text)
{
	Pair s = make_pair(tcp4_kind);
	std::string got;
	std::thread reader([&] { got = contract::take(s.b, text.size()); });
	char *const p = region.piece(text);
	Request &request = on_region(s.a, region, text.size(), p);
	BOOST_TEST_REQUIRE(aio_send(&request.cb, AIO_DMA_BUF) == 0);
	region.release(p, text.size());
	BOOST_TEST(finish(request) == ok(ssize_t(text.size())));
	reader.join();
	BOOST_TEST(eventually([&] { return region.stat().requests == 0; }));
	return got;
}

} // namespace

BOOST_AUTO_TEST_CASE(
	a_region_is_registered_with_the_ring_where_there_is_one_and_pinned_until_it_is_freed)
{
	const long before = pinned_kilobytes();
	for (int i = 0; i < 3; ++i) {
		Region region(size);
		BOOST_TEST(region.stat().held == expected());
		BOOST_TEST(pinned_kilobytes() == before + expected_pinned());
	}
	BOOST_TEST(pinned_kilobytes() == before);
}

BOOST_AUTO_TEST_CASE(memory_of_the_programs_own_is_registered_too)
{
	alignas(4096) static char own[size];
	const long before = pinned_kilobytes();
	dma_mem_t mem;
	BOOST_TEST_REQUIRE(dma_import(&mem, own, size, 0) == 0);
	struct dma_stat s {};
	BOOST_TEST(dma_stat(mem, &s) == 0);
	BOOST_TEST(s.held == expected());
	BOOST_TEST(pinned_kilobytes() == before + expected_pinned());
	BOOST_TEST(dma_free(mem, size) == 0);
	BOOST_TEST(pinned_kilobytes() == before);
}

BOOST_AUTO_TEST_CASE(a_lazy_region_is_not_pinned)
{
	const long before = pinned_kilobytes();
	Region region(size, DMA_LAZY);
	BOOST_TEST(region.stat().held == dma_lazily);
	BOOST_TEST(through_a_file(region, pattern(10000)) == pattern(10000));
	BOOST_TEST(pinned_kilobytes() == before);
}

// A registration that outlived its region would take the data to other pages.
BOOST_AUTO_TEST_CASE(what_goes_through_a_ring_goes_into_the_memory_of_this_region)
{
	for (int i = 0; i < 10; ++i) {
		Region first(size);
		Region second(size / 2);
		for (const Region *region : {&first, &second})
			for (size_t n : {size_t{1}, size_t{4096}, size_t{100001}}) {
				std::string const text = pattern(n + size_t(i)).substr(size_t(i));
				BOOST_TEST((through_a_file(*region, text) == text));
				BOOST_TEST((through_a_socket(*region, text) == text));
			}
	}
}

BOOST_AUTO_TEST_CASE(a_child_registers_its_regions_anew_with_its_first_request_that_needs_it)
{
	Region region(size);
	const long before = pinned_kilobytes();
	BOOST_TEST(in_child([&] {
			   std::string const text = pattern(100000);
			   CHILD_REQUIRE(pinned_kilobytes() == 0);
			   for (int i = 0; i < 3; ++i)
				   CHILD_REQUIRE(through_a_socket(region, text) == text);
			   CHILD_REQUIRE(region.stat().held == expected());
			   CHILD_REQUIRE(pinned_kilobytes() == expected_pinned());
			   CHILD_REQUIRE(through_a_file(region, text) == text);
		   }) == 0);
	BOOST_TEST(pinned_kilobytes() == before);
	BOOST_TEST(region.stat().held == expected());
}
