// SPDX-License-Identifier: MIT
//
// The submission queue of a ring whose io_uring_enter is the library's own: liburing's submission has no place for all that is asked of it.
//
// With an array of indices (which newer versions of liburing ask the kernel to leave out, and then it is nullptr) the entry at a place of
// the queue is the one with that number: named once, for older versions of liburing do so with each submission.
#pragma once

#include "config.h"

#ifdef HAVE_LIBURING
#include <liburing.h>

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

} // namespace sigevec::uring_queue

#endif
