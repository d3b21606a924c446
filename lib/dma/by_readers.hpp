// SPDX-License-Identifier: MIT
//
// Armed receives from streams of the network whose channel's readers receive themselves: no thread
// stands between the socket and who reads the event.
//
// The number by which the helper holds the socket is in the channel's instance of descriptors that
// its readers read (channel/reader_fds.hpp), for as long as there is something: level triggered, so
// that one call takes what it finds, and what it leaves is told of again. A stream loses nothing by
// waiting in its socket until somebody reads the channel. Datagrams would, and descriptors, which
// come over local sockets, would be kept open: those are the receiver's. So is a stream as soon as
// readers cannot go on with it: there is no room in a region or the
// channel, the program has closed its number, the channel's events are to be gathered
// (ec_moderate), a function of async_io_notify waits for it, too, or the kernel tells of something
// that nobody takes. It stays the receiver's then until nothing waits for it any more.
//
// Everything with the association's lock held, but for arrived().
#pragma once

#include "dma/association.hpp"

namespace sigevec::dma::by_readers {

// Whether the readers of the channel of the request that stands first receive for it, from now on
// or already.
bool watch(Association *a);
// They do no longer, and the receiver may. The socket stays held.
void leave(Association *a);

// One that readers receive for has something which nobody has taken: if they are told of it no
// more, it is the receiver's.
void look_again(Association *a);

// A socket of c's has something. By a reader, without a lock.
void arrived(Channel *c, uint64_t handle);

} // namespace sigevec::dma::by_readers
