// SPDX-License-Identifier: MIT
//
// The ring as an object of the kernel's: its memory, its number, and the calls that enter it.
//
// Its memory is the library's own (IORING_SETUP_NO_MMAP, Linux 6.5), which a child of fork does not have and nobody can map through the descriptor.
// Its number is looked at before every call that takes it. Of the library's rings each knows which number was last whose; a file that is no ring
// refuses such calls; and a ring of the program's has no mark (bell.hpp), which nobody else can send it, for rings do not travel (Linux 6.7;
// before, the inode is looked at, which each ring has to itself). When the number is another file's the ring is lost, and the channel goes on
// without (single_leave.cpp). SINGLE_ISSUER: others who have the descriptor cannot enter it.
//
// The number is not registered with its thread, which would do without it: the registration would keep the ring, and the files of what is in
// it, when another thread has taken the channel over.
#include "channel/single.hpp"

#ifdef HAVE_LIBURING

#include "channel/bell.hpp"
#include "channel/own_epoll.hpp"
#include "runtime/by_descriptor.hpp"
#include "runtime/syscalls.hpp"
#include "runtime/uring_queue.hpp"
#include "uring.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>

namespace sigevec::single {

namespace {

constexpr unsigned ring_flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CLAMP |
				IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL;

ByDescriptor<Single> ring_of_number;

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

// In memory of the library's. 0 or -errno.
int open_in_own_memory(Single *s, unsigned entries, unsigned completions)
{
	struct io_uring_params p = {};
	p.flags = ring_flags | IORING_SETUP_NO_MMAP;
	p.cq_entries = power_of_two(completions);
	constexpr size_t page = 65536; // or smaller
	size_t sqes = (power_of_two(entries) * sizeof(struct io_uring_sqe) + page - 1) / page * page;
	size_t all = sqes + (p.cq_entries * sizeof(struct io_uring_cqe) + power_of_two(entries) * sizeof(unsigned) + page + page - 1) / page * page;
	void *m = mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return -ENOMEM;
	char *base = static_cast<char *>(m);
	set_user_address(&p.sq_off, base);
	set_user_address(&p.cq_off, base + sqes);
	int fd = -1;
	if (madvise(m, all, MADV_DONTFORK) == 0)
		fd = own_epoll::above_standard(static_cast<int>(syscall(SYS_io_uring_setup, entries, &p)), true);
	if (fd < 0) {
		int error = -errno;
		munmap(m, all);
		return error;
	}
	describe(&s->ring, p, base, base + sqes);
	s->ring.ring_fd = s->ring.enter_ring_fd = fd;
	s->memory = m;
	s->memory_size = all;
	return 0;
}

// In the kernel's.
int open_in_kernel_memory(Single *s, unsigned entries, unsigned completions)
{
	struct io_uring_params p = {};
	p.flags = ring_flags;
	p.cq_entries = completions;
	if (int e = io_uring_queue_init_params(entries, &s->ring, &p); e != 0)
		return e;
	int fd = own_epoll::above_standard(s->ring.ring_fd, true);
	s->ring.ring_fd = s->ring.enter_ring_fd = fd;
	if (fd >= 0 && io_uring_ring_dontfork(&s->ring) == 0)
		return 0;
	io_uring_queue_exit(&s->ring);
	return -EMFILE;
}

int open(Single *s, unsigned entries, unsigned completions)
{
	if (!no_own_memory.load(std::memory_order_relaxed)) {
		int e = open_in_own_memory(s, entries, completions);
		if (e != -EINVAL)
			return e;
		no_own_memory.store(true, std::memory_order_relaxed);
	}
	return open_in_kernel_memory(s, entries, completions);
}

// With its number, if it has one.
void close_new(Single *s)
{
	if (s->memory == nullptr) {
		io_uring_queue_exit(&s->ring);
		return;
	}
	if (s->ring.ring_fd >= 0)
		sys::close(s->ring.ring_fd);
	munmap(s->memory, s->memory_size);
}

} // namespace

bool open_ring(Single *s, unsigned entries, unsigned completions)
{
	int e;
	do {
		e = open(s, entries, completions > entries ? completions : entries * 2);
		entries /= 2;
		completions /= 4;
	} while (e == -ENOMEM && entries >= 8);
	struct stat st;
	if (e != 0)
		return false;
	s->claim = ring_of_number.make(s->ring.ring_fd);
	if (s->claim == nullptr || !bell::mark(s->ring.ring_fd) || sys::fstat(s->ring.ring_fd, &st) != 0) {
		s->claim = nullptr;
		close_new(s);
		return false;
	}
	s->claim->store(s, std::memory_order_release);
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	uring_queue::name_entries(&s->ring);
	return true;
}

bool has_number(const Single *s)
{
	if (s->claim == nullptr || s->claim->load(std::memory_order_acquire) != s)
		return false;
	struct stat st;
	int saved = errno;
	bool yes;
	if (s->words) // Linux 6.7
		yes = bell::is_ours(s->ring.ring_fd);
	else
		yes = sys::fstat(s->ring.ring_fd, &st) == 0 && st.st_ino == s->ino && st.st_dev == s->dev;
	errno = saved;
	return yes;
}

void close_ring(Single *s)
{
	if (!has_number(s))
		s->ring.ring_fd = s->ring.enter_ring_fd = -1;
	else
		s->claim->store(nullptr, std::memory_order_release);
	close_new(s);
}

namespace {

// What may be tried again. After anything else the ring is lost.
bool is_passing(int error)
{
	return error == EINTR || error == ETIME || error == EAGAIN || error == EBUSY || error == ENOMEM;
}

struct Argument {
	uint64_t mask;
	uint32_t mask_size, unused;
	uint64_t time;
};

int enter_kernel(Single *s, unsigned count, unsigned flags, const struct __kernel_timespec *rest)
{
	if (s->lost || !has_number(s)) {
		s->lost = true;
		return -EBADF;
	}
	bool prepared = s->pinned != 0 && prepare_to_let_go(s);
	int saved = errno;
	Argument a = {0, _NSIG / 8, 0, reinterpret_cast<uintptr_t>(rest)};
	flags |= rest != nullptr ? IORING_ENTER_EXT_ARG : 0;
	long n = syscall(SYS_io_uring_enter, s->ring.ring_fd, uring_queue::publish(&s->ring), count, flags, rest != nullptr ? &a : nullptr,
			 rest != nullptr ? sizeof a : size_t{_NSIG / 8});
	int error = n < 0 ? errno : 0;
	errno = saved;
	if (io_uring_sq_ready(&s->ring) == 0) {
		s->unsafe = 0;
		if (s->pinned != 0)
			let_go_of_pinned(s, prepared);
	}
	s->lost = error != 0 && !is_passing(error);
	return error != 0 ? -error : static_cast<int>(n);
}

// Whether the time of rest, counted from `begin', is up.
bool is_up(const timespec &begin, const struct __kernel_timespec *rest)
{
	if (rest == nullptr)
		return false;
	timespec now = monotonic_now();
	int64_t s = now.tv_sec - begin.tv_sec, ns = now.tv_nsec - begin.tv_nsec;
	if (ns < 0) {
		ns += 1000000000;
		s--;
	}
	return s > rest->tv_sec || (s == rest->tv_sec && ns >= rest->tv_nsec);
}

} // namespace

int submit(Single *s)
{
	return io_uring_sq_ready(&s->ring) != 0 ? enter_kernel(s, 0, 0, nullptr) : 0;
}

int submit_and_look(Single *s)
{
	return enter_kernel(s, 0, IORING_ENTER_GETEVENTS, nullptr);
}

int submit_and_wait(Single *s, unsigned count, const struct __kernel_timespec *rest)
{
	timespec begin = monotonic_now();
	// Which does not count as waiting for a device, where the kernel can tell the two apart (Linux 6.15).
	unsigned idly = (s->ring.features & IORING_FEAT_NO_IOWAIT) != 0 ? IORING_ENTER_NO_IOWAIT : 0;
	int n = enter_kernel(s, count, IORING_ENTER_GETEVENTS | idly, rest);
	if (n <= 0 || io_uring_cq_ready(&s->ring) >= count)
		return n < 0 ? n : 0;
	// Of a call that has taken something the kernel does not say why it came back.
	return is_up(begin, rest) ? -ETIME : -EINTR;
}

struct io_uring_sqe *get_sqe(Single *s)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);
	for (int left = 1000; sqe == nullptr && !s->lost && left > 0; left--) {
		enter_kernel(s, 0, 0, nullptr);
		sqe = io_uring_get_sqe(&s->ring);
	}
	if (sqe != nullptr)
		return sqe;
	// What is written there nobody sees: the operation goes on where the others do.
	s->lost = true;
	return &s->nowhere;
}

} // namespace sigevec::single

#endif
