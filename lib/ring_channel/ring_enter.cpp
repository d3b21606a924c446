// SPDX-License-Identifier: MIT
//
// The ring as an object of the kernel's: its memory, its number, and the calls that enter it.
//
// Its memory no child has (base/own_ring.hpp). Its number is looked at before every call that takes
// it. Of the library's rings each knows which number was last whose; a file that is no ring refuses
// such calls; and a ring of the program's has no mark (wakeup.hpp), which nobody else can send it,
// for rings do not travel (Linux 6.7; before, the inode is looked at, which each ring has to
// itself). When the number is another file's the ring is lost, and the channel goes on without
// (ring_detach.cpp). SINGLE_ISSUER: others who have the descriptor cannot enter it.
//
// The number is not registered with its thread, which would do without it: the registration would
// keep the ring, and the files of what is in it, when another thread has taken the channel over.
#include "ring_channel/ring_channel.hpp"

#ifdef HAVE_LIBURING

#include "base/by_descriptor.hpp"
#include "base/memory_order.hpp"
#include "base/shortage.hpp"
#include "base/syscalls.hpp"
#include "base/uring_queue.hpp"
#include "channel/own_epoll.hpp"
#include "channel/wakeup.hpp"
#include "uring.h"

#include <cerrno>

namespace sigevec::ring_channel {

namespace {

constexpr unsigned ring_flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
				IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CLAMP |
				IORING_SETUP_SUBMIT_ALL;

ByDescriptor<RingState> ring_of_number;

int open(RingState *s, unsigned entries, unsigned completions)
{
	int e = s->ring.open(entries, completions, ring_flags);
	if (e != 0)
		return e;
	s->ring.ring_fd = s->ring.enter_ring_fd = own_epoll::above_standard(s->ring.ring_fd, true);
	if (s->ring.ring_fd >= 0)
		return 0;
	e = -shortage(errno, EMFILE);
	s->ring.close();
	return e;
}

} // namespace

bool open_ring(RingState *s, unsigned entries, unsigned completions)
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
	if (s->claim == nullptr || sys::fstat(s->ring.ring_fd, &st) != 0) {
		s->claim = nullptr;
		s->ring.close();
		return false;
	}
	wakeup::mark(s->ring.ring_fd); // where that is refused its inode tells
	s->claim->store(s, mo::release);
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	return true;
}

namespace {

// Each ring has an inode to itself.
bool has_inode(const RingState *s)
{
	struct stat st;
	int saved = errno;
	bool yes =
		sys::fstat(s->ring.ring_fd, &st) == 0 && st.st_ino == s->ino && st.st_dev == s->dev;
	errno = saved;
	return yes;
}

} // namespace

bool has_number(const RingState *s)
{
	if (s->claim == nullptr || s->claim->load(mo::acquire) != s)
		return false;
	// Linux 6.7
	return (s->words && wakeup::is_ours(s->ring.ring_fd)) || has_inode(s);
}

// Closing, unlike entering, does something to any file: the mark is not asked, which a peer can
// send on one that is no ring.
void close_ring(RingState *s)
{
	if (!has_number(s) || !has_inode(s))
		s->ring.ring_fd = s->ring.enter_ring_fd = -1;
	else
		s->claim->store(nullptr, mo::release);
	s->ring.close();
}

namespace {

struct Argument {
	uint64_t mask;
	uint32_t mask_size, unused;
	uint64_t time;
};

int enter_kernel(RingState *s, unsigned count, unsigned flags, const struct __kernel_timespec *rest)
{
	if (s->ring.lost() || !has_number(s)) {
		s->ring.lose();
		return -EBADF;
	}
	bool prepared = s->pinned != 0 && prepare_to_let_go(s);
	int saved = errno;
	Argument a = {0, _NSIG / 8, 0, reinterpret_cast<uintptr_t>(rest)};
	flags |= rest != nullptr ? IORING_ENTER_EXT_ARG : 0;
	long n = syscall(SYS_io_uring_enter, s->ring.ring_fd, uring_queue::publish(&s->ring), count,
			 flags, rest != nullptr ? &a : nullptr,
			 rest != nullptr ? sizeof a : size_t{_NSIG / 8});
	int error = n < 0 ? errno : 0;
	errno = saved;
	if (io_uring_sq_ready(&s->ring) == 0) {
		s->unsafe = 0;
		if (s->pinned != 0)
			let_go_of_pinned(s, prepared);
	}
	s->ring.note(error);
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

int submit(RingState *s)
{
	return io_uring_sq_ready(&s->ring) != 0 ? enter_kernel(s, 0, 0, nullptr) : 0;
}

int submit_and_look(RingState *s)
{
	return enter_kernel(s, 0, IORING_ENTER_GETEVENTS, nullptr);
}

int submit_and_wait(RingState *s, unsigned count, const struct __kernel_timespec *rest)
{
	timespec begin = monotonic_now();
	// Which does not count as waiting for a device, where the kernel can tell the two apart
	// (Linux 6.15).
	unsigned idly =
		(s->ring.features & IORING_FEAT_NO_IOWAIT) != 0 ? IORING_ENTER_NO_IOWAIT : 0;
	int n = enter_kernel(s, count, IORING_ENTER_GETEVENTS | idly, rest);
	if (n <= 0 || io_uring_cq_ready(&s->ring) >= count)
		return n < 0 ? n : 0;
	// Of a call that has taken something the kernel does not say why it came back.
	return is_up(begin, rest) ? -ETIME : -EINTR;
}

struct io_uring_sqe *get_sqe(RingState *s)
{
	return s->ring.get_sqe([s] { enter_kernel(s, 0, 0, nullptr); });
}

} // namespace sigevec::ring_channel

#endif
