// SPDX-License-Identifier: MIT
//
// What hostile programs try: every ioctl with every wrong argument, exports, races of everything
// with everything.
#define BOOST_TEST_MODULE kmod_hostile
#include "pool.hpp"

#include "module/test.h"
#include "transfers.hpp"

#include <linux/dma-buf.h>
#include <sys/resource.h>

namespace {

/// The same ioctl with another size.
unsigned long resized(unsigned long command, size_t n)
{
	return (command & ~(static_cast<unsigned long>(_IOC_SIZEMASK) << _IOC_SIZESHIFT)) |
	       n << _IOC_SIZESHIFT;
}

int export_part(int pool, uint64_t offset, uint64_t size, unsigned flags = 0, unsigned pad = 0)
{
	const sigevec_pool_export e{offset, size, flags, pad};
	return ioctl(pool, SIGEVEC_IOC_POOL_EXPORT, &e);
}

} // namespace

BOOST_AUTO_TEST_CASE(unknown_flags_padding_and_sizes_are_refused)
{
	CHECK_FAILS(create({0, 0, 0, 0, 0}), EINVAL);
	CHECK_FAILS(create({page, 4, 0, 0, 0}), EINVAL);
	CHECK_FAILS(create({page, ~0u, 0, 0, 0}), EINVAL);
	CHECK_FAILS(create({page, 0, 0, 0, 1}), EINVAL);
	CHECK_FAILS(create({page, 0, 1, 0, 0}), EINVAL);
	CHECK_FAILS(create({page, 0, 0, 1, 0}), EINVAL);
	CHECK_FAILS(create({page, SIGEVEC_POOL_ORDER, 99, 0, 0}), EINVAL);
	for (uint64_t size :
	     {~uint64_t{0}, ~uint64_t{0} - 4094, uint64_t{1} << 63, (uint64_t{1} << 40) + 1})
		CHECK_FAILS(create({size, 0, 0, 0, 0}), EINVAL);
	CHECK_FAILS(ioctl(device(), SIGEVEC_IOC_POOL_CREATE, nullptr), EFAULT);
	CHECK_FAILS(ioctl(device(), SIGEVEC_IOC_DEVICE_INFO, nullptr), EFAULT);
	Pool pool(page);
	CHECK_FAILS(ioctl(pool, SIGEVEC_IOC_POOL_INFO, nullptr), EFAULT);
	const sigevec_pool_ring r{8, 1, {0, 0}};
	CHECK_FAILS(ioctl(pool, SIGEVEC_IOC_POOL_RING, &r), EINVAL);
}

BOOST_AUTO_TEST_CASE(structures_may_grow_by_zeros_only)
{
	struct {
		sigevec_pool_create c;
		uint64_t more[4];
	} large{{page, 0, 0, 0, 0}, {}};
	Fd pool(ioctl(device(), resized(SIGEVEC_IOC_POOL_CREATE, sizeof large), &large));
	BOOST_TEST(pool >= 0);
	large.more[3] = 1;
	CHECK_FAILS(ioctl(device(), resized(SIGEVEC_IOC_POOL_CREATE, sizeof large), &large), E2BIG);
	CHECK_FAILS(ioctl(device(), resized(SIGEVEC_IOC_POOL_CREATE, sizeof large.c - 8), &large),
		    EINVAL);
	CHECK_FAILS(ioctl(device(), resized(SIGEVEC_IOC_POOL_CREATE, 0), &large), EINVAL);
	struct {
		sigevec_pool_info i;
		uint64_t more[4];
	} answer;
	memset(&answer, 0xff, sizeof answer);
	BOOST_TEST(ioctl(pool, resized(SIGEVEC_IOC_POOL_INFO, sizeof answer), &answer) == 0);
	BOOST_TEST(answer.i.size == page);
	for (uint64_t n : answer.more)
		BOOST_TEST(n == 0u);
	CHECK_FAILS(ioctl(pool, resized(SIGEVEC_IOC_POOL_INFO, 8), &answer), EINVAL);
}

BOOST_AUTO_TEST_CASE(each_ioctl_is_for_its_own_descriptor)
{
	Pool pool(page);
	uint64_t anything[16] = {};
	for (unsigned nr = 0; nr < 256; nr++) {
		const bool devices = nr < 2, pools = nr >= 0x10 && nr <= 0x14;
		if (!devices)
			CHECK_FAILS(ioctl(device(),
					  _IOC(_IOC_READ | _IOC_WRITE, SIGEVEC_IOC_MAGIC, nr, 24),
					  anything),
				    ENOTTY);
		if (!pools)
			CHECK_FAILS(
				ioctl(pool, _IOC(_IOC_WRITE, SIGEVEC_IOC_MAGIC, nr, 24), anything),
				ENOTTY);
	}
	CHECK_FAILS(ioctl(pool, SIGEVEC_IOC_POOL_CREATE, anything), ENOTTY);
	CHECK_FAILS(ioctl(device(), SIGEVEC_IOC_POOL_INFO, anything), ENOTTY);
}

BOOST_AUTO_TEST_CASE(out_of_descriptors_nothing_is_left_behind)
{
	const uint64_t before = settled();
	rlimit old;
	getrlimit(RLIMIT_NOFILE, &old);
	Pool pool(page);
	rlimit none{3, old.rlim_max};
	setrlimit(RLIMIT_NOFILE, &none);
	CHECK_FAILS(create(page), EMFILE);
	CHECK_FAILS(export_part(pool, 0, page), EMFILE);
	setrlimit(RLIMIT_NOFILE, &old);
	BOOST_TEST(charged_eventually(before + page));
}

// ---------------------------------------------------------------------- exports

BOOST_AUTO_TEST_CASE(an_export_is_within_its_pool)
{
	Pool pool(4 * page);
	for (auto [offset, size] : {std::pair<uint64_t, uint64_t>{0, 0},
				    {1, page},
				    {0, page + 1},
				    {0, 5 * page},
				    {4 * page, page},
				    {~uint64_t{0} - 4095, page},
				    {page, ~uint64_t{0} - 4095}})
		CHECK_FAILS(export_part(pool, offset, size), EINVAL);
	CHECK_FAILS(export_part(pool, 0, page, 1), EINVAL);
	CHECK_FAILS(export_part(pool, 0, page, 0, 1), EINVAL);
}

BOOST_AUTO_TEST_CASE(an_export_is_mapped_and_outlives_its_pools_descriptor)
{
	const uint64_t before = settled();
	Fd pool(create(4 * page));
	BOOST_TEST_REQUIRE(pwrite(pool, "in the third page", 18, 2 * page) == 18);
	Fd buffer(export_part(pool, page, 2 * page));
	BOOST_TEST_REQUIRE(buffer >= 0);
	BOOST_TEST(lseek(buffer, 0, SEEK_END) == ssize_t(2 * page));
	pool.reset();
	{
		Mapping m(buffer, 2 * page);
		BOOST_TEST(std::string_view(m + page) == "in the third page");
		BOOST_TEST(mmap(nullptr, 3 * page, PROT_READ, MAP_SHARED, buffer, 0) == MAP_FAILED);
		madvise(m, 2 * page, MADV_DONTNEED);
		BOOST_TEST(std::string_view(m + page) == "in the third page");
		BOOST_TEST(device_info().user_bytes == before + 4 * page);
		dma_buf_sync s{DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW};
		BOOST_TEST(ioctl(buffer, DMA_BUF_IOCTL_SYNC, &s) == 0);
		buffer.reset();
		m[0] = 1;
	}
	BOOST_TEST(charged_eventually(before));
}

BOOST_AUTO_TEST_CASE(a_device_sees_every_byte_of_an_export_once)
{
	Fd importer(open("/dev/sigevec_test", O_RDWR));
	BOOST_TEST_REQUIRE(importer >= 0);
	for (unsigned order : {0u, 3u, 10u}) {
		Fd pool(create({1 << 20, SIGEVEC_POOL_ORDER, order, 0, 0}));
		BOOST_TEST_REQUIRE(pool >= 0);
		Mapping m(pool, 1 << 20);
		fill(m, m.size);
		uint64_t sum = 0;
		for (size_t i = page; i < m.size; i++)
			sum += static_cast<unsigned char>(m[i]);
		Fd buffer(export_part(pool, page, m.size - page));
		test_import t{};
		t.fd = buffer;
		BOOST_TEST_REQUIRE(ioctl(importer, TEST_IMPORT, &t) == 0);
		BOOST_TEST(t.bytes == m.size - page);
		BOOST_TEST(t.sum == sum);
		BOOST_TEST(t.entries <= info(pool).blocks + 16);
		BOOST_TEST(filled(m, page));
		for (size_t i = page; i < m.size; i += 999)
			BOOST_TEST(m[i] == char(~byte_at(i)));
	}
}

// ------------------------------------------------------------------ the module

BOOST_AUTO_TEST_CASE(the_module_stays_as_long_as_something_of_it_is_used)
{
	BOOST_TEST_REQUIRE(device() >= 0);
	const pid_t child = fork(); // without the device's own descriptor
	if (child == 0) {
		const int pool = create(page);
		void *const m = mmap(nullptr, page, PROT_READ, MAP_SHARED, pool, 0);
		const int buffer = export_part(pool, 0, page);
		close(device());
		auto refused = [] {
			return syscall(SYS_delete_module, "sigevec", O_NONBLOCK) == -1 &&
			       errno == EWOULDBLOCK;
		};
		if (!refused())
			_exit(1);
		close(pool);
		if (!refused())
			_exit(2);
		munmap(m, page);
		if (!refused())
			_exit(3);
		close(buffer);
		_exit(0);
	}
	int status;
	BOOST_TEST(waitpid(child, &status, 0) == child);
	BOOST_TEST(WEXITSTATUS(status) == 0);
}

// ------------------------------------------------------------------------ races

BOOST_AUTO_TEST_CASE(everything_at_once_on_one_pool_ends)
{
	Pool pool(64 * page);
	std::atomic<bool> stop{false};
	std::vector<std::thread> threads;
	auto repeat = [&](auto f) {
		threads.emplace_back([&stop, f] {
			while (!stop)
				f();
		});
	};
	repeat([&] {
		char x[300] = {};
		if (pwrite(pool, x, sizeof x, 17) < 0 && errno != EAGAIN)
			abort();
	});
	repeat([&] {
		io_context_t c{};
		if (io_setup(8, &c) != 0)
			return;
		static thread_local char own[8 * page];
		iocb r, *p = &r;
		io_prep_pread(&r, pool, own, sizeof own, 0);
		io_event e;
		if (io_submit(c, 1, &p) == 1)
			io_cancel(c, p, &e);
		io_destroy(c);
	});
	repeat([&] {
		int const b = export_part(pool, 0, page);
		if (b >= 0)
			close(b);
		void *const m = mmap(nullptr, pool.size, PROT_READ, MAP_SHARED, pool, 0);
		if (m != MAP_FAILED)
			munmap(m, pool.size);
	});
	repeat([&] {
		Fd e(eventfd(0, 0));
		sigevec_pool_listen l{e, SIGEVEC_LISTEN_IN | SIGEVEC_LISTEN_OUT, {5, 100}};
		ioctl(pool, SIGEVEC_IOC_POOL_LISTEN, &l);
		l = {e, SIGEVEC_LISTEN_REMOVE, {0, 0}};
		ioctl(pool, SIGEVEC_IOC_POOL_LISTEN, &l);
	});
	repeat([&] {
		pid_t const child = fork();
		if (child == 0) {
			pool.memory[page] = 1;
			_exit(0);
		}
		int status;
		waitpid(child, &status, 0);
	});
	BOOST_TEST(eventually([&] { return info(pool).transfers_in > 2000; }));
	const sigevec_pool_ring ring{64, 0, {3, 100}};
	while (ioctl(pool, SIGEVEC_IOC_POOL_RING, &ring) != 0)
		BOOST_TEST_REQUIRE(errno == EBUSY);
	stop = true;
	for (auto &t : threads)
		t.join();
	BOOST_TEST(eventually([&] { return info(pool).in_flight == 0; }));
}
