// SPDX-License-Identifier: MIT
//
// The submission queue of a ring whose io_uring_enter is the library's own: liburing's submission
// has no place for all that is asked of it.
//
// With an array of indices (which newer versions of liburing ask the kernel to leave out, and then
// it is nullptr) the entry at a place of the queue is the one with that number: named once, for
// older versions of liburing do so with each submission.
#pragma once

#include "config.h"

#ifdef HAVE_LIBURING
#include "uring.h"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sigevec::uring_queue {

// Before anything is prepared.
inline void name_entries(struct io_uring *ring)
{
	unsigned n = ring->sq.array != nullptr ? io_uring_sq_space_left(ring) : 0;
	for (unsigned i = 0; i < n; i++)
		ring->sq.array[i] = i;
}

// Shows the kernel what has been prepared. How much that is.
inline unsigned publish(struct io_uring *ring)
{
	struct io_uring_sq *q = &ring->sq;
	q->sqe_head = q->sqe_tail;
	// Release: what has been prepared is seen before.
	io_uring_smp_store_release(q->ktail, q->sqe_tail);
	return q->sqe_tail - io_uring_smp_load_acquire(q->khead);
}

// Submits, and has the kernel tell what there is. 0 or the errno.
inline int submit_and_look(struct io_uring *ring)
{
	return syscall(SYS_io_uring_enter, ring->ring_fd, publish(ring), 0, IORING_ENTER_GETEVENTS,
		       nullptr, 0) < 0
		       ? errno
		       : 0;
}

// Whether wait_idly() is what it says (Linux 6.15).
inline bool waits_idly(const struct io_uring *ring)
{
	return (ring->features & IORING_FEAT_NO_IOWAIT) != 0;
}

// Submits, and sleeps until there is a completion or so much time has passed (nullptr: for ever).
// It does not count as waiting for a device, as a sleep in a ring does otherwise. What the ring has
// taken it says before it says why it has come back: that is looked for afterwards. 0 or the errno.
inline int wait_idly(struct io_uring *ring, const struct __kernel_timespec *time)
{
	struct {
		uint64_t mask;
		uint32_t mask_size, unused;
		uint64_t time;
	} argument = {0, _NSIG / 8, 0, reinterpret_cast<uintptr_t>(time)};
	unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG |
			 (waits_idly(ring) ? IORING_ENTER_NO_IOWAIT : 0);
	if (ring->enter_ring_fd != ring->ring_fd)
		flags |= IORING_ENTER_REGISTERED_RING;
	return syscall(SYS_io_uring_enter, ring->enter_ring_fd, publish(ring), 1, flags, &argument,
		       sizeof argument) < 0
		       ? errno
		       : 0;
}

// Whether a call that enters the ring may be tried again after this error. After any other the ring
// is lost: a filter that came later refuses it.
inline bool is_passing(int error)
{
	return error == EINTR || error == ETIME || error == EAGAIN || error == EBUSY ||
	       error == ENOMEM || error == EBADR;
}

// Memory or room that the kernel is short of, which is there again later, and often at once. A ring
// that is entered in vain so often without a pause is given up.
inline bool is_shortage(int error)
{
	return is_passing(error) && error != EINTR && error != ETIME;
}
constexpr unsigned most_in_vain = 1000;

} // namespace sigevec::uring_queue

#endif
