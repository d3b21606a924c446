// SPDX-License-Identifier: MIT
//
// Reading and receiving without waiting, so that it comes to what the call that waits would have
// come to. The kernel's answer to a call that does not wait is another one after SHUT_RD on
// messages, and it does not know of MSG_WAITALL, of time limits, or of how a terminal waits.
#pragma once

#include "request/request.hpp"

namespace sigevec::transfer {

// Of MSG_WAITALL nothing is left where it means nothing: on messages, and with MSG_PEEK on AF_UNIX
// sockets.
int flags_that_count(int fd, int flags);

// Whether the ring would wait for r otherwise than the call does, so that it is to be attempted and
// waited for between attempts.
bool waits_its_own_way(const Request *r, int fd);

// One attempt of r, a read or receive of a socket. -EAGAIN: the call would wait.
ssize_t receive(Request *r, int fd);

// How long a read waits at most, in ns: by SO_RCVTIMEO, or as a terminal is set. -1: without a
// limit; 0: it never waits.
int64_t time_limit(const Request *r, int fd);
// What r ends with when its time is up.
ssize_t timed_out(const Request *r);

// What r, a read, ends with when it has found nothing at all: of a terminal that has been hung up
// while it waited, the error.
ssize_t ended_empty(const Request *r, int fd);

} // namespace sigevec::transfer
