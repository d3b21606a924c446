// SPDX-License-Identifier: MIT
//
// The scenarios. A new one goes into the list in scenarios.cpp.
#ifndef FAULTS_SCENARIOS_HPP
#define FAULTS_SCENARIOS_HPP

#include "scenario.hpp"

#include <string>

namespace faults {

/// aio_suspend until the request has ended.
void suspend(const aiocb *cb);
std::string link_of(int fd);
/// What a success has brought is what was to come.
void check(const char *what, const void *data, const void *expected, size_t n);

#define SCENARIO(name) void name();
#include "list.hpp"
#undef SCENARIO

} // namespace faults

#endif
