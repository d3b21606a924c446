// SPDX-License-Identifier: MIT
//
// The one place where notifications are sent.
#pragma once

#include "channel/event.hpp"

namespace sigevec::notify {

// A signal or nothing: at once. Returns false for the others, and for a signal that the kernel has
// no room for: these need a Notification.
// Async-signal-safe.
bool send_now(const Event &e);

// Any kind but notify_owner, whose owner is told by the completion. The owner of n must hold a
// reference for it; it is dropped once the notification has been delivered, and the list it belongs
// to is counted down then. Async-signal-safe.
void send(Notification &n);

// What follows a delivery: the list, the reference.
void delivered(Notification &n);

} // namespace sigevec::notify
