// SPDX-License-Identifier: MIT
//
// The workers: the helper's threads that carry out blocking calls. As many as are busy, up to the limit.
#pragma once

#include "runtime/helper.hpp"

namespace sigevec::worker {

// After a job has been sent: asks for another thread when nobody is there to take it. Async-signal-safe.
void add_if_needed(helper::Helper *h);

// By the driver, whose table of descriptors the new thread shares.
void start(helper::Helper *h);

} // namespace sigevec::worker
