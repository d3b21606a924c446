// SPDX-License-Identifier: MIT
//
// A bufferevent of libevent's whose data comes and goes through the channel of its base.
//
// It is an ordinary socket bufferevent, made by libevent: locks, references, callbacks, watermarks, limits of rate and timeouts are
// libevent's own. It believes that it has no descriptor, so its two events are never in epoll, and only say whether it wants to
// read or to write (they are added) and for how long (their timeouts). Its table of operations is a copy of libevent's with some
// functions of ours; the copy is the first member of the Link, which is how a bufferevent leads to its Link.
//
// Receives wait in the channel, one for each bufferevent, in memory of the link's. Sends never wait: they take a copy of what
// the socket has room for, and when it has none a request waits for that. So a bufferevent that is disabled, freed or given
// another descriptor has no part of its output under way.
//
// All members are read and written under the bufferevent's lock, if it has one, but for `marked' and `next'.
#pragma once

#include "bufferevent_ops.hpp"
#include "glue/loop.hpp"

#include <event2/buffer.h>
#include <event2/event.h>

namespace sigevec::glue {

struct Receive {
	Request request;
	bool full;     // an end that has not been told: result, error
	size_t size;   // of data
	size_t given;  // of result, to the program
	ssize_t result;
	int error;
	char data[];
};

struct Send {
	Request request;
	size_t size;
	char data[];
};

struct Link {
	struct bufferevent_ops ops; // must be first
	const struct bufferevent_ops *plain;
	struct bufferevent *bev; // nullptr: destructed
	Loop *loop;
	event_callback_fn plain_read, plain_write; // libevent's, for a descriptor in epoll
	// Who moves the data: nobody, there is no descriptor; the channel; libevent; libevent until the connection stands.
	enum class Mode : unsigned char { none, channel, plain, settling } mode;
	bool close_on_free;
	bool unlinked; // its last reference has gone
	evutil_socket_t fd;
	size_t next_size; // of what is received
	Receive *receive;
	Send *send;
	Request *room;
	std::atomic<bool> marked;
	Link *next;
};

inline Link *link_of(const struct bufferevent *bev)
{
	return reinterpret_cast<Link *>(const_cast<struct bufferevent_ops *>(bev->be_ops));
}

// The bufferevent's lock, which its buffers share. Not bufferevent_lock(), which takes a reference as well, and so must not be
// called when the last one has gone.
class LockedBev {
public:
	explicit LockedBev(struct bufferevent *bev) : input_(bev->input) { evbuffer_lock(input_); }
	~LockedBev() { evbuffer_unlock(input_); }
	LockedBev(const LockedBev &) = delete;
	LockedBev &operator=(const LockedBev &) = delete;

private:
	struct evbuffer *input_;
};

// ---- transfer.cpp, by the thread of the loop

// Prepares what k needs, and cancels what it does not want any more.
void start(Link *k);
// A request has ended. False: it has been taken from the link.
bool ended(Link *k, Request *r, ssize_t result, int error);
// The link forgets its descriptor: its requests are cancelled and abandoned, data that has come is dropped. In its own thread nothing
// is received from the descriptor after this.
void abandon(Link *k);
// Nobody wants to read, or to write, for now: no receive stays under way, and room is not waited for.
void stop(Link *k, short what);

// ---- descriptor.cpp

// Gives the descriptor to libevent, for good.
void make_plain(Link *k);
// A new descriptor, which may be about to connect.
void settle(Link *k, evutil_socket_t fd);

} // namespace sigevec::glue
