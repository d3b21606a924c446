// SPDX-License-Identifier: MIT
//
// The library's own threads: detached, with all signals blocked, counted for the end of the process
// (runtime/exit_watch.hpp).
#pragma once

namespace sigevec {

// Starts a detached thread with all signals blocked. Returns 0 or the error of pthread_create.
int start_thread(void *(*main)(void *), void *arg, const char *name);
// The same with a copy of the caller's table of descriptors from the start, for where a thread may
// not leave its table. EAGAIN: nor that. Locks: its own; no thread that it makes waits for that.
int start_thread_apart(void *(*main)(void *), void *arg, const char *name);
namespace apart {
void after_fork();
}
// The same for one that may have to run the program's functions: with the stack that a new thread
// has by default.
int start_program_thread(void *(*main)(void *), void *arg, const char *name);

} // namespace sigevec
