// SPDX-License-Identifier: MIT
//
// DMA regions: memory, its pieces, and how it is held.
//
// A handle is a number, never an address: place in the table and generation. So any value may be
// passed to any call. The table never shrinks and is the process's own; after fork the child has a
// copy, and the memory and the state of its pieces are the same pages.
//
// Lifetimes: a region lives from dma_alloc to dma_free, which refuses while requests or sockets use
// it (`users'); that no other thread is inside a sio_* call on it is the program's part. Locks:
// `changing' is held by dma_alloc, dma_import and dma_free.
#pragma once

#include "dma/backing.hpp"
#include "dma/piece_allocator.hpp"
#include "sigevec/dma.h"

#include <atomic>
#include <cstdint>

namespace sigevec::dma {

// Relaxed.
struct RegionFigures {
	std::atomic<uint64_t> sent, received, zero_copy, copied, rearms, full, dropped;
	// Where it is attached: in its place by the device, there by the kernel, by the library.
	std::atomic<uint64_t> placed, placed_by_kernel, placed_by_copy;
};

// What it was made of.
struct RegionMemory {
	char *base;            // as the program sees it: where the first piece can be
	size_t size;           // as given
	void *mapping;         // of ours; nullptr: imported
	bool of_file;          // imported, and a mapping of a file
	backing::Locked pages; // imported
	int pool_error; // why it is no pool of the kernel module's; ENOENT: there is no module
	size_t mapped;
	size_t page_size;
	unsigned flags;
};

struct Region : RegionMemory, RegionFigures {
	std::atomic<uintptr_t> handle; // 0: free
	uint64_t generation;
	PieceAllocator pieces;

	const backing::Kind *backing;
	dma_held held;
	const char *reason;

	// The ring of a driver that the memory is registered with; nullptr: none. Written by that
	// driver, in answer to dma_alloc and dma_free or when it starts a request that uses the
	// region, so never while it is made or ended.
	std::atomic<const void *> ring;
	// Whether it is still to be, if a request goes through a ring that it is not registered
	// with: another driver's, or a child's.
	std::atomic<bool> for_ring;

	// dma_attach (attachment.hpp): 1 + the place of that; 0: it is not attached. Not a child's.
	std::atomic<uint32_t> attached;

	// Outstanding requests, and associations. dma_free takes both from 0 to `gone'.
	std::atomic<uint32_t> requests, sockets;
	// DMA_LAZY: whether the memory is locked, and who is just changing that. Nobody waits for
	// it: who finds it taken leaves the change to who has it, who looks once more.
	std::atomic<bool> locked, locking;

	// Sends to be made with a copy before another one is tried without, and how many that will
	// be after the next failure. Hints.
	std::atomic<uint32_t> pause, next_pause;
};

namespace region {

constexpr uint32_t most = 1024;

// 0 or an errno.
int allocate(dma_mem_t *handle, size_t size, unsigned flags);
int import(dma_mem_t *handle, void *addr, size_t size, unsigned flags);
int release(dma_mem_t handle, size_t size);

// nullptr: none. Async-signal-safe.
Region *find(dma_mem_t handle);
Region *at(uint32_t index);
uint32_t index_of(const Region *r);
// What dma_free has to be called with.
size_t given_size(const Region *r);
// Another imported one that has some of this memory; nullptr: none. With `changing' held, or while
// neither ends.
Region *imported_in(uintptr_t from, size_t n, const Region *but);
// The one that has all of this memory; nullptr: none.
Region *around(const void *p, size_t len);

// The library's own writing into pieces. The program may cut the file that its imported memory is a
// mapping of, or not let it be written: then this is false. Async-signal-safe.
bool store(const Region *r, void *to, const void *from, size_t n);
// The same of its reading: the parts, one after the other, which lie in regions.
bool join(char *to, const struct iovec *v, size_t n);

// An asynchronous request begins to use the region, and uses it no more. Async-signal-safe.
void add_request(Region *r);
void remove_request(Region *r);

void stat(Region *r, struct dma_stat *s);

// Bytes that regions take together.
uint64_t charged();

void after_fork();

} // namespace region
} // namespace sigevec::dma
