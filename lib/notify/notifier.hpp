// SPDX-License-Identifier: MIT
//
// SIGEV_THREAD: the threads that run the application's notification functions.
//
// They are ordinary threads of the process with the application's table of descriptors, made by a
// submission or by each other, never by the helper, whose descriptors are its own. They are kept
// for a while and used again; a function with attributes gets a thread of its own. One of them
// repeats the signals that the kernel had no room for (RLIMIT_SIGPENDING).
#pragma once

#include "channel/event.hpp"

namespace sigevec::notifier {

// Before a request with SIGEV_THREAD is accepted. Makes the first thread; if that fails, functions
// run on whatever thread of the application's completes the request. Not async-signal-safe.
void ensure();

// Async-signal-safe. The notification's reference is held until its function has returned.
void queue(Notification &n);

void after_fork();

} // namespace sigevec::notifier
