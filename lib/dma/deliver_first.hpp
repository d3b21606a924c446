// SPDX-License-Identifier: MIT
//
// An arrival, or its event, for the request that stands first in an association. All with the
// association's lock held.
#pragma once

#include "dma/association_impl.hpp"
#include "dma/came.hpp"
#include "dma/deliver.hpp"
#include "dma/receive_impl.hpp"

namespace sigevec::dma::deliver {

// What r asks for.
receive::Want wanted(const Request *r);

// What the result of a receive, or of the last in the queue, is. A datagram socket that is shut
// down says EAGAIN to who does not wait.
Came came_of(const Association *a, ssize_t n, bool last = true, bool waits = true);

// The first request. 0: there may be more to do; -EAGAIN, receive::no_room or -EBUSY: what has to
// be waited for.
ssize_t serve_first(Association *a, Outcome *o);

} // namespace sigevec::dma::deliver
