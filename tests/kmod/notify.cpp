// SPDX-License-Identifier: MIT
//
// How a pool tells of transfers: completion ring, moderation, poll, eventfds.
#define BOOST_TEST_MODULE kmod_notify
#include "pool.hpp"

#include "transfers.hpp"

namespace {

constexpr unsigned never = 1000000; // microseconds: a second, that no test waits for

int make_ring(int pool, unsigned entries, unsigned count = 0, unsigned microseconds = 0)
{
	const sigevec_pool_ring r{entries, 0, {count, microseconds}};
	return ioctl(pool, SIGEVEC_IOC_POOL_RING, &r);
}

int listen(int pool, int eventfd, unsigned flags, unsigned count = 0, unsigned microseconds = 0)
{
	const sigevec_pool_listen l{eventfd, flags, {count, microseconds}};
	return ioctl(pool, SIGEVEC_IOC_POOL_LISTEN, &l);
}

bool readable(int fd, int milliseconds = 0)
{
	pollfd p{fd, POLLIN, 0};
	return poll(&p, 1, milliseconds) == 1;
}

uint64_t count_of(int eventfd)
{
	uint64_t n = 0;
	return read(eventfd, &n, sizeof n) == sizeof n ? n : 0;
}

struct Completions {
	Mapping memory;
	sigevec_ring *ring;
	Completions(int pool, unsigned entries)
	    : memory(pool,
		     (sizeof(sigevec_ring) + entries * sizeof(sigevec_completion) + page - 1) /
			     page * page,
		     SIGEVEC_RING_OFFSET),
	      ring(reinterpret_cast<sigevec_ring *>(memory.p))
	{
	}
	unsigned unread() const
	{
		return __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE) - ring->head;
	}
	sigevec_completion next()
	{
		BOOST_TEST_REQUIRE(unread() > 0u);
		const sigevec_completion c =
			SIGEVEC_RING_COMPLETIONS(ring)[ring->head % ring->entries];
		__atomic_store_n(&ring->head, ring->head + 1, __ATOMIC_RELEASE);
		return c;
	}
};

} // namespace

BOOST_AUTO_TEST_CASE(the_ring_tells_of_each_transfer_without_a_system_call)
{
	Pool pool(16 * page);
	BOOST_TEST_REQUIRE(make_ring(pool, 8) == 0);
	Completions c(pool, 8);
	BOOST_TEST(c.ring->entries == 8u);
	std::vector<char> own(2 * page);
	Aio aio;
	BOOST_TEST(aio.run(pool, IO_CMD_PWRITE, own.data(), 2 * page, page) == 2 * long(page));
	BOOST_TEST(eventually([&] { return c.unread() == 1; }));
	auto e = c.next();
	BOOST_TEST(e.offset == page);
	BOOST_TEST(e.length == 2 * page);
	BOOST_TEST(e.result == long(2 * page));
	BOOST_TEST(e.op == unsigned{SIGEVEC_OP_IN});
	BOOST_TEST(pread(pool, own.data(), 100, 7) == 100);
	e = c.next();
	BOOST_TEST(e.op == unsigned{SIGEVEC_OP_OUT});
	BOOST_TEST(e.offset == 7u);
	BOOST_TEST(e.result == 100);
	BOOST_TEST(pread(pool, own.data(), 100, off_t(pool.size - 10)) == 10);
	BOOST_TEST(c.next().length == 10u);
	BOOST_TEST(c.unread() == 0u);
}

BOOST_AUTO_TEST_CASE(a_full_ring_refuses_transfers_and_loses_none)
{
	Pool pool(page);
	BOOST_TEST_REQUIRE(make_ring(pool, 4) == 0);
	Completions c(pool, 4);
	Aio aio;
	char x = 'x';
	for (int i = 0; i < 4; i++)
		BOOST_TEST(pwrite(pool, &x, 1, i) == 1);
	CHECK_FAILS(pwrite(pool, &x, 1, 5), EAGAIN);
	CHECK_FAILS(pread(pool, &x, 1, 5), EAGAIN);
	BOOST_TEST(aio.run(pool, IO_CMD_PWRITE, &x, 1, 5) == -EAGAIN);
	BOOST_TEST(pool.memory[5] == 0);
	for (unsigned i = 0; i < 4; i++)
		BOOST_TEST(c.next().offset == i);
	for (unsigned i = 0; i < 100; i++) {
		BOOST_TEST(pwrite(pool, &x, 1, i) == 1);
		BOOST_TEST(c.next().offset == i);
	}
}

BOOST_AUTO_TEST_CASE(a_refused_transfer_leaves_its_room_to_others)
{
	Pool pool(page);
	BOOST_TEST_REQUIRE(make_ring(pool, 2) == 0);
	Completions c(pool, 2);
	Aio aio;
	void *const nowhere = mmap(nullptr, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 10; i++) {
		CHECK_FAILS(pwrite(pool, nowhere, 10, 0), EFAULT);
		BOOST_TEST(aio.run(pool, IO_CMD_PWRITE, nowhere, 10, 0) == -EFAULT);
	}
	BOOST_TEST(c.unread() == 0u);
	BOOST_TEST(pwrite(pool, "x", 1, 0) == 1);
	BOOST_TEST(pwrite(pool, "x", 1, 0) == 1);
}

BOOST_AUTO_TEST_CASE(whatever_is_written_to_the_ring_the_kernel_only_counts_with_it)
{
	Pool pool(page);
	BOOST_TEST_REQUIRE(make_ring(pool, 4) == 0);
	Completions c(pool, 4);
	char x;
	for (unsigned head : {1u, 0x80000000u, ~0u, 77u}) {
		c.ring->head = head;
		c.ring->tail = ~head;
		c.ring->entries = head;
		if (pread(pool, &x, 1, 0) < 0)
			BOOST_TEST(errno == EAGAIN);
		readable(pool);
	}
	memset(c.ring, 0xff, page);
	if (pread(pool, &x, 1, 0) < 0)
		BOOST_TEST(errno == EAGAIN);
}

BOOST_AUTO_TEST_CASE(a_pool_has_one_ring_of_a_power_of_two)
{
	Pool pool(page);
	for (unsigned entries : {0u, 3u, 8192u, 0x80000000u})
		CHECK_FAILS(make_ring(pool, entries), EINVAL);
	CHECK_FAILS(make_ring(pool, 8, 2, 0), EINVAL); // the last one might never be heard of
	CHECK_FAILS(make_ring(pool, 8, 2, never + 1), EINVAL);
	const sigevec_pool_moderation m{1, 0};
	CHECK_FAILS(ioctl(pool, SIGEVEC_IOC_POOL_MODERATE, &m), ENXIO);
	BOOST_TEST(make_ring(pool, 4096) == 0);
	CHECK_FAILS(make_ring(pool, 8), EBUSY);
	CHECK_FAILS(ioctl(pool, SIGEVEC_IOC_POOL_MODERATE, nullptr), EFAULT);
}

BOOST_AUTO_TEST_CASE(a_pool_without_a_ring_is_always_readable_and_writable)
{
	Pool pool(page);
	pollfd p{pool, POLLIN | POLLOUT, 0};
	BOOST_TEST(poll(&p, 1, 0) == 1);
	BOOST_TEST(p.revents == (POLLIN | POLLOUT));
}

BOOST_AUTO_TEST_CASE(the_descriptor_is_readable_as_long_as_something_is_unread)
{
	Pool pool(page);
	BOOST_TEST_REQUIRE(make_ring(pool, 8) == 0);
	Completions c(pool, 8);
	BOOST_TEST(!readable(pool));
	BOOST_TEST(pwrite(pool, "x", 1, 0) == 1);
	BOOST_TEST(readable(pool));
	c.next();
	BOOST_TEST(!readable(pool));
}

BOOST_AUTO_TEST_CASE(moderation_waits_for_a_number_of_completions)
{
	Pool pool(page);
	BOOST_TEST_REQUIRE(make_ring(pool, 64, 3, never) == 0);
	Completions c(pool, 64);
	for (int round = 0; round < 3; round++) {
		BOOST_TEST(pwrite(pool, "x", 1, 0) == 1);
		BOOST_TEST(pwrite(pool, "x", 1, 0) == 1);
		BOOST_TEST(pwrite(pool, "x", 1, 0) == 1);
		BOOST_TEST(readable(pool));
		for (int i = 0; i < 3; i++)
			c.next();
		BOOST_TEST(!readable(pool));
	}
}

BOOST_AUTO_TEST_CASE(moderation_waits_no_longer_than_its_time)
{
	Pool pool(page);
	BOOST_TEST_REQUIRE(make_ring(pool, 64, 50, 2000) == 0);
	Completions c(pool, 64);
	for (int round = 0; round < 3; round++) {
		BOOST_TEST(pwrite(pool, "x", 1, 0) == 1);
		BOOST_TEST(readable(pool, 20000));
		c.next();
		BOOST_TEST(!readable(pool));
	}
	const sigevec_pool_moderation m{0, 0};
	BOOST_TEST(ioctl(pool, SIGEVEC_IOC_POOL_MODERATE, &m) == 0);
	BOOST_TEST(pwrite(pool, "x", 1, 0) == 1);
	BOOST_TEST(readable(pool));
}

BOOST_AUTO_TEST_CASE(an_eventfd_is_signalled_for_the_direction_asked_for)
{
	Pool pool(page);
	Fd in(eventfd(0, EFD_NONBLOCK)), out(eventfd(0, EFD_NONBLOCK));
	BOOST_TEST_REQUIRE(listen(pool, in, SIGEVEC_LISTEN_IN) == 0);
	BOOST_TEST_REQUIRE(listen(pool, out, SIGEVEC_LISTEN_OUT) == 0);
	char x = 'x';
	BOOST_TEST(pwrite(pool, &x, 1, 0) == 1);
	BOOST_TEST(pwrite(pool, &x, 1, 0) == 1);
	BOOST_TEST(count_of(in) == 2u);
	BOOST_TEST(count_of(out) == 0u);
	BOOST_TEST(pread(pool, &x, 1, 0) == 1);
	BOOST_TEST(count_of(in) == 0u);
	BOOST_TEST(count_of(out) == 1u);
	BOOST_TEST(listen(pool, in, SIGEVEC_LISTEN_REMOVE) == 0);
	BOOST_TEST(pwrite(pool, &x, 1, 0) == 1);
	BOOST_TEST(count_of(in) == 0u);
	CHECK_FAILS(listen(pool, in, SIGEVEC_LISTEN_REMOVE), ENOENT);
}

BOOST_AUTO_TEST_CASE(an_eventfd_is_moderated_by_number_and_time)
{
	Pool pool(page);
	Fd by_number(eventfd(0, EFD_NONBLOCK)), by_time(eventfd(0, EFD_NONBLOCK));
	BOOST_TEST_REQUIRE(listen(pool, by_number, SIGEVEC_LISTEN_IN, 3, never) == 0);
	BOOST_TEST_REQUIRE(listen(pool, by_time, SIGEVEC_LISTEN_IN, 0, 2000) == 0);
	for (int i = 0; i < 6; i++)
		BOOST_TEST(pwrite(pool, "x", 1, 0) == 1);
	BOOST_TEST(count_of(by_number) == 2u);
	BOOST_TEST(readable(by_time, 20000));
}

BOOST_AUTO_TEST_CASE(closing_the_last_descriptor_signals_once_and_forgets)
{
	Fd e(eventfd(0, EFD_NONBLOCK));
	Fd pool(create(page)), second(dup(pool));
	BOOST_TEST_REQUIRE(listen(pool, e, SIGEVEC_LISTEN_IN) == 0);
	pool.reset();
	BOOST_TEST(count_of(e) == 0u);
	second.reset();
	BOOST_TEST(eventually([&] { return count_of(e) == 1; }));
}

BOOST_AUTO_TEST_CASE(a_listener_ends_with_the_last_descriptor_of_its_eventfd)
{
	Pool pool(page);
	for (int round = 0; round < 3; round++) {
		std::vector<Fd> all;
		for (int i = 0; i < SIGEVEC_LISTENERS_MOST; i++) {
			all.emplace_back(eventfd(0, 0));
			int e = 0;
			// The ends of the last round's may still be on their way.
			BOOST_TEST_REQUIRE(eventually([&] {
				return (e = listen(pool, all.back(), SIGEVEC_LISTEN_IN, 2, 100)) ==
					       0 ||
				       errno != ENOSPC;
			}));
			BOOST_TEST(e == 0);
			BOOST_TEST(pwrite(pool, "x", 1, 0) == 1);
		}
		Fd copy(dup(all.back()));
		all.back().reset();
		CHECK_FAILS(listen(pool, copy, SIGEVEC_LISTEN_IN), EBUSY);
	}
}

BOOST_AUTO_TEST_CASE(eventfds_pools_and_listeners_may_end_at_once)
{
	for (int i = 0; i < 200; i++) {
		Fd pool(create(page)), e(eventfd(0, EFD_NONBLOCK));
		BOOST_TEST_REQUIRE(listen(pool, e, SIGEVEC_LISTEN_IN, 10, 50) == 0);
		BOOST_TEST(pwrite(pool, "x", 1, 0) == 1);
		std::thread first([&] { e.reset(); });
		if (i % 2 == 0)
			listen(pool, e, SIGEVEC_LISTEN_REMOVE);
		pool.reset();
		first.join();
	}
	settled();
}

BOOST_AUTO_TEST_CASE(impossible_listeners_are_refused)
{
	Pool pool(page);
	Fd e(eventfd(0, EFD_NONBLOCK)), file(open("/dev/null", O_RDWR));
	CHECK_FAILS(listen(pool, e, 0), EINVAL);
	CHECK_FAILS(listen(pool, e, 8 | SIGEVEC_LISTEN_IN), EINVAL);
	CHECK_FAILS(listen(pool, e, SIGEVEC_LISTEN_IN | SIGEVEC_LISTEN_REMOVE), EINVAL);
	CHECK_FAILS(listen(pool, e, SIGEVEC_LISTEN_REMOVE, 1), EINVAL);
	CHECK_FAILS(listen(pool, e, SIGEVEC_LISTEN_IN, 2, 0), EINVAL);
	CHECK_FAILS(listen(pool, -1, SIGEVEC_LISTEN_IN), EBADF);
	CHECK_FAILS(listen(pool, file, SIGEVEC_LISTEN_IN), EINVAL);
	BOOST_TEST(listen(pool, e, SIGEVEC_LISTEN_IN) == 0);
	CHECK_FAILS(listen(pool, e, SIGEVEC_LISTEN_OUT), EBUSY);
	std::vector<Fd> more;
	for (int i = 1; i < SIGEVEC_LISTENERS_MOST; i++) {
		more.emplace_back(eventfd(0, 0));
		BOOST_TEST(listen(pool, more.back(), SIGEVEC_LISTEN_IN) == 0);
	}
	Fd last(eventfd(0, 0));
	CHECK_FAILS(listen(pool, last, SIGEVEC_LISTEN_IN), ENOSPC);
}
