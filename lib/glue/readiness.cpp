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

Request *make(Link *k)
{
	void *memory = calloc(1, sizeof(Request));
	if (memory == nullptr)
		return nullptr;
	auto *r = new (memory) Request{};
	r->link.store(k, mo::relaxed);
	return r;
}

// If the channel takes no more requests libevent goes on by itself.
void wait_for_room(Link *k)
{
	if (k->room == nullptr)
		k->room = make(k);
	if (k->room == nullptr || !start_poll(k->loop, k->room, k->fd, POLLOUT))
		make_plain(k);
}

void becomes_due(Link *k, bool &which)
{
	if (!k->read_due && !k->write_due)
		due(k);
	which = true;
}

// Whether what is asked for is so already, and what else is. POLLERR and POLLHUP are all of it.
short ready_now(const Link *k, short events)
{
	struct pollfd p = {k->fd, events, 0};
	if (poll(&p, 1, 0) != 1 || (p.revents & POLLNVAL) != 0)
		return 0;
	return (p.revents & (POLLERR | POLLHUP)) != 0 ? events : p.revents;
}

// What there is to read is told in the same turn, as libevent would.
short events_of_writing(const Link *k)
{
	return static_cast<short>(POLLOUT | (k->reading ? POLLIN : 0));
}

void become_due(Link *k, short events)
{
	if ((events & POLLIN) != 0)
		becomes_due(k, k->read_due);
	if ((events & POLLOUT) != 0)
		becomes_due(k, k->write_due);
}

// Output that comes when all before it has gone has room as a rule, and libevent's function tries,
// which costs no call of its own: without room it does nothing that can be seen, if the descriptor
// does not block. TCP's only, as a local socket takes what it says to have no room for. What the
// descriptor is is asked when it is written to for the second time.
bool may_try(Link *k)
{
	return k->fresh && k->written && !(k->reading && k->read_first) &&
	       evbuffer_get_length(k->bev->output) != 0 && is_tcp(k) && !blocks(k);
}

// Asked, that is one call; waited for in the channel it is three.
void start_writing(Link *k)
{
	if (!writing(k)) {
		if (waits_for_room(k))
			cancel(k->loop, k->room);
		return;
	}
	if (waits_for_room(k) || k->write_due || k->write_active)
		return;
	short now = may_try(k) ? POLLOUT : ready_now(k, events_of_writing(k));
	if ((now & POLLOUT) != 0)
		become_due(k, now);
	else
		wait_for_room(k);
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

// No limit of its rate, or of a group's: libevent shows the least of all limits.
bool unlimited(const Link *k)
{
	size_t piece = piece_of(k);
	bufferevent_set_max_single_write(k->bev, EV_SSIZE_MAX);
	bool most = bufferevent_get_max_to_write(k->bev) == EV_SSIZE_MAX;
	bufferevent_set_max_single_write(k->bev, piece);
	return most;
}

// There is more to write before there is anything to tell the program.
bool quiet(const Link *k, size_t length)
{
	return length > k->bev->wm_write.low && unlimited(k);
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

// How many of them may go in one call: up to the one after which there is something to tell. TCP's
// only: a local socket takes more in one piece than in several, and more of the output is gone, for
// as long as the peer does not read. If our callback of the output is not called in time (a program
// may have them all deferred) it is one piece less: the program is not to see the limit raised.
unsigned pieces(Link *k, unsigned most)
{
	LockedBev locked(k->bev);
	size_t length = evbuffer_get_length(k->bev->output), piece = piece_of(k);
	if (length <= piece || !in_channel(k) || !quiet(k, length) || output_is_watched(k))
		return 1;
	size_t n = (length - k->bev->wm_write.low - (k->prompt ? 0 : piece) + piece - 1) / piece;
	if (n <= 1 || !is_tcp(k) || blocks(k) || !has_only_room(k))
		return 1;
	return n < most ? static_cast<unsigned>(n) : most;
}

// By libevent's own function, with its limit raised for so long.
void write_pieces(Link *k, unsigned n, short what)
{
	if (n > 1) {
		LockedBev locked(k->bev);
		k->limit = piece_of(k);
		k->raised = n * k->limit;
		bufferevent_set_max_single_write(k->bev, k->raised);
	}
	k->left = 0;
	k->prompt = false;
	k->plain_write(k->fd, what, k->bev);
	lower_limit(k);
}

// libevent sees both directions of a descriptor at once. Who waits for room, or has not come to ask
// for it, learns of it together with the data, and in its order. True: reading has to wait for
// that.
bool writing_is_first(Link *k)
{
	LockedBev locked(k->bev);
	if (std::exchange(k->put_off, false) || !in_channel(k) || !writing(k))
		return false;
	bool waits = waits_for_room(k) || asks_next(k);
	if (waits && !k->write_active && (may_try(k) || ready_now(k, POLLOUT) != 0)) {
		k->write_active = true;
		event_active(&k->bev->ev_write, EV_WRITE, 1);
	}
	if (!k->write_active || k->read_first)
		return false;
	k->put_off = true;
	event_active(&k->bev->ev_read, EV_READ, 1);
	return true;
}

} // namespace

// libevent's function may free the bufferevent: what is left of it then lasts until the loop has
// gone on.
void read_ready(evutil_socket_t, short what, void *arg)
{
	auto *bev = static_cast<struct bufferevent *>(arg);
	Link *k = link_of(bev);
	if ((what & EV_READ) != 0 && writing_is_first(k))
		return;
	{
		LockedBev locked(bev);
		k->in_read = true;
		set_reader(k->loop, k);
	}
	k->plain_read(k->fd, what, bev);
	LockedBev locked(bev);
	k->in_read = false;
	set_reader(k->loop, nullptr);
	if (in_channel(k) && !k->reading)
		k->plain->disable(bev, EV_READ);
}

// libevent writes 16 KiB, and then looks at all its descriptors. To one that has room for more the
// next such pieces are written at once, as long as there was nothing to tell the program after the
// last one, and nothing is to be read before.
void write_ready(evutil_socket_t, short what, void *arg)
{
	auto *bev = static_cast<struct bufferevent *>(arg);
	Link *k = link_of(bev);
	unsigned most = (what & EV_TIMEOUT) == 0 && !k->deferred ? pieces_at_once : 1;
	k->write_active = k->fresh = false;
	do {
		unsigned n = most > 1 ? pieces(k, most) : 1;
		write_pieces(k, n, what);
		most -= n;
	} while (most > 0 && room_for_more(k));
	LockedBev locked(bev);
	k->written = true;
	if (in_channel(k) && writing(k))
		mark(k);
}

void lower_limit(Link *k)
{
	LockedBev locked(k->bev);
	if (k->raised != 0 && piece_of(k) == k->raised)
		bufferevent_set_max_single_write(k->bev, k->limit);
	k->raised = 0;
}

void start(Link *k)
{
	if (k->bev == nullptr) {
		free(k);
		return;
	}
	LockedBev locked(k->bev);
	if (in_channel(k) && is_parents(k->loop))
		make_plain(k);
	else if (in_channel(k))
		start_writing(k);
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
	else if (writing(k)) {
		becomes_due(k, k->write_due);
		if (k->reading)
			become_due(k, ready_now(k, POLLIN));
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
	if (write) {
		k->write_active = true;
		event_active(&k->bev->ev_write, EV_WRITE, 1);
	}
	if (read && !k->read_first) {
		// Active already, it has been put off for an earlier one, or is for this.
		if (!is_active(&k->bev->ev_read))
			k->put_off = write;
		event_active(&k->bev->ev_read, EV_READ, 1);
	}
}

void abandon(Link *k)
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

} // namespace sigevec::glue
