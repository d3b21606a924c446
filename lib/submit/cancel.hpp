// SPDX-License-Identifier: MIT
//
// Ending a request before its time.
#pragma once

#include "request/request.hpp"

namespace sigevec::cancel {

// Whether a request with this state word has yet to end.
bool outstanding(uint64_t word);

// The truth about one request, whose state was `word' when it was found to be the one that is
// meant: AIO_CANCELED (its end has been published), AIO_NOTCANCELED or AIO_ALLDONE. Not
// async-signal-safe. Whoever has cancelled calls helper::wake() in the end, so that its executor
// lets go of it.
int one(Request *r, uint64_t word);

// The same, and what is just being tried is not put back to wait. helper::wake() is the caller's.
int soon(Request *r, uint64_t word);

// All that were submitted on the number d.fd while it was the open file that it is now: what can be
// said of them together. Where the kernel does not compare files, opens alike of one inode are not
// told apart; of regular files they never are. helper::wake() is the caller's. Not
// async-signal-safe.
int on_file(const Descriptor &d);

// Every request whose event goes to a channel; of one-call requests only, and with this data,
// unless `all'. Returns how many were found outstanding. Not async-signal-safe.
unsigned of_channel(const Channel *channel, bool all, const void *data);

} // namespace sigevec::cancel
