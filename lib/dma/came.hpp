// SPDX-License-Identifier: MIT
//
// What comes of a receive, for each who may wait for it: one table. tests/contract/dma_cells has a
// line for each cell. What sockets differ in is decided before: which of these has come.
#pragma once

#include "dma/receive.hpp"

#include <cstdint>

namespace sigevec::dma {

enum class Came : uint8_t {
	data, // and what came beside it
	end,
	error,
	unconnected, // the error of a socket that is not connected, and may be yet
	nothing,
	not_now, // nothing, for who may not wait
	no_room, // the data are still in the socket
};

enum class Who : uint8_t {
	call,     // sio_recv; without room it waits if some comes back by itself
	request,  // ends with the first that comes
	armed,    // gets all that comes
	latest,   // the queue of DMA_LATEST, which takes all that comes; what is armed there has
		  // events that tell of it
	function, // of async_io_notify
	ahead,    // the receiver, in advance of calls
};

enum class Does : uint8_t {
	ends,   // is told, and asks no more
	gets,   // is told, and asks for more
	keeps,  // it is put by for whoever asks next
	calls,  // the program's function; and it is put by, if it is not in the socket any more
	waits,  // for the socket
	pauses, // until there is room
	drops,  // the oldest in the queue makes room, if there is one
	stops,  // it stays where it is, for whoever asks next
};

constexpr Does reaction(Came c, Who w)
{
	using enum Does;
	constexpr Does table[][6] = {
		// call, request, armed, latest, function, ahead
		{ends, ends, gets, keeps, calls, keeps},     // data
		{ends, ends, ends, keeps, calls, stops},     // end
		{ends, ends, ends, keeps, calls, keeps},     // error
		{ends, ends, ends, keeps, waits, keeps},     // unconnected
		{waits, waits, waits, waits, waits, waits},  // nothing
		{ends, ends, waits, waits, waits, waits},    // not_now
		{ends, pauses, pauses, drops, calls, stops}, // no_room
	};
	return table[static_cast<unsigned>(c)][static_cast<unsigned>(w)];
}

namespace receive {

// What the result of a call is, of which `end' says whether it was the end; waits: whoever has made
// it may.
constexpr Came came(ssize_t n, bool end, bool waits)
{
	if (end)
		return Came::end;
	if (n >= 0)
		return Came::data;
	switch (n) {
	case no_room:
		return Came::no_room;
	case -EAGAIN:
		return waits ? Came::nothing : Came::not_now;
	case -ENOTCONN:
	case -EINVAL:
		return Came::unconnected;
	default:
		return Came::error;
	}
}

} // namespace receive
} // namespace sigevec::dma
