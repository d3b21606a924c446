// SPDX-License-Identifier: MIT
//
// Requests whose file the helper cannot take: its table is as small as the program's, and both may
// have no room (RLIMIT_NOFILE).
//
// A new thread may begin with a copy of its maker's table, for which the limit does not count. So a
// carrier (engine/carrier.hpp) holds the file under the number that it has, and carries the request
// out by itself, by the call that waits; no executor gives it its turn.
//
// Receives and polls are attempted and waited for in between, as the driver does. Not here:
// accepts, and receives with which descriptors may come, for these belong into the program's table.
//
// Order: those of one open file and direction, and appending writes to one open file, take turns as
// they were submitted, behind what the driver has of their stream; an fsync waits for all before
// it. Whatever would stand behind one that is here comes here, too.
//
// Locks: one, for the list; submitters and cancellers hold it with all signals blocked. No request
// is ended under it.
#pragma once

#include "request/request.hpp"

#include <cstdint>

namespace sigevec {

struct OwnThread;

namespace alone {

// As Engine::submit; declined: -EAGAIN. Only within the call that r
// comes from, or where its number is known to be the file still.
int submit(Request *r);
bool any();
// stream::leave, of which who waits here has to know.
void leave_stream(uint32_t word);
// Whether r stands behind one that is here.
bool stands_behind(const Request *r);
// By the carrier, which has been told to.
void run(OwnThread *c);

// Of one that is here and waits: AIO_CANCELED, AIO_NOTCANCELED or AIO_ALLDONE; else not_here.
constexpr int not_here = -1;
int cancel(Request *r, uint64_t word);

// Whether r is here, and on another file than number fd of a thread's.
bool is_elsewhere(const Request *r, pid_t thread, int fd);

void after_fork();

} // namespace alone
} // namespace sigevec
