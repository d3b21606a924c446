// SPDX-License-Identifier: MIT
//
// The receiver: a thread that receives for sockets with DMA_LATEST, for armed requests, and for async_io_notify.
//
// It is a thread with the program's table of descriptors and an epoll instance of its own, which holds no socket: a socket that the
// program closes is gone. Started by the first who needs it. Everything it does with an association it does with that one's lock
// held; requests are ended, and the program's functions called, without.
#pragma once

#include "dma/association.hpp"

namespace sigevec::dma::receiver {

// Whether all that arrives goes through the queue.
inline bool serves(const Association *a)
{
	return a->latest && !a->ended;
}

// With the association's lock held: the receiver will look when there is data. False: there is no thread or descriptor for that.
bool watch(Association *a);
void unwatch(Association *a);

// pool::signalled(tag) will run when the eventfd has been signalled. False: there is no thread or descriptor for that.
bool watch_eventfd(int fd, uint64_t tag);

// Somewhere there is room again. Any thread, async-signal-safe.
void look();

// There is a thread. False: none can be had.
bool ensure();

// With the association's lock held: the receiver goes on with it when there is room.
void pause(Association *a);
// By dma/send.cpp: when the kernel has let go of something that this socket has sent, send::arrived is called with these. False: there is
// no thread or descriptor for that.
bool watch_sends(int file, uint32_t index, uint32_t life);
void unwatch_sends(int file);

// An association is about to stop for want of room.
void note_pause();

// async_io_notify. 0 or an errno.
int notify(int fd, void (*function)(int, void *), void *argument);

void after_fork();

} // namespace sigevec::dma::receiver
