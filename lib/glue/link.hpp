// SPDX-License-Identifier: MIT
//
// A bufferevent of libevent's that waits for data by one event for all of its life, and for room in
// the channel of its base.
//
// It is an ordinary socket bufferevent, made by libevent, and whatever happens to data is done by
// libevent's own two functions, which read and write: what a program sees is libevent's doing. Only
// when they run is ours. Nothing is received before libevent receives it, so a bufferevent that is
// disabled, freed or given another descriptor leaves everything in the socket.
//
// libevent's two events of the bufferevent are not in epoll meanwhile. `ev_read' has the
// descriptor, which libevent's TLS looks for there, but waits for nothing: it is a timer, and
// whether reading is wanted stands in `reading'. `ev_write' waits for writing on the descriptor -1:
// it is added while libevent wants to write. Both are made active when a wait of ours ends, and
// have their turn, their priority and their time-outs as ever.
//
// For data the base waits with an event of ours (`by_base'): a request would have to be made for
// each message. That event is taken out of epoll when it comes while nobody wants to read, not
// before, so that a server that stops reading while it answers pays nothing for that. Room is
// asked for before it is waited for, so requests are rare.
//
// The bufferevent's table of operations is a copy of libevent's with some functions of ours; the
// copy is the first member of Operations, a part of the Link, which is how a bufferevent leads to
// its Link.
//
// All members are read and written under the bufferevent's lock, if it has one, but for `marked'
// and what leads to the next one.
#pragma once

#include "bufferevent_ops.hpp"
#include "glue/loop.hpp"

#include <event2/buffer.h>
#include <event2/event.h>

namespace sigevec::glue {

struct Link;

// The bufferevent's table of operations, and what libevent's own functions were.
struct Operations {
	struct bufferevent_ops ops; // must be first
	const struct bufferevent_ops *plain;
	event_callback_fn plain_read, plain_write;
};

// What is waited for.
struct Waits {
	bool reading;    // EV_READ is wanted
	bool counted;    // among the loop's readers
	bool read_first; // `ev_read' was added last: libevent runs it before `ev_write' when both
			 // are due
	bool read_due, write_due; // the channel has said so; until activate()
	Request *room;            // what is asked of the channel; made when it is needed
	struct event by_base;     // added: data is waited for
};

struct Output {
	size_t left;                          // of it when some was last sent
	struct evbuffer_cb_entry *own;        // our callback of it
	struct evbuffer_cb_entry **own_place; // where that stands while it was the last to be added
};

// In lists of the loop's.
struct Listed {
	std::atomic<bool> marked;
	Link *next;
	Link *next_due;
};

struct Link : Operations, Waits, Output, Listed {
	struct bufferevent *bev; // nullptr: destructed
	Loop *loop;
	// Who waits for the descriptor: nobody, there is none; the channel; libevent; libevent
	// until the connection stands.
	enum class Mode : unsigned char { none, channel, plain, settling } mode;
	bool close_on_free, deferred; // of its options
	bool tcp;
	bool unlinked; // its last reference has gone
	evutil_socket_t fd;
};

inline Link *link_of(const struct bufferevent *bev)
{
	auto *ops = const_cast<struct bufferevent_ops *>(bev->be_ops);
	return static_cast<Link *>(reinterpret_cast<Operations *>(ops));
}

// `ev_write' waits on a descriptor that is none, so it is added while libevent wants to write.
inline bool writing(const Link *k)
{
	return event_pending(&k->bev->ev_write, EV_WRITE, nullptr) != 0;
}

// The bufferevent's lock, which its buffers share. Not bufferevent_lock(), which takes a reference
// as well, and so must not be called when the last one has gone.
class LockedBev {
public:
	explicit LockedBev(struct bufferevent *bev) : input_(bev->input) { evbuffer_lock(input_); }
	~LockedBev() { evbuffer_unlock(input_); }
	LockedBev(const LockedBev &) = delete;
	LockedBev &operator=(const LockedBev &) = delete;

private:
	struct evbuffer *input_;
};

// ---- readiness.cpp

// Whether data is waited for, so that reading needs nothing more.
bool base_waits(const Link *k);

// What libevent calls in the channel's mode when its event is due; by the thread of the loop.
void read_ready(evutil_socket_t, short what, void *bev);
void write_ready(evutil_socket_t, short what, void *bev);
// Asks for what k needs, and takes back what it does not want any more. By the thread of the loop.
void start(Link *k);
// The request has ended, and something may be due. False: it has been taken from the link. By the
// thread of the loop, as activate().
bool ended(Link *k, Request *r, ssize_t result, int error);
void activate(Link *k);
// The link forgets its descriptor: its requests are cancelled and abandoned. In the thread of the
// loop the channel holds it no longer after hand_over().
void abandon(Link *k);
// Whether it reads by our event has changed: a base with one that does goes on running.
void count(Link *k);

// ---- descriptor.cpp

// The first descriptor, which bufferevent_socket_new has not been given.
void use(Link *k, evutil_socket_t fd);
// Another one, which may be about to connect.
void exchange(Link *k, evutil_socket_t fd);
// Gives the descriptor to libevent, for good.
void make_plain(Link *k);

} // namespace sigevec::glue
