// SPDX-License-Identifier: MIT
//
// Pieces of a region that the ring of a channel has been lent, for whatever arrives.
//
// A buffer group belongs to all sockets of the channel that are armed with the same region and
// size. The kernel takes a piece for each arrival, and the buffer group puts another one in its
// place. They are no pieces of the program's: dma_stat does not count them. Lifetime: as long as a
// socket is armed with it (`users').
#pragma once

#include "ring_channel/ring_channel.hpp"

#ifdef HAVE_LIBURING

#include "dma/region.hpp"

namespace sigevec::ring_channel {

struct BufferGroup {
	BufferGroup *next;
	dma::Region *region;
	size_t size; // of a piece
	uint16_t id;
	uint32_t entries, lent;
	uint32_t users;
	struct io_uring_buf_ring *ring;
	size_t mapped;
	char **piece; // by the kernel's number; nullptr: there is none
};

namespace buffer_group {

// nullptr: the region is too small, or the kernel does not know of this.
BufferGroup *find(RingState *s, dma::Region *r, size_t size);
// Fills empty places, as far as there is room.
void refill(BufferGroup *l);
// Takes what has arrived at a place, and fills that again if there is room.
char *take(BufferGroup *l, uint32_t place);
// One user less.
void leave(RingState *s, BufferGroup *l);
// One that was found, and perhaps made, has got no user.
void end_if_unused(RingState *s, BufferGroup *l);

} // namespace buffer_group
} // namespace sigevec::ring_channel

#endif
