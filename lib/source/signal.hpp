// SPDX-License-Identifier: MIT
//
// ev_signal: a signalfd that the readers of the channel read.
//
// One signal at a time leaves the kernel for each call: the next one is taken when the event of the
// one before has been read. What waits stays pending, in the kernel's order; so nothing is lost,
// and the credit of one event is enough.
#pragma once

#include "source/source.hpp"

namespace sigevec::signals {

// Blocks the signals in the calling thread. 0 or the errno of the call.
int start(const sigset_t &set, ec_t ec, void *data);

} // namespace sigevec::signals
