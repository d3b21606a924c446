// SPDX-License-Identifier: MIT
#include "iocontext/order.hpp"

#include "base/chains.hpp"
#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "submit/submit.hpp"

namespace sigevec::io::order {

namespace {

Links<Operation> &links_of(Operation *o)
{
	return o->place.links;
}
using Operations = List<Operation, links_of>;

struct alignas(64) Shard {
	Mutex lock;
	Operations operations; // in the order of submission
	unsigned waiting = 0;
	std::atomic<uint32_t> writes{0}; // of any file
};

constexpr unsigned shards = 64;
Shard table[shards];

Shard &shard_of(const Operation::Place &p)
{
	return table[hash_of(p.ino, p.dev) % shards];
}

bool conflict(const Operation::Place &a, const Operation::Place &b)
{
	return a.ino == b.ino && a.dev == b.dev && (a.write || b.write) && a.from < b.to &&
	       b.from < a.to;
}

// Whether something before o is in its way. With the lock held.
bool must_wait(const Operation *o)
{
	for (const Operation *i = o; (i = Operations::before(i)) != nullptr;)
		if (conflict(i->place, o->place))
			return true;
	return false;
}

// The next one that waits and need not any more. nullptr: none does.
Request *next_free(Shard &s)
{
	for (Operation *o = s.operations.first(); o != nullptr && s.waiting != 0;
	     o = Operations::after(o)) {
		if (!o->place.waits || o->place.released || must_wait(o))
			continue;
		o->place.released = true;
		// Its submitter is still at it, and will find it released.
		if (o->place.parked == nullptr)
			continue;
		o->place.waits = false;
		s.waiting--;
		return o->place.parked;
	}
	return nullptr;
}

} // namespace

bool no_writes(const Operation *o)
{
	return shard_of(o->place).writes.load(mo::acquire) == 0;
}

bool enter(Operation *o)
{
	Shard &s = shard_of(o->place);
	BlockSignals blocked;
	Guard<Mutex> g(s.lock);
	s.operations.push(o);
	s.writes.fetch_add(o->place.write, mo::relaxed);
	o->place.ordered = true;
	o->place.waits = must_wait(o);
	s.waiting += o->place.waits;
	return !o->place.waits;
}

void parked(Operation *o, Request *r)
{
	Shard &s = shard_of(o->place);
	BlockSignals blocked;
	bool begins;
	{
		Guard<Mutex> g(s.lock);
		begins = o->place.released;
		o->place.parked = r;
		if (begins) {
			o->place.waits = false;
			s.waiting--;
		}
	}
	if (begins)
		submit::begin_parked(r);
}

void leave(Operation *o)
{
	Shard &s = shard_of(o->place);
	BlockSignals blocked;
	Request *r;
	{
		Guard<Mutex> g(s.lock);
		s.operations.remove(o);
		// Release: what it has written is seen by who finds none outstanding.
		s.writes.fetch_sub(o->place.write, mo::release);
		s.waiting -= o->place.waits;
		o->place.ordered = o->place.waits = false;
		r = next_free(s);
	}
	while (r != nullptr) {
		submit::begin_parked(r);
		Guard<Mutex> g(s.lock);
		r = next_free(s);
	}
}

void after_fork()
{
	for (Shard &s : table) {
		s.lock.reset();
		s.operations = {};
		s.waiting = 0;
		s.writes.store(0, mo::relaxed);
	}
}

} // namespace sigevec::io::order
