// SPDX-License-Identifier: MIT
//
// Events of the program's own (ec_post): small, for they are all that many channels are used for.
#pragma once

#include "channel/event.hpp"

namespace sigevec::posted {

// An event that c has a credit for; nullptr: no memory. Async-signal-safe unless the pool has to
// grow.
Notification *make(Channel *c, ssize_t result, int error, void *data);

// It has been read, or nobody will. Async-signal-safe.
void release(Notification &n);

void after_fork();

} // namespace sigevec::posted
