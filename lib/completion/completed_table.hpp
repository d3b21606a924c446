// SPDX-License-Identifier: MIT
//
// The finished requests that nobody has asked aio_return about: what aio_waitcomplete gives out.
//
// A table of aiocb addresses that are never followed, because a program of the POSIX kind may throw
// an aiocb away without aio_return. The table has 65,536 places; past that older entries give way.
// Entry and removal cost one compare-exchange each, on a place that threads do not share.
#pragma once

#include <aio.h>

namespace sigevec::completed_table {

// Before the status is published; remembers the place in the aiocb. Async-signal-safe.
void add(struct aiocb *cb);

// aio_return: forget it, if it is there. cb may be anything. Async-signal-safe.
void remove(const struct aiocb *cb);

// Takes one out, or nullptr. Async-signal-safe.
struct aiocb *take();

void after_fork();

} // namespace sigevec::completed_table
