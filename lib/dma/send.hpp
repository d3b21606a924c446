// SPDX-License-Identifier: MIT
//
// sio_send: a copy, or none (MSG_ZEROCOPY).
//
// The same rule as for asynchronous sends (dma/zero_copy.hpp) says which is tried: large ones over
// TCP, with a pause after each that the kernel had to copy after all. The kernel says in the
// socket's error queue when it has let go of the memory, and whether it copied; until then the
// pieces are held, whatever the program releases. The receiver's thread reads that queue.
//
// Lifetimes: a Sender belongs to a socket, from its first such send until its number is another
// socket's. It holds the socket, in the helper's table, while the kernel has not let go of
// everything, for a closed socket's queue cannot be read. In a child of fork there are none: the
// numbers that the kernel gives to sends are the socket's, and the parent counts them. Locks:
// `making' before a Sender's own, which is held for system calls that do not wait.
#pragma once

#include "dma/region.hpp"

#include <sys/socket.h>

namespace sigevec::dma::send {

// All of m's vector lies in regions, r has the first part; nullptr: there is none. Bytes or -errno.
ssize_t call(int fd, Region *r, const struct msghdr &m, int flags);

// By the receiver: the queue of one has something. index, life: as watch() got them.
void arrived(uint32_t index, uint32_t life);

// By the receiver, whose epoll instance is a new one.
void watch_again();
// What the receiver may not have been told of. Whether anything is still with the kernel.
bool look_again();

void after_fork();

} // namespace sigevec::dma::send
