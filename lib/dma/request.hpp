// SPDX-License-Identifier: MIT
//
// Asynchronous requests on regions: AIO_DMA_BUF, LIO_DMA_READ, LIO_DMA_WRITE.
//
// A send holds its pieces, a receive from a socket that has no association, or from a file, fills a
// piece that is reserved at the call. Both go the ordinary way of a request; `ended' is called
// where its end is published, just before. A receive from an associated socket waits in the
// association without a piece, and the receiver ends it.
#pragma once

#include "request/request.hpp"
#include "sigevec/dma.h"

struct event_data;

namespace sigevec::dma {

// By the api: makes c, which is complete otherwise, a request on a region. 0 or the errno of the
// call. handle nullptr: an ev_* call.
int prepare_send(Call &c, dma_mem_t handle, bool any_region);
int prepare_receive(Call &c, dma_mem_t handle, bool message);
// ev_recv and its like; size: the most for one arrival, or receive::no_limit.
int prepare_wait(Call &c, size_t size, bool message);

// By the submission: r waits from now on; or a positive errno, with which it is to end. EAGAIN: the
// call is to be refused.
int enqueue(Request *r);

// The end of a request, before it is published, by whoever publishes it; also of one that was
// refused. Async-signal-safe.
void ended(Use &use, struct aiocb *cb, ssize_t result);

// use, of an ev_* call, has got its piece: dma_free leaves that one's region alone until the event
// has been read or dropped.
void keep_region(Use &use);
// What an event tells, with what it was admitted for. By the reader of a channel.
void describe(Request *r, struct event_data *d);
// Nobody will read the event.
void drop(Request *r);

} // namespace sigevec::dma
