// SPDX-License-Identifier: MIT
//
// Waiting for requests: what aio_suspend and lio_listio(LIO_WAIT) share.
#pragma once

#include "runtime/sync.hpp"

#include <aio.h>

namespace sigevec::wait {

enum class Until { one, all };

// Sleeps until one, or all, of the requests in the list have ended; entries that are nullptr do not count, and there must be
// another one. Returns 0, EINTR or ETIMEDOUT. With `cancellable' a cancellation point. Async-signal-safe.
int for_list(const struct aiocb *const list[], int n, Until until, const Deadline &deadline, bool cancellable);

// aio_waitcomplete's: stores the request in *cb. Returns 0, EINTR or ETIMEDOUT. Not async-signal-safe.
int for_any(struct aiocb **cb, const Deadline &deadline);

} // namespace sigevec::wait
