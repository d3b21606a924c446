// SPDX-License-Identifier: MIT
//
// The way of a request from the checked call to an engine.
#pragma once

#include "request/request.hpp"

namespace sigevec::submit {

// 0: accepted, its end will be told (or has been). Else the errno of the call: nothing has been
// done, and the status of the aiocb says the same. Not async-signal-safe.
int start(Call &c);

// The same for a request whose event has a credit already; a refusal returns it.
int start_with_credit(Call &c);

// The same for a descriptor that has been looked at, and an event that needs no credit: `tried'
// after `attempt'. What c.call_flags and d.flags say of the transfer holds, whatever fcntl does
// later.
int start_described(Call &c, const Descriptor &d, bool tried);
// Whether it has ended within the call.
bool attempt(Call &c, const Descriptor &d);

// Makes a request that is not to begin yet, with its file: 0 and *r, or an errno, and nothing has
// been done. begin_parked starts it, from any thread. Not async-signal-safe, begin_parked is.
int park(Call &c, const Descriptor &d, Request **r);
void begin_parked(Request *r);

// Makes a request that something else carries out (remote/interface.hpp): 0 and *r, or an errno,
// and nothing has been done; 0 and nullptr: it has been cancelled already.
int create_elsewhere(Call &c, Request **r);
// The end of one; who has cancelled it meanwhile has told it already.
void end_elsewhere(Request *r, ssize_t result);

// Puts an event into its channel, where it has a credit, with this result. 0 or EAGAIN.
int event(const Call &c, ssize_t result);

// The same for an fsync, for which a bad descriptor is an errno of the call (EBADF). One that is
// open for reading only is none: fsync takes it, too.
int start_sync(Call &c);

} // namespace sigevec::submit
