// SPDX-License-Identifier: MIT
//
// Where the memory of a region is from, and how it is kept in memory: one table of functions for
// each kind, tried in order. Knows nothing of pieces, handles and limits; those are region.cpp's
// and piece_allocator.cpp's.
//
// Locks: region.cpp's `changing' is held, but for lock().
#pragma once

#include <cstddef>
#include <cstdint>

namespace sigevec::dma {

struct Region;

namespace backing {

// Pages of imported memory that are locked because of the region.
struct Locked {
	static constexpr unsigned most = 8;
	struct {
		uintptr_t from;
		size_t size;
	} run[most];
	unsigned runs;
	bool complete; // with those that had been locked before, all of it is
};

struct Kind {
	// Finds memory for `size' and `flags' of a region: sets mapping, mapped, page_size, base.
	// 0, an errno, or `declines': the next kind is to be tried.
	int (*get)(Region *r);
	// Sees to it that the memory stays where it is, and says in held and reason how and why.
	// Again in a child of fork, which has the memory but not what held it.
	void (*hold)(Region *r);
	// Gives the memory back.
	void (*put)(Region *r);
};

constexpr int declines = -1;

// Memory of the library's own: the first kind that has some. 0 or an errno.
int allocate(Region *r);
// The program's, at r->base; size bytes from there on. Locks do not nest: of pages that the
// program, or another region, has locked nothing is changed (Locked).
void import(Region *r);

// For dma_stat, of memory that is registered with a ring as well.
const char *why_registered(const Region *r);

// DMA_LAZY: locks the pages that the region lies in, or unlocks them.
bool lock(Region *r, bool yes);

// Whether memory is a mapping of a file, which can be cut and grown again: the pages are not to be
// pinned. True also if that cannot be found out.
bool is_file(const char *base, size_t size);

} // namespace backing
} // namespace sigevec::dma
