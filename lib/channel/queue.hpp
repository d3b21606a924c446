// SPDX-License-Identifier: MIT
//
// The queue of a channel: for channel.cpp and queue.cpp.
#pragma once

#include "channel/channel.hpp"

namespace sigevec::channel {

// Part of a channel's life ends.
void drop(Channel *c, uint64_t what);

// Drops every event in the queue of a channel that has ended.
void drop_all(Channel *c);

// Blocked readers look again.
void wake_all(Channel *c);

} // namespace sigevec::channel
