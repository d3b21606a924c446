// SPDX-License-Identifier: MIT
//
// The figures of a channel in the statistics file (SIGEVEC_STATS).
#pragma once

#include "runtime/stats_file.hpp"

namespace sigevec::figures {

// A place for a channel's, or nullptr: off, or all are taken.
stats_file::Channel *open(int fd, unsigned flags, uint64_t limit);
void close(stats_file::Channel *c);

} // namespace sigevec::figures
