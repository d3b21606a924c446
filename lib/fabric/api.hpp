// SPDX-License-Identifier: MIT
//
// What the public functions have in common: api.cpp (endpoints, transfers), api_export.cpp (keys).
#pragma once

#include "fabric/endpoint.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace sigevec::fabric {

// 0, or -1 and errno.
int result_of(int error);

// Whose descriptor it is; nullptr: *error is an errno.
Endpoint *find(int fd, int *error);

} // namespace sigevec::fabric
