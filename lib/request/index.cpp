// SPDX-License-Identifier: MIT
#include "request/index.hpp"

#include "base/memory_order.hpp"
#include "base/sync.hpp"

namespace sigevec::requests::index {

namespace {

struct Group {
	Mutex lock;
	Chains<Request, &Request::of_data> chains;
};

constexpr unsigned groups = 64;
Group group[groups];

// The lower bits choose the chain.
Group &group_of(uint64_t hash)
{
	return group[(hash >> 32) % groups];
}

uint64_t hash_of_request(const Request *r)
{
	return hash_of(r->channel.load(mo::relaxed), r->data.load(mo::relaxed));
}

bool belongs_here(const Request *r)
{
	return r->cb.load(mo::relaxed) == nullptr && r->channel.load(mo::relaxed) != nullptr;
}

} // namespace

void add(Request *r)
{
	if (!belongs_here(r))
		return;
	uint64_t hash = hash_of_request(r);
	Group &g = group_of(hash);
	Guard<Mutex> guard(g.lock);
	if (r->indexed == Indexed::no_more)
		return;
	g.chains.add(r, hash);
	r->indexed = Indexed::yes;
}

void remove(Request *r)
{
	if (!belongs_here(r))
		return;
	Group &g = group_of(hash_of_request(r));
	Guard<Mutex> guard(g.lock);
	if (r->indexed == Indexed::yes)
		g.chains.remove(r);
	r->indexed = Indexed::no_more;
}

size_t find(const Channel *channel, const void *data, Found *v, size_t most)
{
	uint64_t hash = hash_of(channel, data);
	Group &g = group_of(hash);
	Guard<Mutex> guard(g.lock);
	size_t n = 0;
	for (Request *r = g.chains.first(hash); r != nullptr; r = g.chains.next(r)) {
		if (r->channel.load(mo::relaxed) != channel || r->data.load(mo::relaxed) != data)
			continue;
		if (n < most)
			v[n] = {r, r->state.load(mo::acquire)};
		n++;
	}
	return n;
}

void after_fork()
{
	for (Group &g : group) {
		g.lock.reset();
		g.chains.forget();
	}
}

} // namespace sigevec::requests::index
