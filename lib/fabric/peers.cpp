// SPDX-License-Identifier: MIT
#include "fabric/endpoint.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace sigevec::fabric {

namespace {

constexpr uint64_t second = 1000000000;
constexpr uint64_t silence = second;             // then it is asked whether it is there
constexpr uint64_t greeting_limit = 45 * second; // for one who has never answered
constexpr uint64_t life_limit = 30 * second;

Op *control_op(Peer *p, Kind kind, size_t more)
{
	auto *o = static_cast<Op *>(calloc(1, sizeof(Op) + more));
	if (o == nullptr)
		return nullptr;
	o->what = Context::What::op;
	o->does = Op::Does::control;
	o->peer = p;
	o->data = o->copy;
	o->size = more;
	o->header.kind = kind;
	o->header.size = static_cast<uint32_t>(more);
	return o;
}

// What is true when it goes out.
void complete_header(const Endpoint *e, Peer *p, Header *h)
{
	p->flow.granted = p->state == Peer::State::ready ? p->flow.consumed + window : 0;
	h->magic = magic;
	h->name_length = static_cast<uint8_t>(e->name_length);
	h->from_life = e->life;
	h->to_life = p->session.life;
	h->largest = e->largest;
	h->granted = p->flow.granted;
	memcpy(h->name, e->name, sizeof h->name);
}

void link(Op **list, Op *o)
{
	o->before = nullptr;
	o->after = *list;
	if (*list != nullptr)
		(*list)->before = o;
	*list = o;
}

void link_posted(Peer *p, Op *o)
{
	o->posted = true;
	o->session = p->session.number;
	link(&p->posted, o);
}

ssize_t post_message(Endpoint *e, Op *o)
{
	complete_header(e, o->peer, &o->header);
	struct iovec v[2] = {{&o->header, sizeof o->header}, {o->data, o->size}};
	struct fi_msg m = {};
	m.msg_iov = v;
	m.iov_count = o->size == 0 ? 1 : 2;
	m.addr = o->peer->address;
	m.context = &o->provider;
	return fi_sendmsg(e->provider.ep, &m, FI_COMPLETION);
}

ssize_t post_transfer(Endpoint *e, Op *o)
{
	struct iovec v = {o->data, o->size};
	struct fi_rma_iov there = {o->transfer.key.base + o->transfer.offset, o->size,
				   o->transfer.key.mr};
	struct fi_msg_rma m = {};
	m.msg_iov = &v;
	m.iov_count = 1;
	m.addr = o->peer->address;
	m.rma_iov = &there;
	m.rma_iov_count = 1;
	m.context = &o->provider;
	return o->does == Op::Does::get
		       ? fi_readmsg(e->provider.ep, &m, FI_COMPLETION)
		       : fi_writemsg(e->provider.ep, &m, FI_COMPLETION | FI_DELIVERY_COMPLETE);
}

} // namespace

namespace {

// Of one with whom there is nothing any more.
bool is_idle(const Peer *p)
{
	return p->state == Peer::State::unknown && p->flow.unnumbered == 0 && p->flow.kept == 0 &&
	       p->early == nullptr && p->orphans == nullptr && !something_outstanding(p);
}

// One more, or, where there are too many, an idle one's place.
Peer *make_peer(Endpoint *e)
{
	if (e->figures.peers < most_peers) {
		auto *p = static_cast<Peer *>(calloc(1, sizeof(Peer)));
		if (p == nullptr)
			return nullptr;
		p->former = FI_ADDR_NOTAVAIL;
		p->next = e->peers;
		e->peers = p;
		e->figures.peers++;
		return p;
	}
	Peer *p = e->peers;
	while (p != nullptr && !is_idle(p))
		p = p->next;
	if (p == nullptr)
		return nullptr;
	remove_asker(e, p);
	end_probe(p);
	Peer *next = p->next;
	fi_addr_t former = p->address != FI_ADDR_NOTAVAIL ? p->address : p->former;
	*p = {};
	p->former = former;
	p->next = next;
	return p;
}

bool is_reply(const Op *o)
{
	switch (o->header.kind) {
	case Kind::welcome:
	case Kind::pong:
	case Kind::reset:
	case Kind::answer:
	case Kind::revoked:
		return true;
	default:
		return false;
	}
}

} // namespace

Peer *find_peer(Endpoint *e, const struct sockaddr_storage &name, size_t length)
{
	for (Peer *p = e->peers; p != nullptr; p = p->next)
		if (p->name_length == length && memcmp(p->name, &name, length) == 0)
			return p;
	Peer *p = make_peer(e);
	if (p == nullptr)
		return nullptr;
	memcpy(p->name, &name, length);
	p->name_length = static_cast<uint8_t>(length);
	p->address = FI_ADDR_NOTAVAIL;
	p->probe = -1;
	return p;
}

bool has_room(const Peer *p)
{
	return p->state == Peer::State::ready && p->waiting.empty() && p->flow.unnumbered == 0 &&
	       p->flow.sent < p->flow.may_send;
}

void say(Peer *p, Kind kind, uint64_t number, uint32_t result, const Key *key)
{
	Op *o = control_op(p, kind, key != nullptr ? sizeof *key : 0);
	if (o == nullptr)
		return; // as if it had been lost: whoever waits asks again, or gives up
	o->header.number = number;
	o->header.result = result;
	if (key != nullptr)
		memcpy(o->copy, key, sizeof *key);
	p->outgoing.push(o);
	p->replies += is_reply(o);
}

void greet(Peer *p)
{
	p->state = Peer::State::greeting;
	p->session.life = 0;
	p->when.since = p->when.heard = p->when.asked = monotonic_ns();
	say(p, Kind::hello, ++p->session.hellos);
}

void begin_session(Endpoint *e, Peer *p, uint64_t life)
{
	p->state = Peer::State::ready;
	p->session.life = life;
	p->flow.sent = p->flow.may_send = p->flow.received = p->flow.consumed =
		p->flow.acknowledged = 0;
	p->flow.granted = window;
	p->wanted = false;
	changed(e);
}

void lose(Endpoint *e, Peer *p, int error)
{
	p->session.number++;
	bool had = p->state != Peer::State::unknown;
	p->state = Peer::State::unknown;
	if (had) {
		e->figures.lost_peers += p->session.life != 0;
		p->error = p->flow.sent != 0 || p->wanted ? error : 0;
	}
	drop_grants(p, error);
	forget_asker(e, p);
	p->session.life = 0;
	p->flow.sent = 0;
	while (Slot *s = p->early) {
		p->early = s->next;
		e->slots.idle.push(s);
	}
	for (List<Op> *l : {&p->outgoing, &p->waiting})
		for (List<Op> all = l->take_all(); Op *o = all.pop();) {
			finish(o, -error);
			free_op(o);
		}
	p->replies = 0;
	// The provider has these still; it lets go of them when it knows as well.
	while (Op *o = p->posted) {
		finish(o, -error);
		o->transfer.has_grant = false;
		p->posted = o->after;
		o->orphan = true;
		link(&p->orphans, o);
	}
	end_probe(p);
	p->when.busy_since = 0;
	p->wanted = false;
	changed(e);
}

bool pump(Endpoint *e, Peer *p)
{
	if (p->outgoing.empty())
		return false;
	if (p->former != FI_ADDR_NOTAVAIL)
		fi_av_remove(e->provider.av, &p->former, 1, 0);
	p->former = FI_ADDR_NOTAVAIL;
	if (p->address == FI_ADDR_NOTAVAIL &&
	    fi_av_insert(e->provider.av, p->name, 1, &p->address, 0, nullptr) != 1) {
		p->address = FI_ADDR_NOTAVAIL;
		lose(e, p, EINVAL);
		return true;
	}
	bool some = false;
	while (Op *o = p->outgoing.first) {
		bool message = o->does == Op::Does::control || o->does == Op::Does::message;
		ssize_t n = message ? post_message(e, o) : post_transfer(e, o);
		if (n == -FI_EAGAIN)
			return some;
		some = true;
		if (n != 0) {
			lose(e, p, provider::loss_of(n));
			return true;
		}
		p->outgoing.pop();
		p->replies -= message && is_reply(o);
		link_posted(p, o);
	}
	return some;
}

bool something_outstanding(const Peer *p)
{
	bool asked = false;
	for (const Grant *g = p->grants; g != nullptr; g = g->next)
		asked = asked || g->state == Grant::State::asked;
	return asked || p->state == Peer::State::greeting || p->wanted || p->posted != nullptr ||
	       !p->outgoing.empty() || !p->waiting.empty();
}

void look_at_time(Endpoint *e, Peer *p, uint64_t now)
{
	// Who asks for more and more and takes no answer is no peer.
	if (p->replies > most_replies)
		lose(e, p, ECONNRESET);
	if (!something_outstanding(p)) {
		p->when.busy_since = 0;
		end_probe(p);
		return;
	}
	if (p->when.busy_since == 0)
		p->when.busy_since = now;
	uint64_t silent = now - std::max({p->when.busy_since, p->when.heard, p->when.since});
	if (int error = probe(p, now, silent); error != 0) {
		lose(e, p, p->session.life == 0 ? error : ECONNRESET);
	} else if (p->state == Peer::State::greeting) {
		if (now - p->when.since > greeting_limit)
			lose(e, p, EHOSTUNREACH);
		else if (now - p->when.asked > silence && p->outgoing.empty()) {
			// The provider may have lost it with a connection.
			p->when.asked = now;
			say(p, Kind::hello, p->session.hellos);
		}
	} else if (silent > life_limit) {
		lose(e, p, ETIMEDOUT);
	} else if (p->state == Peer::State::ready && silent > silence &&
		   now - p->when.asked > silence) {
		p->when.asked = now;
		if (p->outgoing.empty())
			say(p, Kind::ping, 0);
	}
}

} // namespace sigevec::fabric
