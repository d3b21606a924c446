// SPDX-License-Identifier: MIT
//
// Buffered requests of one file take effect in the order of submission.
//
// Kernel AIO carries them out within io_submit, one after the other, and programs have come to rely
// on it. Here two of them run side by side unless their bytes overlap and one of them writes; then
// the later one is parked, with its file, until the earlier one has ended. Of a write that appends,
// or that makes the file longer, every byte from there on may be another's.
//
// Requests with O_DIRECT are in no order, as with the kernel. A read that the page cache can serve
// within the call is none of this where no write is outstanding.
//
// Locks: one of 64, by inode, with all signals blocked; no call is made under it.
#pragma once

#include "iocontext/context.hpp"

namespace sigevec::io::order {

// Whether no write is outstanding that o->place, a read, might have to wait for.
bool no_writes(const Operation *o);
// o->place says what it is to do. True: it may begin. Else it is to be parked.
bool enter(Operation *o);
// It is there, for whoever ends the wait.
void parked(Operation *o, Request *r);
// It has ended, or will not be: others may begin. Async-signal-safe.
void leave(Operation *o);

void after_fork();

} // namespace sigevec::io::order
