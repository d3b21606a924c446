// SPDX-License-Identifier: MIT
//
// Where the memory of a region is from, and how it is kept in memory: one table of functions for each kind, tried in order.
// Knows nothing of pieces, handles and limits; those are region.cpp's and slots.cpp's.
//
// Locks: region.cpp's `changing' is held, but for lock().
#pragma once

#include <cstddef>

namespace sigevec::dma {

struct Region;

namespace backing {

struct Kind {
	// Finds memory for `size' and `flags' of a region: sets mapping, mapped, page_size, base. 0, an errno, or `declines': the next kind
	// is to be tried.
	int (*get)(Region *r);
	// Sees to it that the memory stays where it is, and says in held and reason how and why. Again in a child of fork, which has
	// the memory but not what held it.
	void (*hold)(Region *r);
	// Gives the memory back.
	void (*put)(Region *r);
};

constexpr int declines = -1;

// Memory of the library's own: the first kind that has some. 0 or an errno.
int allocate(Region *r);
// The program's, at r->base; size bytes from there on.
void import(Region *r);

// For dma_stat, of memory that is registered with a ring as well.
const char *why_registered(const Region *r);

// DMA_LAZY: locks the pages that the region lies in, or unlocks them.
bool lock(const Region *r, bool yes);

} // namespace backing
} // namespace sigevec::dma
