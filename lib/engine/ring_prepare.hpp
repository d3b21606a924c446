// SPDX-License-Identifier: MIT
//
// The entries by which a request is put into the driver's ring (ring.hpp). file: the driver's
// descriptor.
#pragma once

#include "config.h"
#include "engine/transfer.hpp"
#include "request/request.hpp"

#ifdef HAVE_LIBURING

#include <liburing.h>

namespace sigevec::driver {

void prepare_socket_call(struct io_uring_sqe *sqe, Request *r, int file);
// p: what is left of r.
void prepare_write(struct io_uring_sqe *sqe, Request *r, int file, const transfer::Piece &p);
void prepare_read(struct io_uring_sqe *sqe, int file, const transfer::Piece &p);

} // namespace sigevec::driver

#endif
