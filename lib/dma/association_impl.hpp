// SPDX-License-Identifier: MIT
//
// The association's own files: association.cpp (which there are, and what they hold),
// association_regions.cpp (which regions a socket has).
#pragma once

#include "dma/association.hpp"

namespace sigevec::dma::association {

// Held by dma_assoc and dma_disassoc, before any association's own lock.
extern Mutex changing;

// With `changing' held. nullptr: no memory.
Association *make(int fd, uint64_t cookie);
// With both locks held, or of one that is detached with its own. What nobody has read goes; what
// waits for it is returned, to be ended without a lock.
Request *end(Association *a);
// With `changing' held. The number is no longer a's socket: what waits for that goes on.
void leave_number(Association *a);

} // namespace sigevec::dma::association
