// SPDX-License-Identifier: MIT
//
// dma_attach: a region is the receive memory of a network device's queue, by io_uring's zero-copy
// receive.
//
// A part of the region, at most half, is the area that is registered; its pages are the kernel's,
// until something arrives in them, and then a piece of the program's until that is released. A
// thread for each attachment has the ring (dma/zcrx_ring.hpp) and does nothing but what it is asked
// for: whoever receives for a connection asks it for what is there, up to so many bytes, and waits
// for the answer. So nothing is received ahead that was not asked for, as without it.
//
// Where the kernel, the card or the rights of the program do not allow it, and flags do not
// insist, the attachment is one by name only: data is received as ever, and `reason' says why.
//
// Lifetimes: a place in the table is used from dma_attach to dma_detach; the thread, and with it
// the ring, ends with that, or with the process. A child of fork has the region, and no attachment.
// Locks: `changing' for dma_attach and dma_detach; an attachment's own for who asks, after an
// association's, before nothing.
#pragma once

#include "dma/association.hpp"
#include "dma/receive.hpp"

#include <cstddef>
#include <sys/types.h>

struct dma_stat;

namespace sigevec::dma::attachment {

// dma_attach and dma_detach. 0 or an errno.
int attach(Region *r, const char *ifname, unsigned queue, unsigned flags);
int detach(Region *r, const char *ifname, unsigned queue);

// The region with whose attachment what is wanted of the socket is to be received; nullptr: none,
// it is received as ever. With the association's lock held, as the rest.
Region *of(const Association *a, const receive::Want &w);
// What the connection has, by that attachment: the first of it is *x, what has come with it is put
// into the queue, if the program has asked for more than its call does; without x all of it. Bytes
// or -errno as receive::one; not_here: it is to be received as ever.
constexpr ssize_t not_here = -4097;
ssize_t take(Association *a, Region *r, const receive::Want &w, Arrival *x);

void stat(const Region *r, struct dma_stat *s);
void after_fork();

} // namespace sigevec::dma::attachment
