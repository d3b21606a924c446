// SPDX-License-Identifier: MIT
//
// Every allocation fails once: failslab and fail_page_alloc, by /proc/self/fail-nth, for each
// operation until it gets through. Whatever fails says so, leaves nothing behind, and works the
// next time.
#define BOOST_TEST_MODULE kmod_faults
#include "pool.hpp"

#include "transfers.hpp"

#include <linux/dma-buf.h>

namespace {

/// Runs it with the first, second, ... allocation failing, until none is left to fail. How many
/// did.
template <class Operation> int with_faults(Operation operation)
{
	int failures = 0;
	for (int n = 1;; n++) {
		Fd nth(open("/proc/thread-self/fail-nth", O_RDWR));
		BOOST_TEST_REQUIRE(nth >= 0);
		std::string const text = std::to_string(n);
		BOOST_TEST_REQUIRE(write(nth, text.data(), text.size()) == ssize_t(text.size()));
		const int error = operation();
		char left[16] = {};
		BOOST_TEST_REQUIRE(pread(nth, left, sizeof left - 1, 0) > 0);
		BOOST_TEST_REQUIRE(pwrite(nth, "0", 1, 0) == 1);
		failures += error != 0;
		if (error != 0)
			BOOST_TEST((error == ENOMEM || error == EAGAIN || error == EFAULT ||
				    error == ENFILE),
				   strerror(error));
		if (atoi(left) != 0) {
			BOOST_TEST(error == 0);
			return failures;
		}
		BOOST_TEST_REQUIRE(n < 5000);
	}
}

int errno_of(int result)
{
	return result < 0 ? errno : 0;
}

struct NeedFaults {
	NeedFaults()
	{
		if (access("/proc/self/fail-nth", W_OK) != 0)
			skip_program("the kernel has no fault injection");
		for (const char *kind : {"failslab", "fail_page_alloc"}) {
			std::string const folder = std::string("/sys/kernel/debug/") + kind;
			write_to((folder + "/ignore-gfp-wait").c_str(), "N");
			write_to((folder + "/verbose").c_str(), "0");
		}
		write_to("/sys/kernel/debug/failslab/cache-filter", "N");
		write_to("/sys/kernel/debug/fail_page_alloc/min-order", "0");
	}
};
BOOST_TEST_GLOBAL_FIXTURE(NeedFaults);

} // namespace

BOOST_AUTO_TEST_CASE(creating_a_pool)
{
	const uint64_t before = settled();
	BOOST_TEST(with_faults([] {
			   int const fd = create(16 * page);
			   if (fd < 0)
				   return errno;
			   close(fd);
			   return 0;
		   }) > 2);
	BOOST_TEST(charged_eventually(before));
}

BOOST_AUTO_TEST_CASE(exporting_it)
{
	const uint64_t before = settled();
	{
		Pool pool(4 * page);
		BOOST_TEST(with_faults([&] {
				   sigevec_pool_export const e{0, page, 0, 0};
				   int const fd = ioctl(pool, SIGEVEC_IOC_POOL_EXPORT, &e);
				   if (fd < 0)
					   return errno;
				   close(fd);
				   return 0;
			   }) > 1);
	}
	BOOST_TEST(charged_eventually(before));
}

BOOST_AUTO_TEST_CASE(making_its_ring)
{
	const uint64_t before = settled();
	BOOST_TEST(with_faults([&] {
			   Fd pool(create(page));
			   if (pool < 0)
				   return errno;
			   sigevec_pool_ring const r{64, 0, {0, 0}};
			   return errno_of(ioctl(pool, SIGEVEC_IOC_POOL_RING, &r));
		   }) >= 0);
	BOOST_TEST(charged_eventually(before));
}

BOOST_AUTO_TEST_CASE(listening)
{
	Pool pool(page);
	Fd e(eventfd(0, 0));
	BOOST_TEST(with_faults([&] {
			   sigevec_pool_listen l{e, SIGEVEC_LISTEN_IN, {0, 0}};
			   int const error = errno_of(ioctl(pool, SIGEVEC_IOC_POOL_LISTEN, &l));
			   if (error == 0) {
				   l.flags = SIGEVEC_LISTEN_REMOVE;
				   ioctl(pool, SIGEVEC_IOC_POOL_LISTEN, &l);
			   }
			   return error;
		   }) > 0);
}

BOOST_AUTO_TEST_CASE(mapping_it)
{
	Fd pool(create(64 * page));
	with_faults([&] {
		void *const p =
			mmap(nullptr, 64 * page, PROT_READ | PROT_WRITE, MAP_SHARED, pool, 0);
		if (p == MAP_FAILED)
			return errno;
		munmap(p, 64 * page);
		return 0;
	});
}

BOOST_AUTO_TEST_CASE(transferring)
{
	Pool pool(64 * page);
	std::vector<char> own(64 * page);
	fill(own.data(), own.size());
	Aio aio;
	for (auto command : {IO_CMD_PWRITE, IO_CMD_PREAD})
		BOOST_TEST(with_faults([&] {
				   iocb r{}, *p = &r;
				   io_prep_pwrite(&r, pool, own.data(), own.size(), 0);
				   r.aio_lio_opcode = short(command);
				   int const k = io_submit(aio.context, 1, &p);
				   if (k != 1)
					   return -k;
				   long const n = long(aio.reap(1)[0].res);
				   return n == long(own.size()) ? 0 : n < 0 ? int(-n) : EPROTO;
			   }) > 1);
	BOOST_TEST(filled(pool.memory, pool.size));
	BOOST_TEST(eventually([&] { return info(pool).in_flight == 0; }));
}
