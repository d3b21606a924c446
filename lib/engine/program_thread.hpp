// SPDX-License-Identifier: MIT
//
// A thread with the program's table of descriptors, for what the helper cannot do with its own:
// receive descriptors in a message or in what is read (fanotify), and accept connections: the
// kernel looks for a number before it takes one out of the listener's queue. A thread that has left
// the program's table (CLONE_FILES) has another one for what it submits, made by it, which ends
// with the last of those requests.
//
// It makes no call that waits for longer than a moment. The driver gives it a request when the
// descriptor is ready, with the file, and takes the request back; or a request that has ended, with
// the descriptor that is its result. Started by the first such request.
//
// It fetches descriptors out of the helper's table by a pidfd of the driver's thread (Linux 6.9).
// That is the one number of its own in the program's table: nothing but a file of the process's own
// helper can be had by it, only by who may trace the process; to use it by mistake, when the
// program has closed it and used the number again, does nothing. Older kernels: a socket, over
// which the driver sends what is announced in memory.
#pragma once

#include "runtime/post.hpp"

#include <sys/types.h>

namespace sigevec {
struct Request;
struct TableThread;
} // namespace sigevec

namespace sigevec::program_thread {

// By the submitter: r->in_program, with the caller's table. False: there is none. Not
// async-signal-safe.
bool take(Request *r);

// By the driver: a request that is to be tried, with its file in the helper's table.
void give(Request *r, int file);
// By the driver, of what the thread has accepted or received: ends r there. Descriptors that nobody
// wants any more are closed in its table.
void end(TableThread *t, Request *r, ssize_t result);

void after_fork();
// In every child of fork. Async-signal-safe.
void close_in_child();

} // namespace sigevec::program_thread
