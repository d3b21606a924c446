// SPDX-License-Identifier: MIT
//
// What can be waited for beside transfers: message queues, timers, name look-ups, signals,
// semaphores, locks, System V objects. Here: what they have in common, a Wait. Each kind has a file
// of its own and a table of what it does.
//
// A Wait is one thing that is waited for, from its submission until its last event has been read.
// Its event is a part of it, so a wait that was accepted never lacks memory; it is in the channel's
// queue at most once. Room in the channel is taken at submission (submit) and belongs to the Wait
// until its event goes into the queue.
//
// From the end of its submission until its last event is in the queue a wait is in the index
// (index.hpp), by channel and by data. A canceller takes out of it what is to end, asks for the end
// of all of these (Kind::cancel), and then waits for each (Kind::await): so the cost is that of
// what is cancelled, and a thread that has to see to the ends is asked once for all of them.
//
// Lifetimes: waits live in a pool that never shrinks. `life' counts references, in its low half;
// the high half is the generation, one more for each life, so that a number which the kernel gives
// back late (a timer's signal, a queue's cookie) finds nothing instead of another wait. References:
// one of whoever will tell the end, one of an event in a queue, and callers'.
//
// Locks: those of the index. Nothing of this may be called with a lock of a kind's held that its
// cancel() takes.
#pragma once

#include "base/chains.hpp"
#include "base/pool.hpp"
#include "base/queue.hpp"
#include "channel/event.hpp"
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
struct Kind;

// Parts of submit(). The wait has two references, the caller's and that of whoever will tell the
// end, and a credit of the channel.
int begin(const Kind *kind, ec_t ec, union sigval value, Wait **w);
void abandon(Wait *w);
void publish(Wait *w);

// What a kind of wait does. Slots that cannot be reached are nullptr.
struct Kind {
	// The event is read: fills in *d, of which ev_data is there. False: there is none after
	// all, and its credit is seen to. With the channel's `reading' held.
	bool (*describe)(Wait *w, event_data_t *d);
	// Nobody will read the event.
	void (*drop)(Wait *w);
	// It is to end before its time: ev_cancel, or (destroy) the end of its channel. Once in a
	// wait's life, and without waiting for other threads. True: it was outstanding.
	bool (*cancel)(Wait *w, bool destroy);
	// After cancel(): returns when its last event is in the queue, and nothing of its object's
	// is used any more. nullptr: that is so when cancel() returns.
	void (*await)(Wait *w);
	// Its descriptor is readable; by a reader of the channel.
	void (*ready)(Wait *w);
	bool one_call; // ev_cancel finds it
};

// Bits of Wait::flags.
constexpr uint32_t queued = 1;    // its event is in the queue, or on its way there
constexpr uint32_t ended = 2;     // there will be no further one
constexpr uint32_t cancelled = 4; // by ev_cancel: a last event is to say so
constexpr uint32_t settled = 8;   // its last event is in the queue, and its object is used no more
constexpr uint32_t awaited = 16;  // somebody sleeps until one of the next bits is set, or `settled'
constexpr uint32_t let_go = 32;   // its waiter has: the canceller leaves the object's queue

// A System V call, with its arguments (sysv.cpp).
struct SysvCall {
	enum class Op : uint8_t { receive, send, operate } op;
	int id;
	void *buf; // the message, or the operations: a copy
	size_t size;
	long type;
	int flags;
};

// One that waits, and where: guarded by the lock of sysv.cpp.
struct SysvWait {
	SysvCall call;
	enum class Place : uint8_t { queue, thread, tried, over } place;
	pid_t thread;   // that has it
	uint64_t queue; // what is the same of calls that are equal but for their buffers
	Links<Wait> links;
};

// A call of getaddrinfo_a: the program's list, and what addrinfo.cpp has of it.
struct NamesWait {
	const void *list;
	void *own;
};

// Where a futex waiter has a wait (futex_waiter.hpp).
struct WaiterPlace {
	uint8_t waiter, slot;
	bool seated;      // in the list of its slot
	bool begun;       // its waiter's thread looks after it
	bool over;        // it has ended, and is about to be settled
	bool left_behind; // its request in the waiter's ring is, and it has ended
	bool leaves; // its waiter has let go of it, its canceller is to leave the object's queue
	Wait *next, *next_called; // in lists of the waiter's
	Links<Wait> links;        // in its slot, or its waiter's ring
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
	uint64_t position; // in a barrier's or a condition variable's sequence; of a writer:
			   // whether it has slept
	struct __kernel_timespec deadline; // CLOCK_REALTIME
	WaiterPlace at;
};

struct Wait : Pooled {
	std::atomic<uint64_t> life;

	// Stable within a generation.
	const Kind *kind;
	Channel *channel;

	std::atomic<uint32_t> flags;
	std::atomic<uint64_t>
		count; // a timer's expirations that are not told yet; requests of a list
	std::atomic<timer_t> timer;
	std::atomic<int> overrun;
	int fd;           // of its own, in the table of the helper, closed with it; or -1
	uint64_t signals; // which, as the kernel has them
	ssize_t result;
	Notification notification;
	union {
		mqd_t queue;
		NamesWait names;
		struct sigevent signal;
		SysvWait sysv;
		SyncCall sync;
	};

	// Guarded by the lock of the index.
	enum class Listed : uint8_t { not_yet, yes, over } listed;
	Hook<Wait> of_channel, of_data;
	Wait *next_taken;  // the canceller's, once it has been taken out
	Hook<Wait> of_key; // of its kind: the number of a timer, the object of a System V call

	Wait() {}
};
static_assert(sizeof(Wait) <= 352);

// The way of every submission: a credit, a wait, what the kind does (start), the index; where that
// fails all is given back. start(): 0, and the reference of whoever will tell the end is used up,
// or the errno of the call. Returns that.
template <class Start> int submit(const Kind *kind, ec_t ec, union sigval value, Start start)
{
	Wait *w;
	int error = begin(kind, ec, value, &w);
	if (error != 0)
		return error;
	error = start(w);
	if (error != 0)
		abandon(w);
	else
		publish(w);
	return error;
}

// A number for the kernel to keep, and the wait it means, with a reference; nullptr: it is over.
// What comes back may be anything: the caller looks whether the wait is one of its kind, and of its
// channel.
uint64_t handle(const Wait *w);
Wait *find(uint64_t handle);

void hold(Wait *w);
void release(Wait *w);

// Its event happens: into the queue, with a reference and its credit. For one that is told once.
void push(Wait *w);
// The end of a wait that is told once, by whoever holds its reference.
void finish(Wait *w, ssize_t result);
// The same without an event.
void give_up(Wait *w);
// A thread that sleeps until one of these flags is set goes on.
void set_flags(Wait *w, uint32_t flags);
// For one that is told many times: its event happens, unless the one before has not been read.
// False: it has ended.
bool push_again(Wait *w);
// Its event has been taken from the queue, and the next one may come. False: it has ended, and
// there is no next one.
bool rearm(Wait *w);
// No further event. False: it has been called before.
bool end(Wait *w);
// Sleeps until one of these flags is set. Returns all.
uint32_t await_flags(Wait *w, uint32_t flags);
// A part of it, with a limit: `awaited' is among the flags that were seen.
void await_change(const Wait *w, uint32_t seen, const struct timespec *limit);

// Most kinds' describe(): the result as that of a call.
void describe_result(const Wait *w, event_data_t *d);

// A descriptor that readers of c read has something, as the kernel says: handle may be anything.
void readable(const Channel *c, uint64_t handle);

// As cancel::of_channel.
unsigned of_channel(const Channel *c, bool all, const void *data);

void after_fork();

} // namespace source
} // namespace sigevec
