// SPDX-License-Identifier: MIT
//
// What pools cost and save, measured in the guest: medians of turns, both sides in each turn. Lines
// begin with "figure". No bounds: those are in bench/README.md, and a guest without KVM is no
// machine to compare with.
#define BOOST_TEST_MODULE kmod_figures
#include "pool.hpp"

#include "transfers.hpp"

#include <algorithm>
#include <ctime>
#include <liburing.h>

namespace {

double seconds(clockid_t clock)
{
	timespec t;
	clock_gettime(clock, &t);
	return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

template <class F> double took(clockid_t clock, F f)
{
	const double start = seconds(clock);
	f();
	return seconds(clock) - start;
}

double median(std::vector<double> v)
{
	std::sort(v.begin(), v.end());
	return v[v.size() / 2];
}

/// Both in turns: "figure WHAT: A, B, ratio of B to A".
template <class A, class B> void compare(const char *what, int turns, A a, B b)
{
	std::vector<double> as, bs, ratios;
	for (int i = 0; i < turns; i++) {
		as.push_back(a());
		bs.push_back(b());
		ratios.push_back(bs.back() / as.back());
	}
	printf("figure %s: %.1f us, %.1f us, the second is %.2f of the first\n", what,
	       median(as) * 1e6, median(bs) * 1e6, median(ratios));
	fflush(stdout);
}

void *anonymous(size_t n, int flags)
{
	void *const p =
		mmap(nullptr, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | flags, -1, 0);
	BOOST_TEST_REQUIRE(p != MAP_FAILED);
	return p;
}

} // namespace

BOOST_AUTO_TEST_CASE(creating_and_mapping)
{
	constexpr size_t n = 64 << 20;
	compare(
		"64 MiB, mmap and mlock; a pool, created and mapped", 9,
		[] {
			void *p;
			double const t = took(CLOCK_MONOTONIC, [&] {
				p = anonymous(n, 0);
				if (mlock(p, n) != 0)
					abort();
			});
			munmap(p, n);
			return t;
		},
		[] {
			int fd;
			void *p;
			double const t = took(CLOCK_MONOTONIC, [&] {
				fd = create(n);
				p = mmap(nullptr, n, PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_POPULATE, fd, 0);
				if (p == MAP_FAILED)
					abort();
			});
			munmap(p, n);
			close(fd);
			return t;
		});
}

namespace {

/// The processor time of the caller: copying n bytes itself, and asking for it. The second part is
/// what a request costs whatever its size.
void submitting(const char *from_what, char *from, size_t n)
{
	Pool pool(1 << 20);
	Aio aio;
	char what[200];
	snprintf(what, sizeof what,
		 "%zu bytes from %s, processor time of the caller: memcpy; an asynchronous write "
		 "to the pool",
		 n, from_what);
	compare(
		what, 51,
		[&] {
			return took(CLOCK_THREAD_CPUTIME_ID, [&] { memcpy(pool.memory, from, n); });
		},
		[&] {
			double const t = took(CLOCK_THREAD_CPUTIME_ID,
					      [&] { aio.submit(pool, IO_CMD_PWRITE, from, n, 0); });
			aio.reap(1);
			aio.requests.clear();
			return t;
		});
}

} // namespace

BOOST_AUTO_TEST_CASE(the_submitting_thread)
{
	constexpr size_t n = 1 << 20;
	std::vector<char> own(n, 'x');
	submitting("ordinary pages", own.data(), 1);
	submitting("ordinary pages", own.data(), n);
	Pool source(2 * n);
	memset(source.memory, 'x', source.size);
	submitting("a pool of 2 MiB", source.memory, n);
}

BOOST_AUTO_TEST_CASE(the_submitting_thread_with_a_registered_buffer)
{
	constexpr size_t n = 1 << 20;
	Pool pool(n);
	std::vector<char> own(n, 'x');
	const iovec v{own.data(), n};
	io_uring ring;
	BOOST_TEST_REQUIRE(io_uring_queue_init(4, &ring, 0) == 0);
	BOOST_TEST_REQUIRE(io_uring_register_buffers(&ring, &v, 1) == 0);
	compare(
		"1 MiB from a registered buffer, processor time of the caller: memcpy; "
		"asynchronous",
		51,
		[&] {
			return took(CLOCK_THREAD_CPUTIME_ID,
				    [&] { memcpy(pool.memory, own.data(), n); });
		},
		[&] {
			io_uring_cqe *cqe;
			io_uring_prep_write_fixed(io_uring_get_sqe(&ring), pool, own.data(), n, 0,
						  0);
			double const t =
				took(CLOCK_THREAD_CPUTIME_ID, [&] { io_uring_submit(&ring); });
			if (io_uring_wait_cqe(&ring, &cqe) != 0 || cqe->res != int(n))
				abort();
			io_uring_cqe_seen(&ring, cqe);
			return t;
		});
	io_uring_queue_exit(&ring);
}

BOOST_AUTO_TEST_CASE(direct_io)
{
	const char *const path = access("/dev/nullb0", W_OK) == 0 ? "/dev/nullb0" : "/dev/vda";
	constexpr size_t n = 2 << 20;
	Fd disk(open(path, O_RDWR | O_DIRECT | O_CLOEXEC));
	if (disk < 0 || !write_to("/proc/sys/vm/nr_hugepages", "4"))
		return;
	Pool pool(n);
	char *const huge = static_cast<char *>(anonymous(n, MAP_HUGETLB));
	memset(huge, 1, n);
	auto reads = [&](char *p, size_t size) {
		return took(CLOCK_MONOTONIC, [&] {
			for (size_t at = 0; at < n; at += size)
				if (pread(disk, p + at, size, off_t(at)) != ssize_t(size))
					abort();
		});
	};
	for (size_t size : {size_t{4096}, size_t{65536}, size_t{1 << 20}}) {
		char what[200];
		snprintf(what, sizeof what,
			 "2 MiB read with O_DIRECT in pieces of %zu KiB from %s: into huge pages; "
			 "into a pool",
			 size / 1024, path);
		compare(
			what, 21, [&] { return reads(huge, size); },
			[&] { return reads(pool.memory, size); });
	}
	io_uring ring;
	BOOST_TEST_REQUIRE(io_uring_queue_init(64, &ring, 0) == 0);
	const iovec v[] = {{huge, n}, {pool.memory, n}};
	if (io_uring_register_buffers(&ring, v, 2) == 0) {
		auto fixed = [&](int which, size_t size) {
			return took(CLOCK_MONOTONIC, [&] {
				for (size_t at = 0; at < n; at += size) {
					io_uring_cqe *cqe;
					io_uring_prep_read_fixed(
						io_uring_get_sqe(&ring), disk,
						static_cast<char *>(v[which].iov_base) + at,
						unsigned(size), at, which);
					if (io_uring_submit_and_wait(&ring, 1) != 1 ||
					    io_uring_wait_cqe(&ring, &cqe) != 0 ||
					    cqe->res != int(size))
						abort();
					io_uring_cqe_seen(&ring, cqe);
				}
			});
		};
		compare(
			"2 MiB in pieces of 64 KiB, registered buffers: huge pages; a pool", 21,
			[&] { return fixed(0, 65536); }, [&] { return fixed(1, 65536); });
	}
	io_uring_queue_exit(&ring);
	munmap(huge, n);
	write_to("/proc/sys/vm/nr_hugepages", "0");
}
