// SPDX-License-Identifier: MIT
//
// The library's own threads: detached, with all signals blocked, counted for the end of the process
// (runtime/last_thread.hpp).
#pragma once

namespace sigevec {

// Starts a detached thread with all signals blocked. Returns 0 or the error of pthread_create.
int start_thread(void *(*main)(void *), void *arg, const char *name);
// The same for one that may have to run the program's functions: with the stack that a new thread
// has by default.
int start_program_thread(void *(*main)(void *), void *arg, const char *name);

} // namespace sigevec
