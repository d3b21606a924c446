// SPDX-License-Identifier: MIT
//
// Which engine carries out a request: chosen for each one, by what the descriptor is.
#pragma once

#include "engine/engine.hpp"

#include <span>

namespace sigevec::select {

// All engines, in the order of `sigevec info'.
std::span<const Engine *const> all();

// Whether a call may be attempted within the submission.
bool inline_allowed();

// Whether kernel AIO is what a file with O_DIRECT is tried with first.
bool kernel_aio_first();

// Hands r to the first engine that takes it. False: errno; nothing has been done.
bool submit(Request *r);

// What this thread found when it last looked at a descriptor of a file: small reads need not look each time. A guess is used
// 32 times at most. Should the number have been closed and used again meanwhile, the data still comes from the right file,
// and nothing waits for data: attempts within the call are made with RWF_NOWAIT, which streams honour or refuse, and kernel
// AIO refuses what would wait; who gets such a refusal looks properly. The worst is a read that waits for the disk within the
// call, because the number has become a file with O_DIRECT. Files in memory have no RWF_NOWAIT: the number must be the same file.
bool guess(int fd, Descriptor *d);
void remember(const Descriptor &d);
void forget(int fd);

} // namespace sigevec::select
