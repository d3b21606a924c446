// SPDX-License-Identifier: MIT
//
// Writes to one file that must not, or cannot, run side by side: with O_APPEND they land in the
// order of the calls; the kernel takes other buffered writes to an inode one at a time anyway.
//
// The first request brings the file to a worker, which serves the queue until it is empty; those
// that come meanwhile travel by the list alone, without a hand-over. A queue is of an open file:
// whether a descriptor is that file the kernel is asked (kcmp), for inode numbers are not unique
// everywhere, and an append must stay behind the appends of its own file whatever fcntl has done to
// the flags between them. Where inode numbers are exact, writes that do not append may go through
// any open file with the same flags. Each is carried out by the flags that its file had at the
// call.
//
// An fsync that has to wait for such writes stands behind them in their queue, if it is of the same
// open file. It is carried out there when nothing is behind it, after the queue has ended: nobody
// waits for it. Otherwise the driver has it.
//
// Locks: one of 64, by inode, held by submitters only, for an fsync after order::syncs; it protects
// the list of queues. The worker needs none: requests are pushed to the queue by compare-exchange,
// and its end is marked the same way, after which the worker touches it no more. So no request
// needs the lock in order to end, and signals need not be blocked under it. A queue that has ended
// is freed by the next submitter that passes it.
#pragma once

#include "request/request.hpp"

namespace sigevec {

struct FileQueue;

namespace filequeue {

// 0: r will be carried out; or -errno. Not async-signal-safe.
int submit(Request *r);

// Whether no write to the file is queued or under way here.
bool empty(uint64_t dev, uint64_t ino);

// An fsync that must wait for others. False: there is no queue for it.
bool submit_behind(Request *sync);

// The request that made the queue; it goes to the worker, with the file, in the name of the queue.
Request *first(const FileQueue *q);

// By a worker: carries out all there is, on fd, which it closes, and ends the queue.
void serve(FileQueue *q, int fd);

void after_fork();

} // namespace filequeue
} // namespace sigevec
