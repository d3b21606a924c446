// SPDX-License-Identifier: MIT
//
// A thread with the program's table of descriptors, for what the helper cannot do with its own: receive or send descriptors in a
// message, and give an accepted connection its number.
//
// It makes no call that waits. The driver gives it a request when the descriptor is ready, with the file, and takes the
// request back; or a request that has ended, with the descriptor that is its result. Started by the first such request.
//
// It fetches descriptors out of the helper's table by a pidfd of the driver's thread (Linux 6.9). That is the one number of its own in the program's
// table: nothing but a file of the process's own helper can be had by it, only by who may trace the process; to use it by mistake, when the program has closed it and
// used the number again, does nothing. Older kernels: a socket, over which the driver sends what is announced in memory.
#pragma once

#include "runtime/post.hpp"

namespace sigevec {
struct Request;
}

namespace sigevec::program_thread {

// True: it runs. Not async-signal-safe.
bool ensure();

// By the driver: a request (What::call or What::install) with the number in the helper's table that goes with it; of an installed one the
// thread sees to its closing. False: there is no thread.
bool give(helper::What what, Request *r, int file);

void after_fork();
// In every child of fork. Async-signal-safe.
void close_in_child();

} // namespace sigevec::program_thread
