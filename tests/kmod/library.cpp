// SPDX-License-Identifier: MIT
//
// The library on a machine with the kernel module: regions are pools, and its requests on the
// descriptors of pools.
#define BOOST_TEST_MODULE kmod_library
#include "pool.hpp"

BOOST_AUTO_TEST_CASE(a_region_is_a_pool_where_the_module_is)
{
	const uint64_t before = settled();
	dma_mem_t mem;
	struct dma_stat s;
	BOOST_TEST_REQUIRE(dma_alloc(&mem, 100000, 0) == 0);
	BOOST_TEST(dma_stat(mem, &s) == 0);
	BOOST_TEST(s.held == dma_by_module);
	BOOST_TEST(s.size == 100000u);
	BOOST_TEST(device_info().user_bytes == before + 25 * page);
	BOOST_TEST(dma_free(mem, 100000) == 0);
	BOOST_TEST(charged_eventually(before));
}

BOOST_AUTO_TEST_CASE(a_lazy_region_is_none)
{
	dma_mem_t mem;
	struct dma_stat s;
	BOOST_TEST_REQUIRE(dma_alloc(&mem, page, DMA_LAZY) == 0);
	BOOST_TEST(dma_stat(mem, &s) == 0);
	BOOST_TEST(s.held == dma_lazily);
	BOOST_TEST(dma_free(mem, page) == 0);
}

BOOST_AUTO_TEST_CASE(past_the_modules_limit_a_region_is_locked_and_says_why)
{
	const uint64_t limit = device_info().user_limit;
	BOOST_TEST_REQUIRE(write_to("/sys/class/misc/sigevec/user_limit", "4096"));
	dma_mem_t mem;
	struct dma_stat s;
	BOOST_TEST_REQUIRE(dma_alloc(&mem, 2 * page, 0) == 0);
	BOOST_TEST(dma_stat(mem, &s) == 0);
	BOOST_TEST((s.held == dma_locked || s.held == dma_by_ring));
	BOOST_TEST(std::string_view(s.reason).find("limit") != std::string_view::npos);
	BOOST_TEST(dma_free(mem, 2 * page) == 0);
	write_to("/sys/class/misc/sigevec/user_limit", std::to_string(limit));
}

BOOST_AUTO_TEST_CASE(a_child_has_the_pool_too)
{
	dma_mem_t mem;
	BOOST_TEST_REQUIRE(dma_alloc(&mem, page, 0) == 0);
	void *p;
	BOOST_TEST_REQUIRE(sio_reserve(mem, &p, 100) == 0);
	BOOST_TEST(in_child([&] {
			   struct dma_stat s;
			   CHILD_REQUIRE(dma_stat(mem, &s) == 0 && s.held == dma_by_module);
			   strcpy(static_cast<char *>(p), "from the child");
		   }) == 0);
	BOOST_TEST(std::string_view(static_cast<char *>(p)) == "from the child");
	BOOST_TEST(dma_free(mem, page) == 0);
}

// ---------------------------------------------------------------------- requests

BOOST_AUTO_TEST_CASE(requests_on_a_pool_transfer_at_their_offset)
{
	Pool pool(1 << 20);
	std::vector<Request *> all;
	for (size_t n : {size_t{1}, size_t{1000}, size_t{70000}, size_t{500000}}) {
		std::string text(n, 'a');
		for (size_t i = 0; i < n; i++)
			text[i] = byte_at(i + 77);
		Request &w = writing(pool, text, 77);
		BOOST_TEST(aio_write(&w.cb) == 0);
		BOOST_TEST(eventually([&] { return !w.pending(); }));
		BOOST_TEST(w.error() == 0);
		BOOST_TEST(aio_return(&w.cb) == ssize_t(n));
		Request &r = reading(pool, n, 77);
		BOOST_TEST(aio_read(&r.cb) == 0);
		BOOST_TEST(eventually([&] { return !r.pending(); }));
		BOOST_TEST(aio_return(&r.cb) == ssize_t(n));
		BOOST_TEST((r.text() == text));
	}
	Request &behind = writing(pool, "x", 1 << 20);
	BOOST_TEST(aio_write(&behind.cb) == 0);
	BOOST_TEST(eventually([&] { return !behind.pending(); }));
	BOOST_TEST(behind.error() == ENOSPC);
}

BOOST_AUTO_TEST_CASE(transfers_into_a_pool_are_events_of_a_channel)
{
	Pool pool(1 << 20);
	Channel ec;
	std::string const text(1 << 18, 'x');
	for (int i = 0; i < 4; i++) {
		Request &w = writing(pool, text, i << 18);
		w.cb.aio_sigevent.sigev_notify = SIGEV_EC;
		w.cb.aio_sigevent.sigev_ec = ec;
		BOOST_TEST_REQUIRE(aio_write(&w.cb) == 0);
	}
	for (int i = 0; i < 4; i++) {
		event_data_t e;
		BOOST_TEST_REQUIRE(ec_next_event(ec, &e) == 0);
		BOOST_TEST(int(e.ev_type) == int(event_data_t::event_type_aio));
		BOOST_TEST(e.ev_result == 1 << 18);
	}
	BOOST_TEST(std::string_view(pool.memory, pool.size) == std::string(pool.size, 'x'));
}

// --------------------------------------------------------------- async_io_notify

namespace {

struct Heard {
	std::atomic<int> calls{0}, fd{-1};
	int again = 0;
	static void call(int fd, void *p)
	{
		auto *h = static_cast<Heard *>(p);
		h->fd = fd;
		if (h->again > 0 && h->again-- > 0 && async_io_notify(fd, call, h) != 0)
			abort();
		h->calls++;
	}
};

} // namespace

BOOST_AUTO_TEST_CASE(the_function_runs_once_when_a_transfer_into_the_pool_has_ended)
{
	Pool pool(page);
	Heard h;
	BOOST_TEST_REQUIRE(async_io_notify(pool, Heard::call, &h) == 0);
	CHECK_FAILS(async_io_notify(pool, Heard::call, &h), EBUSY);
	char x;
	BOOST_TEST(pread(pool, &x, 1, 0) == 1);
	BOOST_TEST(pwrite(pool, "x", 1, 0) == 1);
	BOOST_TEST(eventually([&] { return h.calls == 1; }));
	BOOST_TEST(h.fd == int(pool));
	BOOST_TEST(pwrite(pool, "x", 1, 0) == 1);
	BOOST_TEST_REQUIRE(async_io_notify(pool, Heard::call, &h) == 0);
	BOOST_TEST(h.calls == 1);
	BOOST_TEST(pwrite(pool, "x", 1, 0) == 1);
	BOOST_TEST(eventually([&] { return h.calls == 2; }));
}

BOOST_AUTO_TEST_CASE(the_function_may_register_again)
{
	Pool pool(page);
	Heard h;
	h.again = 5;
	BOOST_TEST_REQUIRE(async_io_notify(pool, Heard::call, &h) == 0);
	for (int i = 1; i <= 6; i++) {
		BOOST_TEST(pwrite(pool, "x", 1, 0) == 1);
		BOOST_TEST(eventually([&] { return h.calls == i; }));
	}
}

BOOST_AUTO_TEST_CASE(a_transfer_by_another_process_is_heard_of)
{
	Pool pool(page);
	Heard h;
	BOOST_TEST_REQUIRE(async_io_notify(pool, Heard::call, &h) == 0);
	const pid_t child = fork();
	if (child == 0)
		_exit(pwrite(pool, "x", 1, 0) == 1 ? 0 : 1);
	int status;
	BOOST_TEST(waitpid(child, &status, 0) == child);
	BOOST_TEST(status == 0);
	BOOST_TEST(eventually([&] { return h.calls == 1; }));
}

BOOST_AUTO_TEST_CASE(closing_the_descriptor_drops_the_function_unheard)
{
	Heard dropped, heard;
	const int old = create(page);
	BOOST_TEST_REQUIRE(async_io_notify(old, Heard::call, &dropped) == 0);
	close(old);
	Pool pool(page); // of the same number, most likely
	BOOST_TEST_REQUIRE(async_io_notify(pool, Heard::call, &heard) == 0);
	BOOST_TEST(pwrite(pool, "x", 1, 0) == 1);
	BOOST_TEST(eventually([&] { return heard.calls == 1; }));
	BOOST_TEST(dropped.calls == 0);
}

BOOST_AUTO_TEST_CASE(a_number_that_changes_pools_leaves_nothing_behind_in_the_old_one)
{
	Heard dropped, heard;
	Pool old(page), other(page);
	Fd number(dup(old));
	for (int i = 0; i < 3 * SIGEVEC_LISTENERS_MOST; i++) {
		BOOST_TEST_REQUIRE(dup2(old, number) == int(number));
		// What the module has of the last round may still be on its way out.
		BOOST_TEST_REQUIRE(eventually([&] {
			return async_io_notify(number, Heard::call, &dropped) == 0 ||
			       errno != EAGAIN;
		}));
		BOOST_TEST_REQUIRE(dup2(other, number) == int(number));
		BOOST_TEST_REQUIRE(async_io_notify(number, Heard::call, &heard) == 0);
		BOOST_TEST(pwrite(other, "x", 1, 0) == 1);
		BOOST_TEST_REQUIRE(eventually([&] { return heard.calls == i + 1; }));
	}
	BOOST_TEST(dropped.calls == 0);
}

BOOST_AUTO_TEST_CASE(other_descriptors_have_no_such_memory)
{
	Heard h;
	Fd file(open("/dev/null", O_RDWR)), e(eventfd(0, 0));
	CHECK_FAILS(async_io_notify(file, Heard::call, &h), ENOTSUP);
	CHECK_FAILS(async_io_notify(e, Heard::call, &h), ENOTSUP);
	CHECK_FAILS(async_io_notify(device(), Heard::call, &h), ENOTSUP);
	CHECK_FAILS(async_io_notify(-1, Heard::call, &h), EBADF);
	Pool pool(page);
	CHECK_FAILS(async_io_notify(pool, nullptr, &h), EINVAL);
}
