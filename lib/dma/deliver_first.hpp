// SPDX-License-Identifier: MIT
//
// An arrival, or its event, for the request that stands first in an association. All with the
// association's lock held.
#pragma once

#include "dma/association_impl.hpp"
#include "dma/deliver.hpp"
#include "dma/receive_impl.hpp"

namespace sigevec::dma::deliver {

// What r asks for.
receive::Want wanted(const Request *r);

// Whether a receive has met the end. A datagram socket that is shut down says EAGAIN to who does
// not wait.
bool is_end(const Association *a, ssize_t n);

// The first request. 0: there may be more to do; -EAGAIN, receive::no_room or -EBUSY: what has to
// be waited for.
ssize_t serve_first(Association *a, Outcome *o);

} // namespace sigevec::dma::deliver
