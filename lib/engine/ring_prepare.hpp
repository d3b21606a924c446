// SPDX-License-Identifier: MIT
//
// The entry by which what is left of an operation goes into a ring: the driver's (ring.hpp), or a
// channel's (ring_channel/).
#pragma once

#include "config.h"
#include "request/request.hpp"

#ifdef HAVE_LIBURING

#include <liburing.h>

namespace sigevec {

// file: a descriptor of the ring's. flags: of the call, all of them. Returns the bytes of a
// transfer.
size_t prepare_sqe(struct io_uring_sqe *sqe, KeptOperation *o, int file, int flags);

} // namespace sigevec

#endif
