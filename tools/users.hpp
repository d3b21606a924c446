// SPDX-License-Identifier: MIT
//
// Which processes have the library, whether they keep statistics or not.
#pragma once

#include <cstdint>
#include <vector>

namespace tool {

// Those whose maps can be read, but for the caller itself.
std::vector<uint32_t> processes_with_library();

} // namespace tool
