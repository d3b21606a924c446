// SPDX-License-Identifier: MIT
//
// aio_fsync waits for what was queued before it.
//
// There is no list of a file's requests to keep up to date on every transfer: the rare fsync looks
// through the pool for outstanding requests on its file and leaves its address in each. One such
// request can hold one fsync; a second fsync finds the first one outstanding and waits for that,
// which comes to the same. So an fsync that is cancelled stays in the way of the next one until its
// executor lets go of it, which is when all before it has ended.
#pragma once

#include "base/sync.hpp"
#include "request/request.hpp"

namespace sigevec::order {

// Held from the creation of an fsync until follow_all (submit/follow.hpp) has returned, so that of
// two fsyncs one finds the other. No request needs it in order to end.
extern Mutex syncs;

// A request has ended, or a cancelled fsync is let go: the fsync that waited for it may be free to
// run. Async-signal-safe.
void ended(Request *r);

// Whether any fsync has been accepted and not been freed yet: the journal may be closed to writers.
bool sync_outstanding();
void sync_begins();
void sync_is_freed();

void after_fork();

} // namespace sigevec::order
