// SPDX-License-Identifier: MIT
//
// The receiver: a thread that receives for sockets with DMA_LATEST, for armed requests, and for
// async_io_notify.
//
// It is a thread with the program's table of descriptors and an epoll instance of its own, which
// holds no socket: a socket that the program closes is gone. What requests hold they hold in the
// helper's table; the receiver fetches it for a moment, if the program has closed its own number.
// Started by the first who needs it.
//
// Three numbers of its own are in the program's table: the epoll instance, a signalfd that is never
// read (a signal that this thread alone has, blocked, wakes it), and a pidfd of the helper. Before
// use they are compared with copies in the helper's table; what the program has closed is made
// anew, and everything is watched again. What the instance tells is a place and a generation, and
// is checked: whoever else has got hold of it can make the receiver look at a socket, no more. No
// error of any call ends the thread: where it can wait for nothing it looks at all sockets now and
// then.
//
// Everything it does with an association it does with that one's lock
// held; requests are ended, and the program's functions called, without.
#pragma once

#include "dma/association.hpp"

namespace sigevec::dma::receiver {

// Whether all that arrives goes through the queue.
inline bool serves(const Association *a)
{
	return a->latest && !a->ended;
}

// Whether an armed request takes all that arrives, as long as there is room.
inline bool takes_all(const Association *a)
{
	return !a->latest && a->device == nullptr && !a->waiting.empty() &&
	       a->waiting.first()->multishot;
}

// With the association's lock held: the receiver will look when there is data. False: there is no
// thread or descriptor for that.
bool watch(Association *a);
void unwatch(Association *a);

// pool::signalled(tag) will run when the eventfd has been signalled. False: there is no thread or
// descriptor for that.
bool watch_eventfd(int fd, uint64_t tag);

// Somewhere there is room again. Any thread, async-signal-safe.
void look();

// With an association's lock held: its thread, if there is one, sees now and then whether who is to
// be told of an arrival still is.
void look_now_and_then();
// Starts the thread, if that can be.
void begin();
// There is a thread, and it looks at once. False: none can be had.
bool ensure();

// With the association's lock held: the receiver goes on with it when there is room.
void pause(Association *a);
// By dma/send.cpp: when the kernel has let go of something that this socket has sent, send::arrived
// is called with these. False: there is no thread or descriptor for that.
bool watch_sends(int file, uint32_t index, uint32_t life);

// Whether what is held in the helper's table can be fetched by the receiver. Not so: it is to be
// held in the program's.
bool can_hold_inside();
// By the receiver's thread: a number for the moment of what the helper holds, or -errno.
int fetch(int held);

// An association is about to stop for want of room.
void note_pause();

// async_io_notify. 0 or an errno.
int notify(int fd, void (*function)(int, void *), void *argument);

// In every child of fork. Async-signal-safe.
void close_in_child();
void after_fork();

} // namespace sigevec::dma::receiver
