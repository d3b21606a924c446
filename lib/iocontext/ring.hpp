// SPDX-License-Identifier: MIT
//
// The memory of a context's ring, mapped twice: for the program and for the library.
#pragma once

#include "base/aio_ring.hpp"

#include <cstddef>
#include <cstdint>
#include <linux/aio_abi.h>

namespace sigevec::io {

using Ring = AioRing<struct io_event>;

// The program may move its view by mremap, as the kernel allows, or unmap it.
struct Views {
	Ring *own; // nullptr: no memory
	void *of_program;
	size_t bytes;
};

// How many events a ring has for io_setup(nr): 0, or -errno.
int events_for(unsigned nr, uint32_t *events);
Views map_ring(uint32_t events);
void unmap(const Views &v);
// In a child, which has no view: memory with nothing in it where the library's was. False: there is
// something else.
bool put_empty_memory(Ring *r, size_t bytes);
// Whether the program sees this ring at the address: what is written into one view appears in the
// other, and in no copy. By one thread at a time.
bool is_view(Ring *own, size_t bytes, void *address);

} // namespace sigevec::io
