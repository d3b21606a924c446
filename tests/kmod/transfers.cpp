// SPDX-License-Identifier: MIT
//
// Transfers into and out of a pool: plain calls, kernel AIO, io_uring; and pool memory as the
// buffer of somebody else's transfers.
#define BOOST_TEST_MODULE kmod_transfers
#include "pool.hpp"

#include "transfers.hpp"

#include <liburing.h>
#include <sys/utsname.h>

// ------------------------------------------------------------------ plain calls

BOOST_AUTO_TEST_CASE(read_and_write_move_the_position_and_end_with_the_pool)
{
	Pool pool(2 * page);
	std::string const text(page + 100, 'x');
	BOOST_TEST(write(pool, text.data(), text.size()) == ssize_t(text.size()));
	BOOST_TEST(write(pool, text.data(), text.size()) == ssize_t(2 * page - text.size()));
	CHECK_FAILS(write(pool, "x", 1), ENOSPC);
	BOOST_TEST(lseek(pool, 0, SEEK_END) == ssize_t(2 * page));
	char c;
	BOOST_TEST(read(pool, &c, 1) == 0);
	BOOST_TEST(lseek(pool, -1, SEEK_CUR) == ssize_t(2 * page - 1));
	BOOST_TEST(read(pool, &c, 1) == 1);
	CHECK_FAILS(lseek(pool, 2 * page + 1, SEEK_SET), EINVAL);
	BOOST_TEST(std::string_view(pool.memory, 2 * page) == std::string(2 * page, 'x'));
}

BOOST_AUTO_TEST_CASE(positional_calls_reach_any_byte_and_none_outside)
{
	Pool pool(3 * page);
	std::vector<char> own(3 * page);
	fill(own.data(), own.size());
	for (size_t at : {size_t{0}, size_t{1}, page - 1, page, 2 * page + 77})
		BOOST_TEST(pwrite(pool, own.data() + at, own.size() - at, off_t(at)) ==
			   ssize_t(own.size() - at));
	BOOST_TEST(filled(pool.memory, own.size()));
	std::vector<char> back(own.size());
	BOOST_TEST(pread(pool, back.data() + 5, back.size() - 5, 5) == ssize_t(back.size() - 5));
	BOOST_TEST((memcmp(back.data() + 5, own.data() + 5, own.size() - 5) == 0));
	CHECK_FAILS(pwrite(pool, "x", 1, 3 * page), ENOSPC);
	CHECK_FAILS(pwrite(pool, "x", 1, off_t{1} << 62), ENOSPC);
	CHECK_FAILS(pread(pool, back.data(), 1, -1), EINVAL);
	BOOST_TEST(pread(pool, back.data(), 1, 3 * page) == 0);
	BOOST_TEST(pwrite(pool, "xyz", 3, 3 * page - 1) == 1);
	BOOST_TEST(pwrite(pool, "", 0, 0) == 0);
}

BOOST_AUTO_TEST_CASE(memory_that_is_not_there_is_efault)
{
	Pool pool(2 * page);
	char *const hole = static_cast<char *>(mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE,
						    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	mprotect(hole + page, page, PROT_NONE);
	CHECK_FAILS(pwrite(pool, hole + page, 10, 0), EFAULT);
	CHECK_FAILS(pread(pool, hole + page, 10, 0), EFAULT);
	Aio aio;
	BOOST_TEST(aio.run(pool, IO_CMD_PWRITE, hole + page, 10, 0) == -EFAULT);
	BOOST_TEST(aio.run(pool, IO_CMD_PREAD, hole + page - 10, page, 0) == -EFAULT);
	BOOST_TEST(info(pool).in_flight == 0u);
	munmap(hole, 2 * page);
}

BOOST_AUTO_TEST_CASE(a_read_only_buffer_is_not_written_to)
{
	Pool pool(page);
	void *const p = mmap(nullptr, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	Aio aio;
	CHECK_FAILS(pread(pool, p, page, 0), EFAULT);
	BOOST_TEST(aio.run(pool, IO_CMD_PREAD, p, page, 0) == -EFAULT);
	munmap(p, page);
}

BOOST_AUTO_TEST_CASE(nowait_is_understood)
{
	Pool pool(page);
	char text[] = "now";
	iovec v{text, sizeof text};
	BOOST_TEST(pwritev2(pool, &v, 1, 10, RWF_NOWAIT) == ssize_t(sizeof text));
	BOOST_TEST(preadv2(pool, &v, 1, 10, RWF_NOWAIT) == ssize_t(sizeof text));
}

// ------------------------------------------------------------------- kernel AIO

BOOST_AUTO_TEST_CASE(kernel_aio_transfers_and_tells_the_bytes)
{
	Pool pool(1 << 20);
	std::vector<char> own(1 << 20), back(1 << 20);
	fill(own.data(), own.size());
	Aio aio;
	for (size_t n : {size_t{1}, page, page + 1, size_t{1} << 20}) {
		memset(pool.memory, 0, pool.size);
		BOOST_TEST(aio.run(pool, IO_CMD_PWRITE, own.data(), n, 0) == long(n));
		BOOST_TEST(filled(pool.memory, n));
		BOOST_TEST(aio.run(pool, IO_CMD_PREAD, back.data() + (own.size() - n), n, 0) ==
			   long(n));
		BOOST_TEST((memcmp(back.data() + (own.size() - n), own.data(), n) == 0));
	}
	BOOST_TEST(aio.run(pool, IO_CMD_PWRITE, own.data(), 100, off_t(pool.size - 10)) == 10);
	BOOST_TEST(aio.run(pool, IO_CMD_PWRITE, own.data(), 100, off_t(pool.size)) == -ENOSPC);
	BOOST_TEST(aio.run(pool, IO_CMD_PREAD, back.data(), 100, off_t(pool.size)) == 0);
	// Counted a moment after the end has been told.
	BOOST_TEST(eventually([&] { return info(pool).transfers_in >= 5u; }));
}

BOOST_AUTO_TEST_CASE(vectors_of_any_alignment_arrive_in_order)
{
	Pool pool(64 * page);
	std::vector<char> own(64 * page);
	fill(own.data(), own.size());
	std::vector<iovec> v;
	for (size_t at = 0, n = 1; at < own.size(); at += n, n = n * 3 % 9001 + 1)
		v.push_back({own.data() + at, std::min(n, own.size() - at)});
	v.insert(v.begin() + 2, iovec{own.data(), 0});
	Aio aio;
	BOOST_TEST(aio.run(pool, IO_CMD_PWRITEV, v.data(), v.size(), 0) == long(own.size()));
	BOOST_TEST(filled(pool.memory, own.size()));
	memset(own.data(), 0, own.size());
	BOOST_TEST(aio.run(pool, IO_CMD_PREADV, v.data(), v.size(), 0) == long(own.size()));
	BOOST_TEST(filled(own.data(), own.size()));
}

BOOST_AUTO_TEST_CASE(many_at_once_all_end)
{
	Pool pool(256 * page);
	std::vector<char> own(256 * page);
	fill(own.data(), own.size());
	Aio aio(256);
	for (size_t i = 0; i < 256; i++)
		aio.submit(pool, IO_CMD_PWRITE, own.data() + i * page, page, off_t(i * page));
	for (const auto &e : aio.reap(256))
		BOOST_TEST(long(e.res) == long(page));
	BOOST_TEST(filled(pool.memory, pool.size));
	BOOST_TEST(eventually([&] { return info(pool).in_flight == 0; }));
	BOOST_TEST(eventually([&] { return info(pool).transfers_in == 256u; }));
}

BOOST_AUTO_TEST_CASE(one_pools_memory_is_copied_to_another_pool)
{
	Pool a(16 * page), b(16 * page);
	fill(a.memory, a.size);
	Aio aio;
	BOOST_TEST(aio.run(b, IO_CMD_PWRITE, a.memory, a.size, 0) == long(a.size));
	BOOST_TEST(filled(b.memory, b.size));
}

// --------------------------------------------------------------------- io_uring

static bool older_than(int major, int minor)
{
	utsname u;
	int a = 0, b = 0;
	uname(&u);
	sscanf(u.release, "%d.%d", &a, &b);
	return a < major || (a == major && b < minor);
}

struct Ring {
	io_uring ring;
	Ring() { BOOST_TEST_REQUIRE(io_uring_queue_init(64, &ring, 0) == 0); }
	~Ring() { io_uring_queue_exit(&ring); }
	io_uring_sqe *sqe() { return io_uring_get_sqe(&ring); }
	int result()
	{
		io_uring_cqe *cqe;
		BOOST_TEST_REQUIRE(io_uring_submit_and_wait(&ring, 1) >= 0);
		BOOST_TEST_REQUIRE(io_uring_wait_cqe(&ring, &cqe) == 0);
		const int n = cqe->res;
		io_uring_cqe_seen(&ring, cqe);
		return n;
	}
};

BOOST_AUTO_TEST_CASE(io_uring_transfers_with_ordinary_and_registered_buffers)
{
	Pool pool(64 * page);
	std::vector<char> own(64 * page + 123);
	char *const p = own.data() + 123;
	fill(p, pool.size);
	Ring r;
	iovec v{own.data(), own.size()};
	BOOST_TEST_REQUIRE(io_uring_register_buffers(&r.ring, &v, 1) == 0);
	io_uring_prep_write(r.sqe(), pool, p, unsigned(pool.size), 0);
	BOOST_TEST(r.result() == int(pool.size));
	BOOST_TEST(filled(pool.memory, pool.size));
	memset(pool.memory, 0, pool.size);
	io_uring_prep_write_fixed(r.sqe(), pool, p, unsigned(pool.size), 0, 0);
	BOOST_TEST(r.result() == int(pool.size));
	BOOST_TEST(filled(pool.memory, pool.size));
	memset(p, 0, pool.size);
	io_uring_prep_read_fixed(r.sqe(), pool, p, unsigned(pool.size - 1), 1, 0);
	BOOST_TEST(r.result() == int(pool.size - 1));
	BOOST_TEST((memcmp(p, pool.memory + 1, pool.size - 1) == 0));
}

BOOST_AUTO_TEST_CASE(pool_memory_serves_o_direct)
{
	Fd disk(open("/dev/vda", O_RDWR | O_DIRECT | O_CLOEXEC));
	BOOST_TEST_REQUIRE(disk >= 0);
	Pool pool(1 << 20);
	fill(pool.memory, pool.size);
	BOOST_TEST(pwrite(disk, pool.memory, pool.size, 0) == ssize_t(pool.size));
	memset(pool.memory, 0, pool.size);
	BOOST_TEST(pread(disk, pool.memory, pool.size, 0) == ssize_t(pool.size));
	BOOST_TEST(filled(pool.memory, pool.size));
}

BOOST_AUTO_TEST_CASE(pool_memory_is_a_registered_buffer)
{
	Fd disk(open("/dev/vda", O_RDWR | O_DIRECT | O_CLOEXEC));
	BOOST_TEST_REQUIRE(disk >= 0);
	Pool pool(4 << 20); // of huge entries
	fill(pool.memory, pool.size);
	BOOST_TEST(pwrite(disk, pool.memory, pool.size, 0) == ssize_t(pool.size));
	Ring r;
	iovec v{pool.memory, pool.size};
	const int e = io_uring_register_buffers(&r.ring, &v, 1);
	if (e == -EOPNOTSUPP && older_than(6, 5))
		return skip_case(
			"before Linux 6.5 io_uring registers no file's memory but tmpfs's");
	BOOST_TEST_REQUIRE(e == 0);
	memset(pool.memory, 0, pool.size);
	io_uring_prep_read_fixed(r.sqe(), disk, pool.memory, unsigned(pool.size), 0, 0);
	BOOST_TEST(r.result() == int(pool.size));
	BOOST_TEST(filled(pool.memory, pool.size));
}

BOOST_AUTO_TEST_CASE(pool_memory_is_sent_without_a_copy)
{
	Pool pool(1 << 16);
	fill(pool.memory, pool.size);
	Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	sockaddr_in a{};
	a.sin_family = AF_INET;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	socklen_t n = sizeof a;
	BOOST_TEST_REQUIRE(bind(listener, reinterpret_cast<sockaddr *>(&a), n) == 0);
	BOOST_TEST_REQUIRE(listen(listener, 1) == 0);
	BOOST_TEST_REQUIRE(getsockname(listener, reinterpret_cast<sockaddr *>(&a), &n) == 0);
	Fd sender(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	BOOST_TEST_REQUIRE(connect(sender, reinterpret_cast<sockaddr *>(&a), n) == 0);
	Fd receiver(accept(listener, nullptr, nullptr));
	Ring r;
	io_uring_prep_send_zc(r.sqe(), sender, pool.memory, pool.size, MSG_WAITALL, 0);
	BOOST_TEST_REQUIRE(io_uring_submit(&r.ring) == 1);
	std::vector<char> got(pool.size);
	BOOST_TEST(recv(receiver, got.data(), got.size(), MSG_WAITALL) == ssize_t(got.size()));
	BOOST_TEST(filled(got.data(), got.size()));
	BOOST_TEST(r.result() == int(pool.size));
}

// ----------------------------------------------------------- while they are going on

BOOST_AUTO_TEST_CASE(a_cancelled_transfer_has_not_happened_and_another_one_has_all_its_bytes)
{
	Held held;
	Pool pool(4 << 20);
	std::vector<char> own(4 << 20, 'x');
	Aio aio(64);
	for (int i = 0; i < 32; i++)
		aio.submit(pool, IO_CMD_PWRITE, own.data(), own.size(), 0);
	unsigned asked = 0;
	for (auto &r : aio.requests) {
		io_event e{};
		const int n = io_cancel(aio.context, &r, &e);
		BOOST_TEST((n == 0 || n == -EINPROGRESS || n == -EAGAIN || n == -EINVAL));
		asked += n == 0 || n == -EINPROGRESS;
	}
	if (held)
		BOOST_TEST(asked == 31u); // all but the one that has begun
	held.let_go();
	unsigned cancelled = 0;
	for (const auto &e : aio.reap(32)) {
		BOOST_TEST((long(e.res) == long(own.size()) || long(e.res) == -ECANCELED));
		cancelled += long(e.res) == -ECANCELED;
	}
	BOOST_TEST(cancelled == asked);
	BOOST_TEST(info(pool).cancelled == cancelled);
}

BOOST_AUTO_TEST_CASE(io_uring_cancels_no_transfer)
{
	Held held;
	Pool pool(4 << 20);
	std::vector<char> own(4 << 20, 'x');
	Ring r;
	for (unsigned i = 1; i <= 4; i++) {
		io_uring_sqe *const s = r.sqe();
		io_uring_prep_write(s, pool, own.data(), unsigned(own.size()), 0);
		s->user_data = i;
	}
	BOOST_TEST_REQUIRE(io_uring_submit(&r.ring) == 4);
	for (unsigned i = 1; i <= 4; i++) {
		io_uring_sqe *const s = r.sqe();
		io_uring_prep_cancel64(s, i, 0);
		s->user_data = 10 + i;
	}
	BOOST_TEST_REQUIRE(io_uring_submit(&r.ring) == 4);
	held.let_go();
	for (int i = 0; i < 8; i++) {
		io_uring_cqe *cqe;
		BOOST_TEST_REQUIRE(io_uring_wait_cqe(&r.ring, &cqe) == 0);
		BOOST_TEST(cqe->res == (cqe->user_data > 10 ? -ENOENT : int(own.size())));
		io_uring_cqe_seen(&r.ring, cqe);
	}
	BOOST_TEST(info(pool).cancelled == 0u);
}

BOOST_AUTO_TEST_CASE(memory_may_be_unmapped_during_a_transfer)
{
	Held held;
	Pool pool(4 << 20);
	char *const own = static_cast<char *>(mmap(nullptr, pool.size, PROT_READ | PROT_WRITE,
						   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	fill(own, pool.size);
	Aio aio(16);
	for (int i = 0; i < 4; i++)
		aio.submit(pool, IO_CMD_PWRITE, own, pool.size, 0);
	for (int i = 0; i < 4; i++)
		aio.submit(pool, IO_CMD_PREAD, own, pool.size, 0);
	munmap(own, pool.size);
	held.let_go();
	for (const auto &e : aio.reap(8))
		BOOST_TEST(long(e.res) == long(pool.size));
	BOOST_TEST(filled(pool.memory, pool.size));
}

BOOST_AUTO_TEST_CASE(what_a_child_of_fork_writes_does_not_disturb_a_transfer)
{
	Held held;
	Pool pool(1 << 20);
	std::vector<char> own(1 << 20), back(1 << 20);
	fill(own.data(), own.size());
	memcpy(pool.memory, own.data(), own.size());
	Aio aio;
	aio.submit(pool, IO_CMD_PREAD, back.data(), back.size(), 0);
	const pid_t child = fork();
	if (child == 0) {
		memset(back.data(), 'c', back.size());
		_exit(0);
	}
	memset(own.data(), 0, own.size());
	int status;
	BOOST_TEST(waitpid(child, &status, 0) == child);
	held.let_go();
	BOOST_TEST(long(aio.reap(1)[0].res) == long(back.size()));
	BOOST_TEST(filled(back.data(), back.size()));
}

BOOST_AUTO_TEST_CASE(a_process_may_end_during_its_transfers)
{
	const uint64_t before = settled();
	for (bool closed : {false, true}) {
		Held held;
		const pid_t child = fork();
		if (child == 0) {
			const int pool = create(8 << 20);
			char *const own = static_cast<char *>(malloc(8 << 20));
			memset(own, 1, 8 << 20);
			io_context_t context{};
			if (io_setup(16, &context) != 0)
				_exit(1);
			static iocb requests[8];
			for (iocb &r : requests) {
				io_prep_pwrite(&r, pool, own, 8 << 20, 0);
				iocb *p = &r;
				if (io_submit(context, 1, &p) != 1)
					_exit(2);
			}
			if (closed)
				close(pool);
			_exit(0);
		}
		held.let_go();
		int status;
		BOOST_TEST(waitpid(child, &status, 0) == child);
		BOOST_TEST(status == 0);
		BOOST_TEST(charged_eventually(before));
	}
}

BOOST_AUTO_TEST_CASE(a_closed_descriptors_transfers_end_with_their_data)
{
	Held held;
	std::vector<char> own(1 << 20), back(1 << 20);
	fill(own.data(), own.size());
	Aio aio;
	Fd pool(create(1 << 20));
	aio.submit(pool, IO_CMD_PWRITE, own.data(), own.size(), 0);
	aio.submit(pool, IO_CMD_PREAD, back.data(), back.size(), 0);
	pool.reset();
	held.let_go();
	for (const auto &e : aio.reap(2))
		BOOST_TEST(long(e.res) == long(own.size()));
	BOOST_TEST(filled(back.data(), back.size()));
}

BOOST_AUTO_TEST_CASE(a_failing_dma_engine_is_eio)
{
	if (access(Held::fail, W_OK) != 0)
		return skip_case(no_engine);
	Pool pool(1 << 20);
	std::vector<char> own(1 << 20);
	Aio aio;
	BOOST_TEST_REQUIRE(write_to(Held::fail, "1"));
	BOOST_TEST(aio.run(pool, IO_CMD_PWRITE, own.data(), own.size(), 0) == -EIO);
	BOOST_TEST_REQUIRE(write_to(Held::fail, "0"));
	BOOST_TEST(aio.run(pool, IO_CMD_PWRITE, own.data(), own.size(), 0) == long(own.size()));
	BOOST_TEST((info(pool).flags & SIGEVEC_POOL_DMA_ENGINE) != 0u);
	BOOST_TEST(info(pool).engine_bytes > 0u);
}

BOOST_AUTO_TEST_CASE(past_the_number_in_flight_a_submission_waits_or_says_eagain)
{
	Held held;
	if (!held)
		return skip_case(no_engine);
	Pool pool(page);
	static char own[page];
	Aio aio(1100);
	for (int i = 0; i < 1024; i++)
		aio.submit(pool, IO_CMD_PWRITE, own, page, 0);
	BOOST_TEST(info(pool).in_flight == 1024u);
	pollfd p{pool, POLLOUT, 0};
	BOOST_TEST(poll(&p, 1, 0) == 0);
	aio.requests.emplace_back();
	iocb *r = &aio.requests.back();
	io_prep_pwrite(r, pool, own, page, 0);
	r->aio_rw_flags = RWF_NOWAIT;
	BOOST_TEST_REQUIRE(io_submit(aio.context, 1, &r) == 1);
	BOOST_TEST(long(aio.reap(1)[0].res) == -EAGAIN);
	std::thread waiter([&] {
		iocb one, *q = &one;
		io_prep_pwrite(q, pool, own, page, 0);
		if (io_submit(aio.context, 1, &q) != 1)
			abort();
	});
	held.let_go();
	waiter.join();
	for (const auto &e : aio.reap(1025))
		BOOST_TEST(long(e.res) == long(page));
	BOOST_TEST(poll(&p, 1, 0) == 1);
}
