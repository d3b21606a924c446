// SPDX-License-Identifier: MIT
//
// Pieces of a region that the ring of a channel has been lent, for whatever arrives.
//
// A lender belongs to all sockets of the channel that are armed with the same region and size. The
// kernel takes a piece for each arrival, and the lender puts another one in its place. They are no
// pieces of the program's: dma_stat does not count them. Lifetime: as long as a socket is armed
// with it (`users').
#pragma once

#include "ring_channel/single.hpp"

#ifdef HAVE_LIBURING

#include "dma/region.hpp"

namespace sigevec::single {

struct Lender {
	Lender *next;
	dma::Region *region;
	size_t size; // of a piece
	uint16_t id;
	uint32_t entries, lent;
	uint32_t users;
	struct io_uring_buf_ring *ring;
	size_t mapped;
	char **piece; // by the kernel's number; nullptr: there is none
};

namespace lender {

// nullptr: the region is too small, or the kernel does not know of this.
Lender *find(Single *s, dma::Region *r, size_t size);
// Fills empty places, as far as there is room.
void lend(Lender *l);
// Takes what has arrived at a place, and fills that again if there is room.
char *take(Lender *l, uint32_t place);
// One user less.
void leave(Single *s, Lender *l);
// One that was found, and perhaps made, has got no user.
void end_if_unused(Single *s, Lender *l);

} // namespace lender
} // namespace sigevec::single

#endif
