// SPDX-License-Identifier: MIT
//
// Writes to one file that must not, or cannot, run side by side: with O_APPEND they land in the order of the calls; the
// kernel takes other buffered writes to an inode one at a time anyway.
//
// A queue exists as long as it holds requests. The first one brings the file to a worker, which serves the queue until it is
// empty; those that come meanwhile travel by the list alone, without a system call for the hand-over. A queue is known by the
// inode and the descriptor's flags: descriptors that agree in both write alike.
//
// Locks: one of 64, by inode, held with signals blocked, because workers need it to make progress. It protects the list of
// queues and their requests.
#pragma once

#include "request/request.hpp"

namespace sigevec {

struct FileQueue;

namespace filequeue {

// True: r will be carried out; false: errno. Signals need not be blocked.
bool submit(Request *r);

// By a worker: carries out all there is, on fd, which it closes.
void serve(FileQueue *q, int fd);

void after_fork();

} // namespace filequeue
} // namespace sigevec
