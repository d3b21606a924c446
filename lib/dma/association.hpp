// SPDX-License-Identifier: MIT
//
// A socket and the regions in which its data lands.
//
// An association belongs to a socket, which it knows by its cookie, and is found by the number that
// the socket has in the program's table. Whoever finds it asks the kernel whether the number still
// is the socket (Locked). It holds the socket only while requests wait for it, in the helper's
// table (or, where nothing can be fetched from there, by a duplicate), so close() of a socket is
// what it always was. If the number becomes another socket's meanwhile, the association is
// `detached', and ends with the last of its requests. What has been received and not been read
// waits in `queue'. Data is received by the calls that read, or, for DMA_LATEST, armed requests and
// async_io_notify, by the receiver (dma/receiver.hpp).
//
// Lifetimes: associations live in a pool that never shrinks; `fd' says whose this is, and `life'
// changes when it ends. Locks: `lock' protects everything in it, but for what is atomic; it is held
// for system calls that do not wait, never while waiting. It comes after a channel's `reading' and
// before nothing but the pool's own.
#pragma once

#include "base/memory_order.hpp"
#include "base/pool.hpp"
#include "base/queue.hpp"
#include "base/sync.hpp"
#include "dma/device.hpp"
#include "dma/region.hpp"
#include "request/request.hpp"

namespace sigevec::dma {

struct Ancillary;
struct Blocked;

// A piece that has data in it; busy, until somebody takes it.
struct Arrival {
	Region *region;
	char *piece;
	size_t size;     // of the piece
	size_t n;        // bytes of data, behind the head if there is one
	Ancillary *head; // there is room for a head before the data, and this is to be in it; or
			 // nullptr
};

// Its socket, by what numbers it has.
struct SocketNumbers {
	int fd = -1;        // the number; -1: free
	int held = -1;      // while requests wait: in the helper's table
	int held_here = -1; // or in the program's
	int inside = -1;    // the receiver's, for a moment, if `fd' is no longer the socket
	bool detached;      // the number is another socket's
	uint32_t life = 0;
	uint64_t cookie; // of the socket
};

// How the receiver watches it.
struct Watch {
	bool watched; // the receiver's epoll instance will tell when there is data
	bool edge;  // it tells of changes: an armed request takes all there is each time, or errors
		    // or a hang-up that nobody takes are there
	bool plain; // it has told of data and of nothing else
	bool emptied;       // the last call has found less data than there was room for
	bool paused;        // it has stopped for want of room in a region or a channel
	bool receivers;     // it is the receiver's as long as requests wait
	Channel *read_by;   // instead of the receiver the readers of this channel look, which it
			    // keeps (by_readers.hpp)
	bool asked_on;      // a reader asks once more after a full piece
	uint8_t full_alone; // full pieces after which it does not: nothing was there the last time
	bool shut;          // the receiver has been told that the socket is shut down
	bool ended; // with DMA_LATEST: nothing will come any more, and the receiver does not look
	uint8_t ahead;  // pieces that are received with one call
	uint8_t streak; // calls in a row that have found data
};

// What has been received and not been read.
struct ArrivalQueue {
	uint32_t queue_first, queue_count, queue_room;
	Arrival *queue;
};

// Who waits for what arrives.
struct Receivers {
	Blocked *blocked; // calls that wait in the kernel for data of their own

	// What an EC_SINGLE channel has in its ring for this (ring_channel/multishot_recv.cpp), or
	// nullptr.
	void *armed;
	Channel *armed_in;

	// Requests that wait for data, oldest first; a multishot one stays.
	Queue<Request> waiting;
	void (*notify)(int, void *);
	void *notify_argument;

	// Changes with every arrival; waited on by readers of a socket that the receiver serves,
	// who hold it as requests do.
	std::atomic<uint32_t> arrivals, sleepers;
};

struct Association : SocketNumbers, Watch, ArrivalQueue, Receivers, Pooled {
	Mutex lock;
	bool stream, local, latest;
	bool unattachable; // it is no TCP, or not TCP alone: it cannot be received by an attachment
	Device *device;    // of ether_open; nullptr: a socket
	int error;         // that the receiver has met, for the next call; 0: none
	size_t asked;      // by the last call
	size_t buffer;     // DMA_BUFSIZE, or 0
	uint32_t events;   // DMA_LATEST: on their way

	uint16_t region_count;
	uint16_t *regions;

	bool unreported; // something has come into it since async_io_notify's function was last
			 // called

	// With the lock held. Whether anything waits for the socket, and holds it.
	bool is_waited_for() const
	{
		return !waiting.empty() || armed != nullptr || sleepers.load(mo::relaxed) != 0;
	}
	// A reader is about to sleep, and has slept. False: the socket is gone.
	bool wait_for_arrival();
	void stop_waiting();
};

namespace association {

// The association of a descriptor; nullptr: none. Looked at with its lock, it may have become
// another's: see Locked.
Association *find(int fd);
Association *at(uint32_t index);
uint32_t count();
// Whether a function of async_io_notify waits for any of them.
bool any_call_back();

// One that is locked for a scope, if fd is the socket that it is of. If the number has become
// another file's, what it was is dropped.
class Locked {
public:
	explicit Locked(int fd) : a_(find(fd))
	{
		if (a_ != nullptr && !enter(fd))
			a_ = nullptr;
	}
	~Locked()
	{
		if (a_ != nullptr)
			a_->lock.unlock();
	}
	Locked(const Locked &) = delete;
	Locked &operator=(const Locked &) = delete;
	Association *operator->() const { return a_; }
	Association *get() const { return a_; }
	explicit operator bool() const { return a_ != nullptr; }

private:
	bool enter(int fd);

	Association *a_;
};

// The one that was at a place (see place_of), locked for a scope: whatever its number is by now.
// False: it has ended. The place may be any number.
class Remembered {
public:
	explicit Remembered(uint64_t place);
	~Remembered()
	{
		if (a_ != nullptr)
			a_->lock.unlock();
	}
	Remembered(const Remembered &) = delete;
	Remembered &operator=(const Remembered &) = delete;
	Association *operator->() const { return a_; }
	Association *get() const { return a_; }
	explicit operator bool() const { return a_ != nullptr; }

private:
	Association *a_ = nullptr;
};

// 0 or an errno.
int add(int fd, Region *r, unsigned flags);
int remove(int fd, Region *r);
// Ends the associations of sockets that have been closed.
void forget_closed();

// With the lock held. The descriptor to receive from.
inline int file_of(const Association *a)
{
	return a->inside >= 0 ? a->inside : a->fd;
}
// A request is about to wait: holds the socket. False: no descriptor can be had.
bool hold(Association *a);
// Requests may have ended: if none waits any more, lets go of the socket.
void let_go(Association *a);
// What a request that waits, or whoever else comes back to it, remembers the association by; never
// 0.
inline uint64_t place_of(uint32_t index, uint32_t life)
{
	return (uint64_t{life} << 32 | index) + 1;
}
inline uint64_t place_of(const Association *a)
{
	return place_of(a->index, a->life);
}
// A request that waits there has been cancelled. Without a lock.
void drop_cancelled(uint64_t place);

// 0, EBADF or ENOTSOCK.
int check_socket(int fd);
// With the lock held: whether its number is still its socket, or another number is.
bool still_there(const Association *a);
bool is_socket_of(int fd, const Association *a);

// Memory for so many, which is the queue's from now on: more than are in it.
void replace_queue(Association *a, Arrival *q, uint32_t room);
// The queue, with the lock held. False: no memory.
bool push(Association *a, const Arrival &x);
// The same, as the next one: it was there before what is in the queue.
bool put_back(Association *a, const Arrival &x);
Arrival pop(Association *a);
// If it is empty: an idle connection has no memory for one.
void free_queue(Association *a);

void after_fork();

} // namespace association
} // namespace sigevec::dma
