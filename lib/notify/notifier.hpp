// SPDX-License-Identifier: MIT
//
// SIGEV_THREAD: the threads that run the application's notification functions.
//
// They are ordinary threads of the process with the application's table of descriptors, made by a
// submission or by each other, never by the helper, whose descriptors are its own. They are kept
// for a while and used again; a function with attributes gets a thread of its own. One of them
// repeats the signals that the kernel had no room for (RLIMIT_SIGPENDING).
//
// Threads are made more slowly than requests end. Whoever asks for a function while most_waiting of
// them wait for their thread therefore waits a moment, so that what waits does not grow for ever.
#pragma once

#include "channel/event.hpp"

#include <cstdint>

namespace sigevec::notifier {

// Beyond these a submission is held back.
constexpr uint32_t most_waiting = 1024;

// Makes the first thread; if that fails, functions run on whatever thread of the application's
// completes the request. Not async-signal-safe.
void ensure();

// The same before a request with SIGEV_THREAD is accepted, in the submitter's thread: waits for at
// most 8 ms while too many functions wait. If none of them has got its thread by then, some more
// may wait the next time.
void admit();

// Async-signal-safe. The notification's reference is held until its function has returned.
void queue(Notification &n);

void after_fork();

} // namespace sigevec::notifier
