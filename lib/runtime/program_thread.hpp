// SPDX-License-Identifier: MIT
//
// A thread with the program's table of descriptors, for what the helper cannot do with its own: receive or send descriptors in a
// message, and give an accepted connection its number.
//
// It makes no call that waits. The driver sends it a request when the descriptor is ready, with the file, and takes the
// request back; or a request that has ended, with the descriptor that is its result. Started by the first such request.
#pragma once

namespace sigevec::program_thread {

// True: it runs, and the driver knows the way. Not async-signal-safe.
bool ensure();

void after_fork();

} // namespace sigevec::program_thread
