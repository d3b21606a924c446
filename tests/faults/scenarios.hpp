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

#define SCENARIO(name) void name();
#include "list.hpp"
#undef SCENARIO

} // namespace faults

#endif
