// SPDX-License-Identifier: MIT
//
// Messages: from callers to peers, and from peers to where the program receives them.
#include "base/syscalls.hpp"
#include "fabric/endpoint.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <utility>

namespace sigevec::fabric {

void send_waiting(Endpoint *e, Peer *p)
{
	if (p->state != Peer::State::ready)
		return;
	List<Op> still;
	for (List<Op> all = p->waiting.take_all(); Op *o = all.pop();) {
		if (o->request != nullptr && host->cancelled(o->request)) {
			finish(o, -ECANCELED);
			free_op(o);
		} else if (o->does == Op::Does::put || o->does == Op::Does::get) {
			begin_transfer(e, o);
		} else if (o->size > p->session.largest) {
			finish(o, -EMSGSIZE);
			free_op(o);
		} else if (p->flow.sent < p->flow.may_send) {
			o->header.number = ++p->flow.sent;
			p->outgoing.push(o);
		} else
			still.push(o);
	}
	p->waiting = still;
}

void accept(Endpoint *e, Op *o)
{
	Peer *p = o->peer != nullptr ? o->peer : find_peer(e, o->to, o->to_length);
	if (p == nullptr) {
		finish(o, -ENOBUFS);
		free_op(o);
		return;
	}
	o->peer = p;
	// Its number says that its room has been taken by the caller.
	if (o->does == Op::Does::message && o->header.number != 0) {
		bool same = p->state == Peer::State::ready && o->header.to_life == p->session.life;
		if (same) {
			p->outgoing.push(o);
			return;
		}
		finish(o, -ECONNRESET);
		free_op(o);
		return;
	}
	if (p->state == Peer::State::unknown)
		greet(p);
	p->waiting.push(o);
	p->flow.unnumbered -= std::exchange(o->unnumbered, false);
	send_waiting(e, p);
	if (p->wanted && has_room(p)) {
		p->wanted = false;
		changed(e);
	}
}

// ---- what comes

namespace {

bool make_slot(Endpoint *e)
{
	auto *s = static_cast<Slot *>(malloc(sizeof(Slot)));
	if (s == nullptr)
		return false;
	s->what = Context::What::slot;
	s->every = e->slots.every_slot;
	e->slots.every_slot = s;
	e->slots.idle.push(s);
	return true;
}

} // namespace

bool give_slots(Endpoint *e)
{
	bool some = false;
	while (!e->slots.idle.empty() || (e->slots.given < offered_slots && make_slot(e))) {
		Slot *s = e->slots.idle.first;
		ssize_t n = fi_recv(e->provider.ep, &s->header, sizeof s->header + sizeof s->data,
				    nullptr, FI_ADDR_UNSPEC, &s->provider);
		if (n != 0)
			return some;
		e->slots.idle.pop();
		e->slots.given++;
		some = true;
	}
	return some;
}

namespace {

bool in_session(const Endpoint *e, const Peer *p, const Header &h)
{
	return p->state == Peer::State::ready && h.from_life == p->session.life &&
	       h.to_life == e->life;
}

void note_room(Endpoint *e, Peer *p, const Header &h)
{
	p->session.largest = h.largest < largest_message ? h.largest : largest_message;
	if (h.granted <= p->flow.may_send)
		return;
	p->flow.may_send = h.granted;
	send_waiting(e, p);
	if (std::exchange(p->wanted, false))
		changed(e);
}

// Whether nothing lies in the program's end: somebody who has it, too, has taken the mark.
bool is_unmarked(const Endpoint *e)
{
	int unread = 1;
	return ioctl(e->inner, SIOCOUTQ, &unread) == 0 && unread == 0;
}

void make_readable(Endpoint *e)
{
	if (e->readable && !is_unmarked(e))
		return;
	e->readable = true;
	send(e->inner, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void deliver(Endpoint *e, Slot *s)
{
	s->peer->flow.received++;
	s->peer->flow.kept++;
	e->slots.arrived.push(s);
	e->figures.waiting++;
	e->told = true;
	auto &r = e->receivers;
	if (r.waiting <= r.woken) {
		make_readable(e);
		return;
	}
	r.woken++;
	r.to_wake++;
	r.came.fetch_add(1, mo::release);
}

Slot **early(Peer *p, uint64_t number)
{
	Slot **place = &p->early;
	while (*place != nullptr && (*place)->header.number != number)
		place = &(*place)->next;
	return place;
}

// Providers keep messages in order, but may tell of a large one later than of the next. True: the
// slot is kept.
bool take_data(Endpoint *e, Peer *p, Slot *s)
{
	const Header &h = s->header;
	if (h.number <= p->flow.received || h.number > p->flow.granted || h.size == 0 ||
	    *early(p, h.number) != nullptr) {
		e->figures.malformed++;
		return false;
	}
	s->peer = p;
	s->size = h.size;
	s->next = p->early;
	p->early = s;
	for (Slot **next; *(next = early(p, p->flow.received + 1)) != nullptr;) {
		Slot *ready = *next;
		*next = ready->next;
		deliver(e, ready);
	}
	return true;
}

void take_greeting(Endpoint *e, Peer *p, const Header &h)
{
	bool again = p->state == Peer::State::ready && p->session.life == h.from_life &&
		     p->session.heard_hello == h.number;
	if (!again) {
		if (p->state == Peer::State::ready)
			lose(e, p, ECONNRESET);
		p->session.heard_hello = h.number;
		begin_session(e, p, h.from_life);
	}
	say(p, Kind::welcome, 0);
	note_room(e, p, h);
}

void take_welcome(Endpoint *e, Peer *p, const Header &h)
{
	if (h.to_life != e->life)
		return;
	if (p->state == Peer::State::greeting)
		begin_session(e, p, h.from_life);
	if (in_session(e, p, h))
		note_room(e, p, h);
}

void take_reset(Endpoint *e, Peer *p, const Header &h)
{
	if (p->state == Peer::State::ready && h.number == p->session.life)
		lose(e, p, ECONNRESET);
}

// Something of a session. True: the slot is the program's.
bool take_in_session(Endpoint *e, Peer *p, Slot *s)
{
	const Header &h = s->header;
	Key key;
	memcpy(&key, s->data, sizeof key);
	bool with_key = h.kind == Kind::ask || h.kind == Kind::revoke;
	if (with_key != (h.size == sizeof key) && h.kind != Kind::data) {
		e->figures.malformed++;
		return false;
	}
	note_room(e, p, h);
	switch (h.kind) {
	case Kind::data:
		return take_data(e, p, s);
	case Kind::ping:
		say(p, Kind::pong, p->flow.received);
		break;
	case Kind::pong:
		p->flow.acknowledged = std::min(h.number, p->flow.sent);
		break;
	case Kind::ask:
		asked(e, p, key, h.number);
		break;
	case Kind::answer:
		answered(e, p, h.number, h.result);
		break;
	case Kind::revoke:
		revoked(p, key, h.number);
		break;
	case Kind::revoked:
		note_revoked(e, p, h.number);
		break;
	default:
		break;
	}
	return false;
}

bool well_formed(const Slot *s, size_t size)
{
	const Header &h = s->header;
	return size >= sizeof h && h.magic == magic && h.size == size - sizeof h &&
	       h.name_length != 0 && h.name_length <= most_name && h.from_life != 0 &&
	       h.kind >= Kind::hello && h.kind <= Kind::revoked;
}

bool take(Endpoint *e, Slot *s, size_t size)
{
	const Header &h = s->header;
	struct sockaddr_storage name;
	socklen_t length;
	bool good =
		well_formed(s, size) && read_address(e, h.name, h.name_length, &name, &length) == 0;
	Peer *p = good ? find_peer(e, name, length) : nullptr;
	if (p == nullptr) {
		e->figures.malformed++;
		return false;
	}
	p->when.heard = monotonic_ns();
	if (h.kind == Kind::hello)
		take_greeting(e, p, h);
	else if (h.kind == Kind::welcome)
		take_welcome(e, p, h);
	else if (h.kind == Kind::reset)
		take_reset(e, p, h);
	else if (in_session(e, p, h))
		return take_in_session(e, p, s);
	else if (p->state != Peer::State::greeting) // which says the same
		say(p, Kind::reset, h.to_life);
	return false;
}

} // namespace

int look_at_untold(Endpoint *e, uint64_t now)
{
	constexpr uint64_t patience = 5000000; // ns
	auto &r = e->receivers;
	if (e->readable || e->slots.arrived.empty()) {
		r.untold = 0;
		return -1;
	}
	if (r.untold == 0 || r.received != e->figures.received) {
		r.untold = now;
		r.received = e->figures.received;
	}
	if (now - r.untold < patience)
		return static_cast<int>(patience / 1000000);
	r.untold = 0;
	make_readable(e);
	return -1;
}

void wake_receivers(Endpoint *e)
{
	e->receivers.came.fetch_add(1, mo::release);
	futex_wake(e->receivers.came, INT_MAX);
}

void arrived(Endpoint *e, Slot *s, size_t size)
{
	e->slots.given--;
	if (size <= sizeof s->header)
		memset(s->data, 0, sizeof(Key));
	if (!take(e, s, size))
		e->slots.idle.push(s);
}

void received(Endpoint *e, Slot *s)
{
	Peer *p = s->peer;
	p->flow.kept--;
	e->figures.received++;
	e->figures.copied_in++;
	e->figures.received_bytes += s->size;
	e->figures.waiting--;
	if (s->header.from_life == p->session.life && p->state == Peer::State::ready)
		p->flow.consumed++;
	e->slots.idle.push(s);
}

} // namespace sigevec::fabric
