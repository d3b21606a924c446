// SPDX-License-Identifier: MIT
//
// What readers (queue.cpp) and pushers (push.cpp) of a channel's queue share: whether it is empty,
// and its bell. Why the order is what it is: queue.cpp.
#pragma once

#include "channel/queue.hpp"

namespace sigevec::channel {

// Rings the bell, unless it has been rung.
void ring_now(Channel *c);
// The same, when it is time.
void ring(Channel *c);

bool empty(const Channel *c);

} // namespace sigevec::channel
