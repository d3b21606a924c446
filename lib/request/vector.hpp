// SPDX-License-Identifier: MIT
//
// How much a request's copy of a vector is. The caller's may lie where another process writes, and
// have been another when it was looked at.
#pragma once

#include "request/request.hpp"

namespace sigevec::requests {

// The bytes in all that v stands for, of which o.done have been cut off or not.
size_t asked_for(const Operation &o, const Vector *v);

} // namespace sigevec::requests
