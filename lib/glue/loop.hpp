// SPDX-License-Identifier: MIT
//
// The channel of an event_base: all bufferevents of the base receive and send through it (link.hpp). Its descriptor is an event
// of the base while requests are outstanding, so a loop ends when libevent's own would.
//
// Who changes a bufferevent, in whatever thread, only marks its link. The thread that runs the loop then takes all that are
// marked, prepares what they need, and hands it to the kernel with one call, which also brings what has ended.
//
// Locks: a bufferevent's own lock (libevent's), then Loop::lock, then nothing. No lock of ours is held while a callback runs.
// Lifetime: from the base's first bufferevent until none is left and nothing is outstanding; one that is idle is kept for the
// next base, so that a server that has no connection for a moment keeps its ring.
#pragma once

#include <atomic>
#include <event2/event_struct.h>
#include <pthread.h>
#include <sigevec.h>

#define SIGEVEC_EXPORT extern "C" __attribute__((visibility("default")))

namespace sigevec::glue {

struct Link;

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

// What is asked of the channel, and the data of its event; the first member of what it needs, allocated by malloc.
struct Request {
	enum Kind : unsigned char { receive, send, room } kind;
	bool outstanding;         // its event has not been handled
	bool cancelled, listed;   // in `to_cancel'; under the loop's lock
	std::atomic<Link *> link; // nullptr: abandoned, to be freed when its event comes
	Request *next;
};

struct Loop {
	struct event_base *base;
	ec_t ec;
	pid_t process;       // a child of fork has no part in it
	struct event ready;  // the channel's descriptor
	struct event wanted; // something is marked
	int priority;        // of both
	std::atomic<Link *> marked;
	std::atomic<pthread_t> thread; // that runs the loop; 0: not known yet
	bool working;                  // that thread is in work()
	Mutex lock;                    // the channel, `outstanding', `to_cancel'
	unsigned outstanding;          // requests whose event has not been taken
	Request *to_cancel;            // by the thread of the loop
	unsigned links;                // under the registry's lock
	Loop *next;
};

// The loop of a base, with one link more; nullptr: no channel can be made.
Loop *join(struct event_base *base);
// One link less. By the thread that runs the loop, or when it does not run.
void part(Loop *l);

// l's link needs something. Any thread; the caller has the bufferevent's lock.
void mark(Link *k);

// Starts a request, r's. False: refused, nothing has been done. By the thread of the loop.
bool start_receive(Loop *l, Request *r, int fd, void *buf, size_t n);
bool start_send(Loop *l, Request *r, int fd, const void *buf, size_t n);
bool start_room(Loop *l, Request *r, int fd);
// Cancels it. If this is the thread of the loop nothing more is received for it when this returns. Any thread.
void cancel(Loop *l, Request *r);
// Frees one that is not outstanding.
void release(Loop *l, Request *r);

} // namespace sigevec::glue
