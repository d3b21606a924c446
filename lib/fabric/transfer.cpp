// SPDX-License-Identifier: MIT
//
// Puts and gets: from the key to the provider, by way of its owner's word.
#include "fabric/endpoint.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace sigevec::fabric {

namespace {

constexpr unsigned most_grants = 256; // of a peer's, beside those in use

Grant *find(Peer *p, const Key &key)
{
	Grant *g = p->grants;
	while (g != nullptr && memcmp(&g->key, &key, sizeof key) != 0)
		g = g->next;
	return g;
}

void remove(Peer *p, Grant *g)
{
	Grant **place = &p->grants;
	while (*place != g)
		place = &(*place)->next;
	*place = g->next;
	free(g);
}

// So that a program that uses many keys does not keep them all.
void keep_few(Peer *p)
{
	unsigned n = 0;
	for (Grant *g = p->grants, *next; g != nullptr; g = next) {
		next = g->next;
		if (++n > most_grants && g->under_way == 0 && g->state == Grant::State::valid)
			remove(p, g);
	}
}

void refuse(Op *o, int error)
{
	finish(o, -error);
	free_op(o);
}

void ask(Endpoint *e, Op *o)
{
	Peer *p = o->peer;
	auto *g = static_cast<Grant *>(calloc(1, sizeof(Grant)));
	if (g == nullptr) {
		refuse(o, ENOMEM);
		return;
	}
	keep_few(p);
	g->key = o->transfer.key;
	g->number = ++e->numbers;
	g->next = p->grants;
	p->grants = g;
	g->waiting.push(o);
	say(p, Kind::ask, g->number, 0, &o->transfer.key);
}

// The owner has said that the key is its own, so what it says of itself is true.
int check(const Op *o)
{
	uint32_t right = o->does == Op::Does::get ? DMA_READ : DMA_WRITE;
	if ((o->transfer.key.rights & right) == 0)
		return EACCES;
	return o->transfer.offset > o->transfer.key.size ||
			       o->size > o->transfer.key.size - o->transfer.offset
		       ? EINVAL
		       : 0;
}

} // namespace

void begin_transfer(Endpoint *e, Op *o)
{
	Peer *p = o->peer;
	Grant *g = o->transfer.key.life == p->session.life ? find(p, o->transfer.key) : nullptr;
	if (o->transfer.key.life != p->session.life ||
	    (g != nullptr && g->state == Grant::State::revoked)) {
		refuse(o, EACCES);
	} else if (g == nullptr) {
		ask(e, o);
	} else if (g->state == Grant::State::asked) {
		g->waiting.push(o);
	} else if (int error = check(o); error != 0) {
		refuse(o, error);
	} else {
		g->under_way++;
		o->transfer.grant = g;
		o->transfer.has_grant = true;
		p->outgoing.push(o);
	}
}

void answered(Endpoint *e, Peer *p, uint64_t number, uint32_t result)
{
	Grant *g = p->grants;
	while (g != nullptr && (g->number != number || g->state != Grant::State::asked))
		g = g->next;
	if (g == nullptr)
		return;
	List<Op> waiting = g->waiting.take_all();
	if (result == 0)
		g->state = Grant::State::valid;
	else
		remove(p, g);
	while (Op *o = waiting.pop()) {
		if (result == 0)
			begin_transfer(e, o);
		else
			refuse(o, EACCES);
	}
}

void revoked(Peer *p, const Key &key, uint64_t number)
{
	Grant *g = find(p, key);
	// What has not been answered will be: with a refusal.
	if (g == nullptr || g->state == Grant::State::asked) {
		say(p, Kind::revoked, number);
		return;
	}
	g->state = Grant::State::revoked;
	g->withdrawal = number;
	if (g->under_way != 0)
		return;
	say(p, Kind::revoked, number);
	remove(p, g);
}

void transfer_over(Op *o)
{
	if (!o->transfer.has_grant)
		return;
	Grant *g = o->transfer.grant;
	o->transfer.has_grant = false;
	if (--g->under_way != 0 || g->state != Grant::State::revoked)
		return;
	say(o->peer, Kind::revoked, g->withdrawal);
	remove(o->peer, g);
}

void drop_grants(Peer *p, int error)
{
	while (Grant *g = p->grants) {
		for (List<Op> waiting = g->waiting.take_all(); Op *o = waiting.pop();)
			refuse(o, error);
		remove(p, g);
	}
}

} // namespace sigevec::fabric
