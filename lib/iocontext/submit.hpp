// SPDX-License-Identifier: MIT
//
// io_submit: one iocb after another is checked as the kernel checks it, and becomes a request like
// those of POSIX AIO.
#pragma once

#include "iocontext/context.hpp"
#include "iocontext/user_memory.hpp"

namespace sigevec::io {

// One that has been read from the program's list of addresses. 0 or -errno, as io_submit would
// return for it.
int submit_one(Context *c, uint64_t address, Pages *pages);

// The request of an operation that waits (a poll, a stream's transfer) is cancelled. False: it has
// begun, or ended.
bool cancel(Operation *o);
// All of a context's.
void cancel_all(Context *c);

} // namespace sigevec::io
