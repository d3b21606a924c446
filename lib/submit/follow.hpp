// SPDX-License-Identifier: MIT
//
// The beginning of an fsync: it is put behind what is outstanding on its file (request/order.hpp).
#pragma once

#include "request/order.hpp"

namespace sigevec::order {

// Makes the fsync wait for every outstanding request on its file. Not async-signal-safe.
void follow_all(Request *sync);

// Undoes it, before anyone could start the fsync. Not async-signal-safe.
void unfollow_all(Request *sync);

} // namespace sigevec::order
