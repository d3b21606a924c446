// SPDX-License-Identifier: MIT
//
// The way of a request from the checked call to an engine.
#pragma once

#include "request/request.hpp"

namespace sigevec::submit {

// 0: accepted, its end will be told (or has been). Else the errno of the call: nothing has been done, and the status of the
// aiocb says the same. Not async-signal-safe.
int start(const Call &c);

} // namespace sigevec::submit
