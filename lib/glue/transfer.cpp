// SPDX-License-Identifier: MIT
//
// What a link receives and sends. libevent's bufferevent_socket is the model: what it does after readv() and writev() is done here, in
// the same order, after the end of a receive and of a send.
#include "glue/link.hpp"

#include <cerrno>
#include <cstdlib>
#include <event2/buffer.h>

namespace sigevec::glue {

namespace {

constexpr size_t smallest = 2048; // of what is received, for who receives little

bool wants(const struct event *ev, short what)
{
	return event_pending(ev, what, nullptr) != 0;
}

// Once more the whole time: it has made progress.
void restart_timeout(struct event *ev, const struct timeval *timeout)
{
	if (evutil_timerisset(timeout))
		event_add(ev, timeout);
}

// Callbacks run where the channel's events are handled, or, with a priority of its own, when it is their turn.
int how(const Link *k)
{
	return bufferevent_get_priority(k->bev) == k->loop->priority ? 0 : static_cast<int>(BEV_TRIG_DEFER_CALLBACKS);
}

void fail(Link *k, short direction, short why, int error)
{
	bufferevent_disable(k->bev, direction);
	errno = error;
	bufferevent_trigger_event(k->bev, static_cast<short>((direction == EV_READ ? BEV_EVENT_READING : BEV_EVENT_WRITING) | why),
				  how(k));
}

template <class T> T *make(Request::Kind kind, Link *k, size_t n)
{
	auto *t = static_cast<T *>(calloc(1, sizeof(T) + n));
	if (t == nullptr)
		return nullptr;
	auto *r = reinterpret_cast<Request *>(t);
	r->kind = kind;
	r->link.store(k, std::memory_order_relaxed);
	return t;
}

// The link has no part in it any more.
void take_from(Link *k, Request *r)
{
	if (r == nullptr)
		return;
	if (!r->outstanding) {
		release(k->loop, r);
		return;
	}
	cancel(k->loop, r);
	r->link.store(nullptr, std::memory_order_release);
}

// The channel takes no more requests. libevent goes on, if that is possible: what is outstanding would be done twice, or lost.
void refused(Link *k, short direction, int error)
{
	if (error == EBADF || !((k->receive != nullptr && k->receive->request.outstanding) || (k->send != nullptr && k->send->request.outstanding) || k->room != nullptr))
		make_plain(k);
	else
		fail(k, direction, BEV_EVENT_ERROR, error);
}

// --- receiving --------------------------------------------------------------------------------------------------------

// How much the program wants now. 0: it has enough, or its rate does not allow more.
size_t wanted(const Link *k)
{
	struct bufferevent *bev = k->bev;
	ev_ssize_t most = bufferevent_get_max_to_read(bev);
	if (bev->wm_read.high != 0) {
		size_t have = evbuffer_get_length(bev->input);
		if (have >= bev->wm_read.high)
			return 0;
		if (most > static_cast<ev_ssize_t>(bev->wm_read.high - have))
			most = static_cast<ev_ssize_t>(bev->wm_read.high - have);
	}
	return most > 0 ? static_cast<size_t>(most) : 0;
}

// Hands what has come to the program, as much of it as it wants.
void deliver(Link *k)
{
	Receive *r = k->receive;
	struct bufferevent *bev = k->bev;
	if (r->result <= 0) {
		r->full = false;
		fail(k, EV_READ, r->result < 0 ? BEV_EVENT_ERROR : BEV_EVENT_EOF, r->error);
		return;
	}
	size_t left = static_cast<size_t>(r->result) - r->given, n = wanted(k);
	if (n == 0)
		return;
	n = n < left ? n : left;
	restart_timeout(&bev->ev_read, &bev->timeout_read);
	evbuffer_unfreeze(bev->input, 0);
	bool added = evbuffer_add(bev->input, r->data + r->given, n) == 0;
	evbuffer_freeze(bev->input, 0);
	if (!added) {
		fail(k, EV_READ, BEV_EVENT_ERROR, ENOMEM);
		return;
	}
	r->given += n;
	r->full = r->given < static_cast<size_t>(r->result);
	if (bufferevent_decrement_read_buckets_ != nullptr)
		bufferevent_decrement_read_buckets_(bev, static_cast<ev_ssize_t>(n));
	bufferevent_trigger(bev, EV_READ, how(k));
}

// Memory for the next receive, of n bytes at most: more when the last one was filled, less again when it was nearly empty.
bool prepare_receive(Link *k, size_t n)
{
	Receive *r = k->receive;
	if (r != nullptr && r->result >= static_cast<ssize_t>(r->size) && r->size < n)
		k->next_size = r->size * 2;
	else if (r != nullptr && r->result < static_cast<ssize_t>(smallest / 2))
		k->next_size = smallest;
	if (r != nullptr && r->size == k->next_size)
		return true;
	if (r != nullptr)
		release(k->loop, &r->request);
	k->receive = make<Receive>(Request::receive, k, k->next_size);
	if (k->receive != nullptr)
		k->receive->size = k->next_size;
	return k->receive != nullptr;
}

void start_receiving(Link *k)
{
	size_t n = wanted(k);
	if (n == 0)
		return;
	if (!prepare_receive(k, n)) {
		refused(k, EV_READ, ENOMEM);
		return;
	}
	Receive *r = k->receive;
	r->given = 0;
	r->result = 0;
	if (!start_receive(k->loop, &r->request, k->fd, r->data, n < r->size ? n : r->size))
		refused(k, EV_READ, errno);
}

void received(Link *k, ssize_t result, int error)
{
	Receive *r = k->receive;
	r->result = 0;
	if (result < 0 && (error == ECANCELED || error == EAGAIN || error == EINTR))
		return;
	if (result < 0 && error == ENOTSOCK) {
		make_plain(k);
		return;
	}
	r->result = result;
	r->error = error;
	r->full = true;
	if (wants(&k->bev->ev_read, EV_READ))
		deliver(k);
}

// --- sending ----------------------------------------------------------------------------------------------------------

void wait_for_room(Link *k)
{
	k->room = make<Request>(Request::room, k, 0);
	if (k->room != nullptr && start_room(k->loop, k->room, k->fd))
		return;
	int error = k->room == nullptr ? ENOMEM : errno;
	take_from(k, k->room);
	k->room = nullptr;
	refused(k, EV_WRITE, error);
}

bool prepare_send(Link *k, size_t n)
{
	Send *s = k->send;
	if (s != nullptr && s->size >= n && s->size <= 4 * n)
		return true;
	if (s != nullptr)
		release(k->loop, &s->request);
	size_t size = n < 256 ? 256 : n;
	k->send = make<Send>(Request::send, k, size);
	if (k->send != nullptr)
		k->send->size = size;
	return k->send != nullptr;
}

void start_sending(Link *k)
{
	struct bufferevent *bev = k->bev;
	size_t n = evbuffer_get_length(bev->output);
	if (n == 0) { // libevent tells this as well, when it finds that there is room
		event_del(&bev->ev_write);
		bufferevent_trigger(bev, EV_WRITE, how(k));
		return;
	}
	ev_ssize_t most = bufferevent_get_max_to_write(bev);
	if (most <= 0)
		return;
	n = n < static_cast<size_t>(most) ? n : static_cast<size_t>(most);
	if (!prepare_send(k, n)) {
		refused(k, EV_WRITE, ENOMEM);
		return;
	}
	evbuffer_unfreeze(bev->output, 1);
	evbuffer_copyout(bev->output, k->send->data, n);
	evbuffer_freeze(bev->output, 1);
	if (!start_send(k->loop, &k->send->request, k->fd, k->send->data, n))
		refused(k, EV_WRITE, errno);
}

void sent(Link *k, ssize_t result, int error)
{
	struct bufferevent *bev = k->bev;
	if (result > 0) {
		evbuffer_unfreeze(bev->output, 1);
		evbuffer_drain(bev->output, static_cast<size_t>(result));
		evbuffer_freeze(bev->output, 1);
		if (bufferevent_decrement_write_buckets_ != nullptr)
			bufferevent_decrement_write_buckets_(bev, result);
		if (evbuffer_get_length(bev->output) == 0)
			event_del(&bev->ev_write);
		else if (wants(&bev->ev_write, EV_WRITE))
			restart_timeout(&bev->ev_write, &bev->timeout_write);
		bufferevent_trigger(bev, EV_WRITE, how(k));
	} else if (error == EAGAIN && k->mode == Link::Mode::channel)
		wait_for_room(k);
	else if (error == ENOTSOCK)
		make_plain(k);
	else if (error != EAGAIN && error != EINTR && error != ECANCELED)
		fail(k, EV_WRITE, result < 0 ? BEV_EVENT_ERROR : BEV_EVENT_EOF, error);
}

} // namespace

void start(Link *k)
{
	if (k->bev == nullptr) {
		free(k);
		return;
	}
	LockedBev locked(k->bev);
	if (k->unlinked || k->mode != Link::Mode::channel)
		return;
	bufferevent_incref(k->bev);
	bool sending = (k->send != nullptr && k->send->request.outstanding) || k->room != nullptr;
	if (!sending && wants(&k->bev->ev_write, EV_WRITE))
		start_sending(k);
	if (k->mode == Link::Mode::channel && wants(&k->bev->ev_read, EV_READ)) {
		if (k->receive != nullptr && k->receive->full)
			deliver(k);
		if (k->mode == Link::Mode::channel && wants(&k->bev->ev_read, EV_READ) &&
		    (k->receive == nullptr || (!k->receive->full && !k->receive->request.outstanding)))
			start_receiving(k);
	}
	bufferevent_decref(k->bev);
}

bool ended(Link *k, Request *r, ssize_t result, int error)
{
	LockedBev locked(k->bev);
	if (r->link.load(std::memory_order_relaxed) != k)
		return false;
	r->outstanding = false;
	Request::Kind kind = r->kind;
	if (kind == Request::room) {
		k->room = nullptr;
		release(k->loop, r);
	}
	if (k->unlinked)
		return true;
	bufferevent_incref(k->bev);
	if (kind == Request::receive)
		received(k, result, error);
	else if (kind == Request::send)
		sent(k, result, error);
	if (k->mode == Link::Mode::channel)
		mark(k);
	bufferevent_decref(k->bev);
	return true;
}

void stop(Link *k, short what)
{
	if ((what & EV_READ) != 0 && k->receive != nullptr && k->receive->request.outstanding)
		cancel(k->loop, &k->receive->request);
	if ((what & EV_WRITE) != 0 && k->room != nullptr && k->room->outstanding)
		cancel(k->loop, k->room);
}

void abandon(Link *k)
{
	take_from(k, k->receive == nullptr ? nullptr : &k->receive->request);
	take_from(k, k->send == nullptr ? nullptr : &k->send->request);
	take_from(k, k->room);
	k->receive = nullptr;
	k->send = nullptr;
	k->room = nullptr;
}

} // namespace sigevec::glue
