// SPDX-License-Identifier: MIT
#include "source/index.hpp"

#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "channel/channel.hpp"

namespace sigevec::source::index {

namespace {

struct Group {
	Mutex lock;
	Chains<Wait, &Wait::of_channel> by_channel;
	Chains<Wait, &Wait::of_data> by_data;
	Canceller *cancellers = nullptr;
	unsigned waiting = 0;          // of them, for others to leave
	std::atomic<uint32_t> left{0}; // changes with each that leaves
};

constexpr unsigned groups = 16;
Group group[groups];

Group &group_of(const Channel *c)
{
	return group[hash_of(c, nullptr) % groups];
}

const void *data_of(const Wait *w)
{
	return w->notification.event.value.sival_ptr;
}

// With the lock held. It stays as it is for a reader of its chain.
void take_out(Group &g, Wait *w)
{
	w->listed = Wait::Listed::over;
	g.by_channel.remove(w);
	g.by_data.remove(w);
}

// With the lock held: every wait of a chain that is meant, to the end of a list.
template <class Chain, class Meant>
void move_all(Group &g, Chain &chain, uint64_t hash, Meant meant, Wait ***end)
{
	for (Wait *w = chain.first(hash), *next; w != nullptr; w = next) {
		next = chain.next(w);
		if (!meant(w))
			continue;
		take_out(g, w);
		hold(w);
		w->next_taken = nullptr;
		**end = w;
		*end = &w->next_taken;
	}
}

// With the lock held.
bool others_cancel(const Group &g, const Channel *c)
{
	const Canceller *one = g.cancellers;
	while (one != nullptr && one->channel != c)
		one = one->next;
	return one != nullptr;
}

} // namespace

bool add(Wait *w)
{
	Group &g = group_of(w->channel);
	Guard<Mutex> guard(g.lock);
	if (w->listed != Wait::Listed::not_yet)
		return true;
	// Under the lock: either this sees the end of the channel, or the end finds the wait.
	if (w->channel->ending.load(mo::seq_cst)) {
		w->listed = Wait::Listed::over;
		return false;
	}
	w->listed = Wait::Listed::yes;
	g.by_channel.add(w, hash_of(w->channel, nullptr));
	g.by_data.add(w, hash_of(w->channel, data_of(w)));
	return true;
}

void remove(Wait *w)
{
	Group &g = group_of(w->channel);
	Guard<Mutex> guard(g.lock);
	take_out(g, w);
}

Wait *take(Canceller *me, bool all, const void *data)
{
	const Channel *c = me->channel;
	Group &g = group_of(c);
	Guard<Mutex> guard(g.lock);
	me->next = g.cancellers;
	g.cancellers = me;
	Wait *first = nullptr, **end = &first;
	if (all)
		move_all(
			g, g.by_channel, hash_of(c, nullptr),
			[&](const Wait *w) { return w->channel == c; }, &end);
	else
		move_all(
			g, g.by_data, hash_of(c, data),
			[&](const Wait *w) {
				return w->channel == c && w->kind->one_call && data_of(w) == data;
			},
			&end);
	return first;
}

void done(Canceller *me)
{
	Group &g = group_of(me->channel);
	g.lock.lock();
	Canceller **place = &g.cancellers;
	while (*place != me)
		place = &(*place)->next;
	*place = me->next;
	g.left.fetch_add(1, mo::relaxed);
	if (g.waiting != 0)
		futex_wake(g.left, INT_MAX);
	while (others_cancel(g, me->channel)) {
		uint32_t seen = g.left.load(mo::relaxed);
		g.waiting++;
		g.lock.unlock();
		futex_wait(g.left, seen, nullptr);
		g.lock.lock();
		g.waiting--;
	}
	g.lock.unlock();
}

void after_fork()
{
	for (Group &g : group) {
		g.lock.reset();
		g.by_channel.forget();
		g.by_data.forget();
		g.cancellers = nullptr;
		g.waiting = 0;
	}
}

} // namespace sigevec::source::index
