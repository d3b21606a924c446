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

// Hands r to the first engine that takes it. 0; or -errno: nothing has been done.
int submit(Request *r);

} // namespace sigevec::select
