// SPDX-License-Identifier: MIT
//
// Memory that the program has placed itself, and files in it: its own locks stay, and nothing kills
// anybody.
#define BOOST_TEST_MODULE dma_placed
#include "dma.hpp"

#include <sys/mman.h>

namespace {

size_t constexpr size = 256 * 1024;

} // namespace

BOOST_AUTO_TEST_CASE(locks_of_the_programs_own_are_still_there_after_dma_free)
{
	const auto locked = [] {
		FILE *const status = fopen("/proc/self/status", "r");
		char line[256];
		long kilobytes = -1;
		while (fgets(line, sizeof line, status) != nullptr)
			sscanf(line, "VmLck: %ld", &kilobytes);
		fclose(status);
		return kilobytes;
	};
	auto *const p = static_cast<char *>(mmap(nullptr, 16 * 4096, PROT_READ | PROT_WRITE,
						 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	BOOST_TEST_REQUIRE(p != MAP_FAILED);
	const long before = locked();
	// Raw: the sanitizers' own mlock does nothing.
	BOOST_TEST_REQUIRE(syscall(SYS_mlock, p + 4096, 3 * 4096) == 0);
	BOOST_TEST_REQUIRE(syscall(SYS_mlock, p + 6 * 4096, 4096) == 0);
	dma_mem_t whole, first, second;
	BOOST_TEST_REQUIRE(dma_import(&whole, p, 16 * 4096, 0) == 0);
	BOOST_TEST(dma_free(whole, 16 * 4096) == 0);
	BOOST_TEST(locked() == before + 16);
	// Two that share a page: it stays locked for the other one, whichever ends first.
	BOOST_TEST_REQUIRE(dma_import(&first, p + 8 * 4096, 6000, 0) == 0);
	BOOST_TEST_REQUIRE(dma_import(&second, p + 8 * 4096 + 6016, 6000, 0) == 0);
	const bool held = locked() == before + 16 + 12;
	BOOST_TEST(dma_free(first, 6000) == 0);
	BOOST_TEST(locked() == before + 16 + (held ? 8 : 0));
	BOOST_TEST(dma_free(second, 6000) == 0);
	BOOST_TEST(locked() == before + 16);
	munmap(p, 16 * 4096);
}

BOOST_AUTO_TEST_CASE(a_file_that_is_cut_or_not_to_be_written_is_efault_and_kills_nobody)
{
	for (bool cut : {false, true})
		BOOST_TEST_CONTEXT("cut " << cut)
	BOOST_TEST(in_child([&] {
			   Fd const file(memfd_create("region", 0));
			   CHILD_REQUIRE(ftruncate(file, 65536) == 0);
			   void *const m =
				   mmap(nullptr, 65536, cut ? PROT_READ | PROT_WRITE : PROT_READ,
					MAP_SHARED, file, 0);
			   dma_mem_t mem;
			   CHILD_REQUIRE(m != MAP_FAILED && dma_import(&mem, m, 65536, 0) == 0);
			   CHILD_REQUIRE(!cut || ftruncate(file, 0) == 0);
			   Pair s = make_pair(udp4_kind), stream = make_pair(tcp4_kind);
			   for (int fd : {int(s.a), int(stream.a)})
				   CHILD_REQUIRE(dma_assoc(fd, mem, 65536, 0) == 0);
			   void const *message;
			   void *p;
			   for (int i = 0; i < 4; ++i)
				   CHILD_REQUIRE(send(s.b, "hello", 5, 0) == 5 &&
						 send(stream.b, "hello", 5, 0) == 5);
			   CHILD_REQUIRE(sio_recv(s.a, &p, 100, 0) == -1 && errno == EFAULT);
			   CHILD_REQUIRE(sio_recvmsg(s.a, &message, sizeof(struct msghdr), 0) ==
						 -1 &&
					 errno == EFAULT);
			   CHILD_REQUIRE(sio_recv(stream.a, &p, 3, 0) == -1 && errno == EFAULT);
			   CHILD_REQUIRE(dma_disassoc(s.a, mem, 65536) == 0);
			   struct aiocb cb {};
			   cb.aio_fildes = s.a;
			   cb.aio_nbytes = 100;
			   cb.aio_dma_buf = mem;
			   struct aiocb const *list[] = {&cb};
			   for (bool whole : {false, true}) {
				   CHILD_REQUIRE((whole ? aio_recvmsg(&cb, AIO_DMA_BUF)
							: aio_recv(&cb, AIO_DMA_BUF)) == 0);
				   while (aio_error(&cb) == EINPROGRESS)
					   aio_suspend(list, 1, nullptr);
				   CHILD_REQUIRE(aio_error(&cb) == EFAULT);
			   }
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(a_file_that_is_cut_and_grown_again_is_read_into_where_the_program_sees_it)
{
	const Fd file(memfd_create("region", 0)), source(memfd_create("source", 0));
	BOOST_TEST_REQUIRE(ftruncate(file, 65536) == 0);
	BOOST_TEST_REQUIRE(write(source, "hello", 5) == 5);
	void *const m = mmap(nullptr, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	dma_mem_t mem;
	BOOST_TEST_REQUIRE(dma_import(&mem, m, 65536, 0) == 0);
	for (int i = 0; i < 3; ++i) {
		for (int n = 0; n < 5; ++n) {
			struct aiocb cb {};
			cb.aio_fildes = source;
			cb.aio_nbytes = 5;
			cb.aio_dma_buf = mem;
			cb.aio_lio_opcode = LIO_DMA_READ;
			struct aiocb *list[] = {&cb};
			BOOST_TEST_REQUIRE(lio_listio(LIO_WAIT, list, 1, nullptr) == 0);
			auto *const p = static_cast<char *>(const_cast<void *>(cb.aio_buf));
			BOOST_TEST(std::string(p, 5) == "hello");
			BOOST_TEST(sio_release(mem, p, 5) == 0);
		}
		BOOST_TEST_REQUIRE(ftruncate(file, 0) == 0);
		BOOST_TEST_REQUIRE(ftruncate(file, 65536) == 0);
	}
	BOOST_TEST(dma_free(mem, 65536) == 0);
	munmap(m, 65536);
}

BOOST_AUTO_TEST_CASE(memory_that_the_program_has_replaced_is_sent_as_the_program_sees_it)
{
	size_t constexpr large = 40000;
	const auto map = [](void *at, int more) {
		return mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | more,
			    -1, 0);
	};
	void *const memory = map(nullptr, 0);
	BOOST_TEST_REQUIRE(memory != MAP_FAILED);
	dma_mem_t mem;
	BOOST_TEST_REQUIRE(dma_import(&mem, memory, size, 0) == 0);
	void *p;
	BOOST_TEST_REQUIRE(sio_reserve(mem, &p, large) == 0);
	memset(p, 'a', large);
	BOOST_TEST_REQUIRE(map(memory, MAP_FIXED) == memory);
	memset(p, 'b', large);
	Pair s = make_pair(tcp4_kind);
	Request &request = keep(s.a, large, 0);
	request.cb.aio_buf = p;
	request.cb.aio_dma_buf = mem;
	BOOST_TEST_REQUIRE(aio_send(&request.cb, AIO_DMA_BUF) == 0);
	BOOST_TEST((take(s.b, large) == std::string(large, 'b')));
	BOOST_TEST(finish(request) == ok(large));
	BOOST_TEST(sio_release(mem, p, large) == 0);
	BOOST_TEST(eventually([&] { return dma_free(mem, size) == 0; }));
	munmap(memory, size);
}
