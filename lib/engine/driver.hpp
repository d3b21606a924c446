// SPDX-License-Identifier: MIT
//
// The driver: the helper's first thread. It keeps the order of streams and the fsyncs that wait,
// and has an io_uring where there is one, else an epoll descriptor.
//
// All it keeps belongs to its thread alone: nothing here is locked. Other threads speak to it
// through its inbox (runtime/helper.hpp).
#pragma once

#include "runtime/helper.hpp"

namespace sigevec::driver {

// The driver of a helper; nullptr: no memory. Freed with free() if its thread cannot be started.
void *create(helper::Helper *h);

// By the thread: makes what it waits with. False: no descriptor could be had.
bool prepare(void *driver);
// Its body. Never returns.
void run(void *driver);

bool on_driver_thread();

// From the driver's own call chain: look at streams and waiting fsyncs before going to sleep.
void look_later();

} // namespace sigevec::driver
