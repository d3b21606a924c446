// SPDX-License-Identifier: MIT
//
// A bufferevent of libevent's that stays in epoll while a program stops to read and begins again,
// writes at once, and waits for room in the channel of its base.
//
// It is an ordinary socket bufferevent, made by libevent, and whatever happens to data is done by
// libevent's own two functions, which read and write: what a program sees is libevent's doing. Only
// when they run is ours. Nothing is received before libevent receives it, so a bufferevent that is
// disabled, freed or given another descriptor leaves everything in the socket.
//
// `ev_read' is libevent's in everything but one: what disables reading while libevent's function
// for reading runs is done when that returns, as a server that answers what it reads enables
// reading again before (`in_read'). Until then only the time-out is taken away. What is disabled at
// any other time, or together with writing, is out of epoll at once: the program may close the
// descriptor, and its number may be another file's.
//
// `ev_write' is not in epoll. It waits for writing on the descriptor -1, so that it is added while
// libevent wants to write, and is made active when there is something to write and room for it. It
// has its turn, its priority and its time-out as ever. Room is asked for before it is waited for,
// or libevent's function simply tries, so requests are rare.
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
	bool read_first; // `ev_read' was added last: libevent runs it before `ev_write' when both
			 // are due
	bool in_read;    // libevent's function for reading runs
	bool put_off;    // `ev_read' is active behind `ev_write'
	bool read_due, write_due; // to be made active in this turn; until activate()
	bool write_active;        // and not run yet
	Request *room;            // what is asked of the channel; made when it is needed
};

struct Output {
	bool written;                         // something to the descriptor, ever
	signed char tcp, blocks;              // what the descriptor is; -1: not known yet
	bool fresh;                           // all that came before it has been written
	bool prompt;                          // our callback of it runs when some was written
	size_t raised;                        // the limit for one write, for so long; 0: it is not
	size_t limit;                         // what it is otherwise
	size_t left;                          // of it when some was last sent
	struct evbuffer_cb_entry *own;        // our callback of it
	struct evbuffer_cb_entry **own_place; // where that stands while it was the last to be added
};

// In lists of the loop's.
struct Listed {
	std::atomic<bool> marked;
	bool in_turn; // marked when the loop's turn had begun
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
	bool unlinked;                // its last reference has gone
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

inline bool in_channel(const Link *k)
{
	return !k->unlinked && k->mode == Link::Mode::channel;
}

inline bool waits_for_room(const Link *k)
{
	return k->room != nullptr && k->room->outstanding;
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

// What libevent calls in the channel's mode when its event is due; by the thread of the loop.
void read_ready(evutil_socket_t, short what, void *bev);
void write_ready(evutil_socket_t, short what, void *bev);
// The limit for one write is the program's again.
void lower_limit(Link *k);
// Asks for what k needs, and takes back what it does not want any more. By the thread of the loop.
void start(Link *k);
// The request has ended, and something may be due. False: it has been taken from the link. By the
// thread of the loop, as activate().
bool ended(Link *k, Request *r, ssize_t result, int error);
void activate(Link *k);
// The link forgets its descriptor: its requests are cancelled and abandoned. In the thread of the
// loop the channel holds it no longer after hand_over().
void abandon(Link *k);
// ---- descriptor.cpp

// The first descriptor, which bufferevent_socket_new has not been given.
void use(Link *k, evutil_socket_t fd);
// Another one, which may be about to connect.
void exchange(Link *k, evutil_socket_t fd);
// Gives the descriptor to libevent, for good.
void make_plain(Link *k);
// A socket of TCP's; a descriptor that blocks. Each is asked once.
bool is_tcp(Link *k);
bool blocks(Link *k);

} // namespace sigevec::glue
