// SPDX-License-Identifier: MIT
#include "base/own_ring.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "base/uring_queue.hpp"
#include "uring.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <sys/mman.h>

namespace sigevec {

namespace {

// The kernel takes no memory of ours.
std::atomic<bool> no_own_memory{false};

unsigned power_of_two(unsigned n)
{
	unsigned p = 1;
	while (p < n && p < 1u << 15)
		p *= 2;
	return p;
}

// In the last member of both structs, which has a name in newer headers only.
template <class Offsets> void set_user_address(Offsets *o, const void *address)
{
	static_assert(sizeof *o == 40);
	uint64_t a = reinterpret_cast<uintptr_t>(address);
	memcpy(reinterpret_cast<char *>(o) + 32, &a, sizeof a);
}

// Members that liburing 2.2 lacks.
template <class Queue> void set_size(Queue *q, unsigned entries)
{
	if constexpr (requires { q->ring_mask; }) {
		q->ring_mask = entries - 1;
		q->ring_entries = entries;
	}
}

void describe(struct io_uring *ring, const struct io_uring_params &p, char *sqes, char *rings)
{
	auto word = [&](uint32_t offset) { return reinterpret_cast<unsigned *>(rings + offset); };
	*ring = {};
	ring->flags = p.flags;
	ring->features = p.features;
	ring->sq.khead = word(p.sq_off.head);
	ring->sq.ktail = word(p.sq_off.tail);
	ring->sq.kring_mask = word(p.sq_off.ring_mask);
	ring->sq.kring_entries = word(p.sq_off.ring_entries);
	ring->sq.kflags = word(p.sq_off.flags);
	ring->sq.kdropped = word(p.sq_off.dropped);
	ring->sq.array = word(p.sq_off.array);
	ring->sq.sqes = reinterpret_cast<struct io_uring_sqe *>(sqes);
	set_size(&ring->sq, p.sq_entries);
	ring->cq.khead = word(p.cq_off.head);
	ring->cq.ktail = word(p.cq_off.tail);
	ring->cq.kring_mask = word(p.cq_off.ring_mask);
	ring->cq.kring_entries = word(p.cq_off.ring_entries);
	ring->cq.koverflow = word(p.cq_off.overflow);
	ring->cq.kflags = word(p.cq_off.flags);
	ring->cq.cqes = reinterpret_cast<struct io_uring_cqe *>(rings + p.cq_off.cqes);
	set_size(&ring->cq, p.cq_entries);
}

} // namespace

int OwnRing::open_in_own_memory(unsigned entries, unsigned completions, unsigned set_up)
{
	struct io_uring_params p = {};
	unsigned all_entries = power_of_two(entries);
	p.flags = set_up | IORING_SETUP_NO_MMAP | IORING_SETUP_CQSIZE;
	p.cq_entries = completions == 0 ? 2 * all_entries : power_of_two(completions);
	constexpr size_t page = 65536; // or smaller
	size_t sqes = (all_entries * sizeof(struct io_uring_sqe) + page - 1) / page * page;
	size_t all = sqes + (p.cq_entries * sizeof(struct io_uring_cqe) +
			     all_entries * sizeof(unsigned) + page + page - 1) /
				    page * page;
	void *m = mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return -ENOMEM;
	char *base = static_cast<char *>(m);
	set_user_address(&p.sq_off, base);
	set_user_address(&p.cq_off, base + sqes);
	int fd = -1;
	if (madvise(m, all, MADV_DONTFORK) == 0)
		fd = static_cast<int>(syscall(SYS_io_uring_setup, entries, &p));
	if (fd < 0) {
		int error = -errno;
		munmap(m, all);
		return error;
	}
	describe(this, p, base, base + sqes);
	ring_fd = enter_ring_fd = fd;
	memory_ = m;
	memory_size_ = all;
	return 0;
}

int OwnRing::open_in_kernel_memory(unsigned entries, unsigned completions, unsigned set_up)
{
	struct io_uring_params p = {};
	p.flags = set_up | (completions != 0 ? IORING_SETUP_CQSIZE : 0);
	p.cq_entries = completions;
	memory_ = nullptr;
	int e = io_uring_queue_init_params(entries, this, &p);
	if (e != 0)
		return e;
	e = io_uring_ring_dontfork(this);
	if (e != 0)
		io_uring_queue_exit(this);
	return e;
}

// A filter may let a ring be made, and not be entered.
int OwnRing::enter_once()
{
	return syscall(SYS_io_uring_enter, ring_fd, 0, 0, IORING_ENTER_GETEVENTS, nullptr,
		       _NSIG / 8) >= 0
		       ? 0
		       : -errno;
}

int OwnRing::open(unsigned entries, unsigned completions, unsigned set_up)
{
	int e = -EINVAL;
	if (!no_own_memory.load(mo::relaxed))
		e = open_in_own_memory(entries, completions, set_up);
	if (e == -EINVAL) {
		e = open_in_kernel_memory(entries, completions, set_up);
		if (e == 0)
			no_own_memory.store(true, mo::relaxed);
	}
	if (e == 0 && (e = enter_once()) != 0)
		close();
	if (e != 0)
		return e;
	uring_queue::name_entries(this);
	in_vain_ = 0;
	lost_ = false;
	return 0;
}

void OwnRing::note(int error)
{
	in_vain_ = uring_queue::is_shortage(error) ? in_vain_ + 1 : 0;
	if ((error > 0 && !uring_queue::is_passing(error)) || in_vain_ >= uring_queue::most_in_vain)
		lose();
}

void OwnRing::leave()
{
	sys::close(ring_fd);
	ring_fd = enter_ring_fd = -1;
}

void OwnRing::close()
{
	if (memory_ == nullptr) {
		io_uring_queue_exit(this);
		return;
	}
	if (registered())
		io_uring_unregister_ring_fd(this);
	if (ring_fd >= 0)
		sys::close(ring_fd);
	munmap(memory_, memory_size_);
	memory_ = nullptr;
}

} // namespace sigevec

#endif
