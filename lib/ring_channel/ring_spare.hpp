// SPDX-License-Identifier: MIT
//
// Rings that threads have had for channels which have ended, for their next ones.
//
// The kernel takes a moment, 20 ms or so, to take a ring apart, and interrupts its owner once more
// at the end of it. So the owner of a closed ring has to wait for that, or keep the ring. A ring
// that is kept has nothing in it, and no file. Locks: none; async-signal-safe but for keep().
#pragma once

#include "ring_channel/ring_channel.hpp"

#ifdef HAVE_LIBURING

namespace sigevec::ring_channel::spare {

// One of this thread's, or nullptr.
RingState *take(uint64_t owner);

// Whether keep() would do so.
bool may_keep(const RingState *s);
// By its owner, when all it had has ended. False: it is to be closed.
bool keep(RingState *s);

// In a child of fork: closes the parent's.
void close_in_child();

} // namespace sigevec::ring_channel::spare

#endif
