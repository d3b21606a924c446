// SPDX-License-Identifier: MIT
//
// What loop.cpp (the turns of a loop) and registry.cpp (its life) share.
#pragma once

#include "glue/loop.hpp"

namespace sigevec::glue {

constexpr unsigned batch = 256; // events taken at once

// Cancels what is to be cancelled, and takes up to a batch of events; as ec_next_events.
int take(Loop *l, event_data_t *v, const struct timespec *timeout);

// A turn: the callback of Loop::ready and `soon'; of `wanted', which, made active by another
// thread, is not added any more, either.
void work(evutil_socket_t, short what, void *loop);
void work_wanted(evutil_socket_t fd, short what, void *loop);

} // namespace sigevec::glue
