// SPDX-License-Identifier: MIT
//
// The workers: the helper's threads that carry out blocking calls. As many as are busy, up to the
// limit; beyond it one a second as long as jobs wait and none is taken, for blocked files must not
// hold up others.
#pragma once

#include "runtime/helper.hpp"

namespace sigevec::worker {

// After a job has been sent: asks for another thread when nobody is there to take it.
// Async-signal-safe.
void add_if_needed(helper::Helper *h);

// By the driver, whose table of descriptors the new thread shares.
void start(helper::Helper *h);

// By the driver, which is to look again soon if this is true: jobs wait, and there are as many
// workers as there may be. When none of these has taken a job for a second, they may be stuck in
// files that never answer, and one more is started.
bool watch(helper::Helper *h);

} // namespace sigevec::worker
