// SPDX-License-Identifier: MIT
//
// When libevent's functions for reading and writing run: what is asked of the channel, and what its
// answers lead to.
#include "glue/link.hpp"

#include "base/memory_order.hpp"

#include <cerrno>
#include <cstdlib>
#include <event2/buffer.h>
#include <new>
#include <poll.h>
#include <utility>

namespace sigevec::glue {

namespace {

constexpr unsigned pieces_at_once = 8;

bool outstanding(const Request *r)
{
	return r != nullptr && r->outstanding;
}

Request *make(Link *k)
{
	void *memory = calloc(1, sizeof(Request));
	if (memory == nullptr)
		return nullptr;
	auto *r = new (memory) Request{};
	r->link.store(k, mo::relaxed);
	return r;
}

// The link has no part in it any more.
void take_from(Link *k)
{
	Request *r = std::exchange(k->room, nullptr);
	if (r == nullptr)
		return;
	if (!r->outstanding) {
		release(k->loop, r);
		return;
	}
	cancel(k->loop, r);
	r->link.store(nullptr, mo::release);
}

// If the channel takes no more requests libevent goes on by itself.
void wait_for_room(Link *k)
{
	if (k->room == nullptr)
		k->room = make(k);
	if (k->room == nullptr || !start_poll(k->loop, k->room, k->fd, POLLOUT))
		make_plain(k);
}

// It waits for nothing, so this is so only until its function runs.
bool read_is_due(const Link *k)
{
	return event_pending(&k->bev->ev_read, EV_READ, nullptr) != 0;
}

void becomes_due(Link *k, bool &which)
{
	if (!k->read_due && !k->write_due)
		due(k);
	which = true;
}

bool in_channel(const Link *k)
{
	return !k->unlinked && k->mode == Link::Mode::channel;
}

// What is so already is due at once.
void look_for(Link *k, short events)
{
	struct pollfd p = {k->fd, events, 0};
	if (poll(&p, 1, 0) != 1 || (p.revents & POLLNVAL) != 0)
		return;
	bool all = (p.revents & (POLLERR | POLLHUP)) != 0;
	if ((events & POLLIN) != 0 && (all || (p.revents & POLLIN) != 0))
		becomes_due(k, k->read_due);
	if ((events & POLLOUT) != 0 && (all || (p.revents & POLLOUT) != 0))
		becomes_due(k, k->write_due);
}

// What else is waited for and so already: the two would be told of in different turns, and libevent
// sees both at once.
void look_for_the_other(Link *k)
{
	bool read = k->reading && !k->read_due && !read_is_due(k);
	bool write = writing(k) && !k->write_due && outstanding(k->room);
	if (read || write)
		look_for(k, static_cast<short>((read ? POLLIN : 0) | (write ? POLLOUT : 0)));
}

void found_by_base(evutil_socket_t, short, void *arg)
{
	auto *k = static_cast<Link *>(arg);
	LockedBev locked(k->bev);
	if (!in_channel(k) || !k->reading) {
		event_del_noblock(&k->by_base);
	} else if (!read_is_due(k)) {
		becomes_due(k, k->read_due);
		look_for_the_other(k);
		call_for_turn(k->loop);
	}
}

void start_writing(Link *k)
{
	if (!writing(k)) {
		if (outstanding(k->room))
			cancel(k->loop, k->room);
	} else if (!outstanding(k->room) && !k->write_due)
		wait_for_room(k);
}

// As a rule there is room: to see that takes one call, and the channel needs three. What there is
// to read is seen with it, as libevent would.
void look(Link *k)
{
	if (writing(k) && !outstanding(k->room))
		look_for(k, static_cast<short>(POLLOUT | (k->reading ? POLLIN : 0)));
}

void wait_by_base(Link *k)
{
	event_assign(&k->by_base, k->bev->ev_base, k->fd, EV_READ | EV_PERSIST, found_by_base, k);
	event_priority_set(&k->by_base, 0);
	k->by_base.ev_evcallback.evcb_flags |= EVLIST_INTERNAL;
	if (event_add(&k->by_base, nullptr) != 0)
		make_plain(k);
	else if (!k->read_due && !read_is_due(k))
		look_for(k, POLLIN); // epoll is asked in the next turn only
}

void start_reading(Link *k)
{
	if (k->reading && !base_waits(k))
		wait_by_base(k);
}

// io_uring's wait ends with POLLRDHUP as well, which nobody asks for here. It would do so again at
// once: libevent waits for the room in a connection whose peer has said its last.
bool has_room(ssize_t result)
{
	return (result & (POLLOUT | POLLERR | POLLHUP | POLLNVAL)) != 0;
}

size_t piece_of(const Link *k)
{
	return static_cast<size_t>(bufferevent_get_max_single_write(k->bev));
}

// Whether a piece may go, and there is nothing to tell the program after it.
bool quiet(const Link *k, size_t length)
{
	size_t low = k->bev->wm_write.low;
	return length > low && length - low > piece_of(k);
}

// There is room, and nothing is to be read before.
bool has_only_room(const Link *k)
{
	struct pollfd p = {k->fd, static_cast<short>(POLLOUT | (k->reading ? POLLIN : 0)), 0};
	return poll(&p, 1, 0) == 1 && p.revents == POLLOUT;
}

bool room_for_more(Link *k)
{
	LockedBev locked(k->bev);
	return in_channel(k) && writing(k) && quiet(k, k->left) && has_only_room(k);
}

// A callback of the program's would see how much is sent at once.
bool output_is_watched(const Link *k)
{
	return k->own_place == nullptr || *k->own_place != k->own;
}

// How many of them may go in one call. TCP's only: a local socket takes more in one piece than in
// several, and more of the output is gone, for as long as the peer does not read.
unsigned pieces(Link *k, unsigned most)
{
	LockedBev locked(k->bev);
	size_t length = evbuffer_get_length(k->bev->output), piece = piece_of(k);
	if (!in_channel(k) || !k->tcp || !quiet(k, length) || !quiet(k, length - piece) ||
	    output_is_watched(k) || !has_only_room(k))
		return 1;
	size_t n = (length - k->bev->wm_write.low - 1) / piece;
	return n < most ? static_cast<unsigned>(n) : most;
}

// By libevent's own function, with its limit raised for so long.
void write_pieces(Link *k, unsigned n, short what)
{
	struct bufferevent *bev = k->bev;
	size_t piece = piece_of(k), all = n * piece;
	if (n > 1)
		bufferevent_set_max_single_write(bev, all);
	k->plain_write(k->fd, what, bev);
	if (n > 1 && piece_of(k) == all)
		bufferevent_set_max_single_write(bev, piece);
}

} // namespace

bool base_waits(const Link *k)
{
	return event_initialized(&k->by_base) != 0 &&
	       event_pending(&k->by_base, EV_READ, nullptr) != 0;
}

// libevent's function may free the bufferevent: what is left of it then lasts until the loop has
// gone on.
void read_ready(evutil_socket_t, short what, void *arg)
{
	auto *bev = static_cast<struct bufferevent *>(arg);
	Link *k = link_of(bev);
	k->plain_read(k->fd, what, bev);
	LockedBev locked(bev);
	if (in_channel(k) && !base_waits(k))
		mark(k);
}

// libevent writes 16 KiB, and then looks at all its descriptors. To one that has room for more the
// next such pieces are written at once, as long as that leaves so much that there is nothing to
// tell the program, and nothing is to be read before.
void write_ready(evutil_socket_t, short what, void *arg)
{
	auto *bev = static_cast<struct bufferevent *>(arg);
	Link *k = link_of(bev);
	unsigned most = (what & EV_TIMEOUT) == 0 && !k->deferred ? pieces_at_once : 1;
	do {
		unsigned n = most > 1 ? pieces(k, most) : 1;
		k->left = 0;
		write_pieces(k, n, what);
		most -= n;
	} while (most > 0 && room_for_more(k));
	LockedBev locked(bev);
	if (in_channel(k) && writing(k))
		mark(k);
}

void start(Link *k)
{
	if (k->bev == nullptr) {
		free(k);
		return;
	}
	LockedBev locked(k->bev);
	if (in_channel(k))
		look(k);
	if (in_channel(k))
		start_writing(k);
	if (in_channel(k))
		start_reading(k);
}

bool ended(Link *k, Request *r, ssize_t result, int error)
{
	LockedBev locked(k->bev);
	if (r->link.load(mo::relaxed) != k)
		return false;
	r->outstanding = false;
	if (!in_channel(k))
		return true;
	if (result < 0 ? error != ECANCELED : !has_room(result))
		make_plain(k);
	else if (result < 0)
		mark(k); // it may be wanted again by now
	else {
		becomes_due(k, k->write_due);
		look_for_the_other(k);
	}
	return true;
}

void activate(Link *k)
{
	LockedBev locked(k->bev);
	bool read = std::exchange(k->read_due, false) && in_channel(k) && k->reading;
	bool write = std::exchange(k->write_due, false) && in_channel(k) && writing(k);
	if (read && k->read_first)
		event_active(&k->bev->ev_read, EV_READ, 1);
	if (write)
		event_active(&k->bev->ev_write, EV_WRITE, 1);
	if (read && !k->read_first)
		event_active(&k->bev->ev_read, EV_READ, 1);
}

void abandon(Link *k)
{
	if (event_initialized(&k->by_base) != 0)
		event_del_noblock(&k->by_base);
	take_from(k);
}

void count(Link *k)
{
	bool should = k->reading && in_channel(k);
	if (should == k->counted)
		return;
	k->counted = should;
	reads(k->loop, should);
}

} // namespace sigevec::glue
