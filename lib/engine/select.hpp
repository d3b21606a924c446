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

// Hands r to the first engine that takes it. False: errno; nothing has been done.
bool submit(Request *r);

// A guess from earlier calls that fd is a file whose small reads come from the page cache, so that the attempt needs no
// other system call. Wrong guesses are harmless: the attempt itself never waits, but on a file with O_DIRECT, and a guess is
// used 32 times at most before the descriptor is looked at again.
bool probably_cached(int fd);
void remember(int fd, const Descriptor &d);
void forget(int fd);

void after_fork();

} // namespace sigevec::select
