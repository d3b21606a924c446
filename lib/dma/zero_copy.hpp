// SPDX-License-Identifier: MIT
//
// Sends that the kernel makes without a copy: the driver's (IORING_OP_SEND_ZC), and those of
// sio_send (dma/send.hpp).
//
// Such a send has two ends: its result, which is the request's, and later the word that nothing
// reads the memory any more, with whether it was copied after all. Until then the pieces stay held,
// whatever has become of the request.
//
// It is tried for large sends over IP. Where the kernel had to copy (the loopback device, a device
// without scatter-gather), it has done more work than for an ordinary send: then the next ones of
// the region are ordinary, 64 at first, twice as many each time, up to 4,096.
#pragma once

#include "request/request.hpp"

namespace sigevec::dma {

struct Region;

struct ZeroCopy {
	Request *request; // until its result is there; nullptr: of sio_send
	Use use;
	ZeroCopy *next;  // of a socket (dma/send.cpp)
	uint32_t number; // as the kernel counts its sends
};

namespace zero_copy {

// The first pause, in sends.
constexpr uint32_t first_pause = 64;

// From here on a copy is assumed to cost more than to do without.
constexpr size_t least = 32 * 1024;

// Whether a send of a region should be tried without a copy, after those that have failed. Asked
// once for each.
bool is_time(Region *r);
// The same for a request.
bool wanted(const Call &c);

// By the driver: there is no ring to do it with.
void without_ring();
// Whether one of r's may be made at all.
bool possible(const Request *r);
// By the driver: for a piece of this length of r, on its descriptor. nullptr: an ordinary send.
ZeroCopy *begin(Request *r, int file, size_t len);
// The result is there. more: the other end is still to come.
void ended(ZeroCopy *z, ssize_t result, bool more);
// It has not been sent.
void forget(ZeroCopy *z);
// The memory is free again.
void released(ZeroCopy *z, bool copied);

} // namespace zero_copy
} // namespace sigevec::dma
