// SPDX-License-Identifier: MIT
//
// The one-call requests that are queued, by channel and data, so that ev_cancel costs what it
// cancels.
//
// A request is entered before it is handed over, and taken out by whoever ends it, before its end
// is told: what is found here may have ended a moment later, which its generation tells. Whoever
// looks through all requests may end one before it has been entered: then it is not entered any
// more. Locks: one for each of 64 groups, held for moments; nothing is taken under it.
#pragma once

#include "request/request.hpp"

#include <cstddef>

namespace sigevec::requests::index {

struct Found {
	Request *request;
	uint64_t word; // its state
};

// Nothing for a request with an aiocb.
void add(Request *r);
void remove(Request *r);

// Stores up to `most' of those with this channel and data. How many there are.
size_t find(const Channel *channel, const void *data, Found *v, size_t most);

void after_fork();

} // namespace sigevec::requests::index
