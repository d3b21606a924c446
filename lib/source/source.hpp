// SPDX-License-Identifier: MIT
//
// What can be waited for beside transfers: message queues, timers, name look-ups, signals, semaphores, locks, System V objects.
// Here: what they have in common, a Wait. Each kind has a file of its own and a table of what it does.
//
// A Wait is one thing that is waited for, from its submission until its last event has been read. Its event is a part of it, so
// a wait that was accepted never lacks memory; it is in the channel's queue at most once. Room in the channel is taken
// at submission (channel::admit) and belongs to the Wait until its event goes into the queue.
//
// Lifetimes: waits live in a pool that never shrinks. `life' counts references, in its low half; the high half is the
// generation, one more for each life, so that a number which the kernel gives back late (a timer's signal, a queue's cookie) finds
// nothing instead of another wait. References: one of whoever will tell the end, one of an event in a queue, and callers'.
//
// Locks: none here. Nothing of this may be called with a lock of a kind's held that its cancel() takes.
#pragma once

#include "notify/event.hpp"
#include "sigevec/ec.h"

#include <atomic>
#include <cstdint>
#include <linux/time_types.h>
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <time.h>

namespace sigevec {

struct Channel;

namespace source {

struct Wait;
struct Protocol;

// What a kind of wait does. Slots that cannot be reached are nullptr.
struct Kind {
	// The event is read: fills in *d, of which ev_data is there. False: there is none after all, and its room is seen to. With
	// the channel's `reading' held.
	bool (*tell)(Wait *w, event_data_t *d);
	// Nobody will read the event.
	void (*drop)(Wait *w);
	// It is to end before its time: ev_cancel, or (destroy) the end of its channel. True: it was outstanding.
	bool (*cancel)(Wait *w, bool destroy);
	// Its descriptor is readable; by a reader of the channel.
	void (*ready)(Wait *w);
	bool one_call; // ev_cancel finds it
};

// Bits of Wait::flags.
constexpr uint32_t queued = 1;    // its event is in the queue, or on its way there
constexpr uint32_t ended = 2;     // there will be no further one
constexpr uint32_t cancelled = 4; // by ev_cancel: a last event is to say so
constexpr uint32_t watched = 8;   // a watcher has it
constexpr uint32_t settled = 16;  // nothing can be changed any more

// A System V call, with its arguments (sysv.cpp).
struct SysvCall {
	enum class Op : uint8_t { receive, send, operate } op;
	int id;
	void *buf; // the message, or the operations: a copy
	size_t size;
	long type;
	int flags;
};

// A lock of glibc's, and how far its protocol has come (sync*.cpp).
struct SyncCall {
	const Protocol *protocol;
	void *object;
	pthread_mutex_t *mutex; // of a condition variable
	const void *word;       // to sleep on, as long as it has this value
	uint32_t value;
	bool shared;     // between processes
	uint8_t stage;   // of the kind's protocol
	bool registered; // as a waiter of the object's
	bool timed;
	bool serial;       // the one of a barrier's round that is told so
	uint8_t watcher;
	uint64_t position; // in a barrier's or a condition variable's sequence; of a writer: whether it has slept
	struct __kernel_timespec deadline; // CLOCK_REALTIME
	Wait *next, *next_called;          // in lists of the watcher's
};

struct Wait {
	uint32_t index;
	std::atomic<uint32_t> next_free;
	std::atomic<uint64_t> life;

	// Stable within a generation.
	const Kind *kind;
	Channel *channel;

	std::atomic<uint32_t> flags;
	std::atomic<uint64_t> count; // a timer's expirations that are not told yet; requests of a list; registrations of a socket
	std::atomic<timer_t> timer;
	std::atomic<int> overrun;
	int fd; // of its own, closed with it; or -1
	ssize_t result;
	Notification notification;
	union {
		mqd_t queue;
		const void *list; // of getaddrinfo_a
		struct sigevent signal;
		SysvCall sysv;
		SyncCall sync;
	};

	Wait() {}
};

// One with room in the channel, and one reference: the caller's. nullptr: no memory.
Wait *create(const Kind *kind, Channel *c, union sigval value);

// A number for the kernel to keep, and the wait it means, with a reference; nullptr: it is over.
uint64_t handle(const Wait *w);
Wait *find(uint64_t handle);
// A reference to the wait with this index, if it is in use.
Wait *hold(uint32_t index);
uint32_t size();

// Async-signal-safe.
void release(Wait *w);

// Its event happens: into the queue, with a reference and its room. For one that is told once.
void push(Wait *w);
// The end of a wait that is told once, by whoever holds its reference.
void finish(Wait *w, ssize_t result);
// The same without an event.
void give_up(Wait *w);
// For one that is told many times: its event happens, unless the one before has not been read. False: it has ended.
bool push_again(Wait *w);
// Its event has been taken from the queue, and the next one may come. False: it has ended, and there is no next one.
bool rearm(Wait *w);
// No further event. False: it has been called before.
bool end(Wait *w);

// Most kinds' tell(): the result as that of a call.
void tell_result(const Wait *w, event_data_t *d);

// For channel/queue.cpp.
bool tell(const Notification &n, event_data_t *d);
void drop(const Notification &n);

// As cancel::of_channel.
unsigned of_channel(const Channel *c, bool all, const void *data);

void after_fork();

} // namespace source
} // namespace sigevec
