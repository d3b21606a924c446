// SPDX-License-Identifier: MIT
//
// What readers (queue.cpp) and pushers (push.cpp) of a channel's queue share: whether it is empty,
// and its wakeup. Why the order is what it is: queue.cpp.
#pragma once

#include "channel/queue.hpp"

namespace sigevec::channel {

// As signal(), when it is time.
void signal_when_due(Channel *c);

bool empty(const Channel *c);

} // namespace sigevec::channel
