// SPDX-License-Identifier: MIT
//
// The channel of an event_base: all bufferevents of the base that have no room to send wait in it
// (link.hpp). Its descriptor is an event of the base while requests are outstanding, so a loop ends
// when libevent's own would.
//
// Who changes a bufferevent, in whatever thread, only marks its link. The thread that runs the loop
// then takes all that are marked, prepares what they need, and hands it to the kernel with one
// call, which also brings what has ended. That only makes libevent's events active, which then have
// their turn and priority.
//
// Locks: a bufferevent's own lock (libevent's), then Loop::lock, then nothing. No lock of ours is
// held while a callback runs. Lifetime: from the base's first bufferevent until none is left and
// nothing is outstanding; one that is idle is kept for the next base, so that a server that has no
// connection for a moment keeps its ring.
#pragma once

#include "base/inbox.hpp"
#include "base/queue.hpp"

#include <atomic>
#include <event2/event_struct.h>
#include <pthread.h>
#include <sigevec.h>

#define SIGEVEC_EXPORT extern "C" __attribute__((visibility("default")))

namespace sigevec::glue {

struct Link;
Link *&next_due_of(Link *k);

class Mutex {
public:
	void lock() { pthread_mutex_lock(&mutex_); }
	void unlock() { pthread_mutex_unlock(&mutex_); }

private:
	pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
};

class Locked {
public:
	explicit Locked(Mutex &m) : m_(m) { m_.lock(); }
	~Locked() { m_.unlock(); }
	Locked(const Locked &) = delete;
	Locked &operator=(const Locked &) = delete;

private:
	Mutex &m_;
};

// A wait for a descriptor: what is asked of the channel, and the data of its event; allocated by
// malloc.
struct Request {
	bool outstanding;         // its event has not been handled
	bool cancelled, listed;   // in `to_cancel'; under the loop's lock
	std::atomic<Link *> link; // nullptr: abandoned, to be freed when its event comes
	Request *next;            // in `to_cancel'
	Request *later;           // in `early', and what its event said
	ssize_t result;
	int error;
};

// Its events in the base.
struct OwnEvents {
	// They are libevent's business, not the program's: they neither keep a loop running nor
	// count as its work.
	struct event ready;  // the channel's descriptor
	struct event wanted; // something is marked
	struct event soon; // the same, before the base looks at its descriptors; with the priority
			   // that events have by themselves
};

// Its turn in the base; the thread's that runs the loop, but for that thread itself.
struct Turn {
	std::atomic<pthread_t> thread; // that runs the loop; 0: not known yet
	Link *reader;                  // libevent's function for reading runs for it
	Queue<Link, next_due_of> due;  // an event is due, during work()
	bool working;                  // that thread is in work()
	bool once_more;                // `soon' has not been used in this turn of the base
	bool next_turn;                // `wanted' is added
};

// The channel, and what is outstanding there.
struct OwnChannel {
	ec_t ec;
	Mutex lock;           // for what follows
	unsigned outstanding; // requests whose event has not been taken
	bool prepared;        // something that the kernel does not know yet
	Request *to_cancel;   // by the thread of the loop
	Request *early;       // their events were taken by hand_over()
};

struct Loop : OwnEvents, Turn, OwnChannel {
	struct event_base *base;
	pid_t process;                   // a child of fork has no part in it
	Inbox<Link> marked, marked_soon; // the latter for `soon'
	unsigned links;                  // under the registry's lock
	Loop *next;
};

// The loop of a base, with one link more; nullptr: no channel can be made.
Loop *join(struct event_base *base);
// One link less. By the thread that runs the loop, or when it does not run.
void part(Loop *l);

// This is a child of fork, and the channel is its parent's.
bool is_parents(const Loop *l);

// l's link needs something. Any thread; the caller has the bufferevent's lock.
void mark(Link *k);

// In the thread of the loop: libevent's function for reading begins for k, or has ended (nullptr).
void set_reader(Loop *l, Link *k);
// In the thread of the loop, in a callback of that function's: its descriptor, with which reading
// has been disabled meanwhile, has been closed and is another file's. It is out of epoll.
void let_go_of(Loop *l, int fd);

// k was marked in an earlier turn of the base than this one, and is to be looked at in this one:
// libevent has been told of what it wants before it looked at its descriptors.
bool asks_next(const Link *k);

inline bool is_active(const struct event *ev)
{
	return (ev->ev_evcallback.evcb_flags & EVLIST_ACTIVE) != 0;
}

// activate() is called for k when all that has ended was taken from the channel.
void due(Link *k);

// Starts a request, r's. False: refused, nothing has been done. By the thread of the loop.
bool start_poll(Loop *l, Request *r, int fd, short events);
// Cancels it: in the thread of the loop with the next hand_over() or turn, otherwise at that loop's
// next turn.
void cancel(Loop *l, Request *r);
// In the thread of the loop: what was cancelled is so when this returns, and the kernel has let go
// of its descriptor.
void hand_over(Loop *l);
// Frees one that is not outstanding.
void release(Loop *l, Request *r);

} // namespace sigevec::glue
