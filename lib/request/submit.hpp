// SPDX-License-Identifier: MIT
//
// The way of a request from the checked call to an engine.
#pragma once

#include "request/request.hpp"

namespace sigevec::submit {

// 0: accepted, its end will be told (or has been). Else the errno of the call: nothing has been done, and the status of the
// aiocb says the same. Not async-signal-safe.
int start(Call &c);

// The same for a request whose event has room already; a refusal gives it back.
int start_with_room(Call &c);

// Puts an event into its channel, where it has room, with this result. 0 or EAGAIN.
int event(const Call &c, ssize_t result);

// The same for an fsync, for which a bad descriptor is an errno of the call (EBADF). One that is open for reading only is
// none: fsync takes it, too.
int start_sync(Call &c);

} // namespace sigevec::submit
