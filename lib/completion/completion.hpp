// SPDX-License-Identifier: MIT
//
// The one place where a result becomes visible.
//
// Order, the same for every request: the finished table, the result, the status word (with which
// the request belongs to the application again: its aiocb is not touched any more), sleepers, a
// waiting fsync, the notification.
#pragma once

#include "request/request.hpp"

namespace sigevec::completion {

// What a submission that was accepted looks like.
void begin(struct aiocb *cb);

// The status alone, if there is an aiocb. result: what the call would have returned, or -errno.
// Async-signal-safe.
void publish(struct aiocb *cb, ssize_t result);

// aio_return has been called.
void note_return();
// How many requests this thread has submitted, of POSIX AIO, that it has not asked aio_return
// about; a hint, since others may have, or nobody does.
int unreturned();

// A request that ended within the call: status, then the notification (neither SIGEV_THREAD nor
// SIGEV_EC: they need a Request).
void finish_call(const Call &c, ssize_t result);

// A request by its executor: as finish_call, and drops the executor's reference. Async-signal-safe.
void finish(Request *r, ssize_t result);

// The same after a thread has carried it out. Not mine: aio_cancel has been quicker, and told its
// end.
void finish_by_thread(Request *r, bool mine, ssize_t result);

// As finish, by aio_cancel, after it has won the state `cancelled': the executor's reference stays.
void finish_cancelled(Request *r);

} // namespace sigevec::completion
