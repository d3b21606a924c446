// SPDX-License-Identifier: MIT
//
// Waiting for requests: what aio_suspend and lio_listio(LIO_WAIT) share.
#pragma once

#include "base/sync.hpp"

#include <aio.h>

namespace sigevec {
struct Batch;
}

namespace sigevec::wait {

// Sleeps until one of the requests in the list has ended; entries that are nullptr do not count,
// and there must be another one. Returns 0, EINTR or ETIMEDOUT. A cancellation point.
// Async-signal-safe.
int for_list(const struct aiocb *const list[], int n, const Deadline &deadline);

// The same until all of a list of LIO_WAIT have ended, which the calling thread has submitted.
// Returns 0 or EINTR. No cancellation point.
int for_batch(Batch *b);

// aio_waitcomplete's: stores the request in *cb. Returns 0, EINTR or ETIMEDOUT. Not
// async-signal-safe.
int for_any(struct aiocb **cb, const Deadline &deadline);

} // namespace sigevec::wait
