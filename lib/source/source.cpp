// SPDX-License-Identifier: MIT
#include "source/source.hpp"

#include "channel/bell.hpp"
#include "channel/channel.hpp"
#include "request/pool.hpp"
#include "runtime/probes.hpp"
#include "source/addrinfo.hpp"
#include "source/inner.hpp"
#include "source/sync.hpp"
#include "source/sysv.hpp"
#include "source/timer.hpp"
#include "source/watcher.hpp"

namespace sigevec::source {

namespace {

constexpr uint32_t most_waits = 1u << 20;

Pool<Wait, 6, most_waits / 64> pool;

uint32_t generation(uint64_t life)
{
	return static_cast<uint32_t>(life >> 32);
}

bool add_reference(Wait *w, uint64_t *life)
{
	*life = w->life.load(std::memory_order_relaxed);
	while (static_cast<uint32_t>(*life) != 0)
		if (w->life.compare_exchange_weak(*life, *life + 1, std::memory_order_acquire, std::memory_order_relaxed))
			return true;
	return false;
}

} // namespace

Wait *create(const Kind *kind, Channel *c, union sigval value)
{
	Wait *w = pool.take(most_waits);
	if (w == nullptr)
		return nullptr;
	w->kind = kind;
	w->channel = c;
	w->flags.store(0, std::memory_order_relaxed);
	w->count.store(0, std::memory_order_relaxed);
	w->overrun.store(0, std::memory_order_relaxed);
	w->fd = -1;
	w->result = 0;
	w->notification.event = Event{};
	w->notification.event.notify = SIGEV_EC;
	w->notification.event.value = value;
	w->notification.event.channel = c;
	w->notification.source = w;
	uint64_t next = generation(w->life.load(std::memory_order_relaxed)) + uint64_t{1};
	w->life.store(next << 32 | 1, std::memory_order_release);
	return w;
}

uint64_t handle(const Wait *w)
{
	return uint64_t{generation(w->life.load(std::memory_order_relaxed))} << 32 | w->index;
}

Wait *find(uint64_t handle)
{
	auto index = static_cast<uint32_t>(handle);
	if (index >= pool.size())
		return nullptr;
	Wait *w = pool.at(index);
	uint64_t life;
	if (!add_reference(w, &life))
		return nullptr;
	if (generation(life) == handle >> 32)
		return w;
	release(w);
	return nullptr;
}

Wait *hold(uint32_t index)
{
	uint64_t life;
	Wait *w = pool.at(index);
	return add_reference(w, &life) ? w : nullptr;
}

uint32_t size()
{
	return pool.size();
}

void release(Wait *w)
{
	int fd = w->fd;
	uint64_t life = w->life.load(std::memory_order_relaxed);
	while (!w->life.compare_exchange_weak(life, life - 1, std::memory_order_acq_rel, std::memory_order_relaxed))
		;
	if (static_cast<uint32_t>(life) != 1)
		return;
	bell::close(fd);
	pool.give_back(w);
}

void push(Wait *w)
{
	uint64_t life;
	add_reference(w, &life);
	stats::count(stats::notify_channel);
	SIGEVEC_PROBE3(notify, SIGEV_EC, w->notification.event.signo, w->notification.event.value.sival_ptr);
	channel::push(w->notification);
}

void finish(Wait *w, ssize_t result)
{
	w->result = result;
	push(w);
	release(w);
}

void give_up(Wait *w)
{
	channel::retract(w->channel);
	release(w);
}

// The room of a wait that is told many times is the wait's while `queued' is not set, and the event's while it is. Whoever sets one of the
// two bits first decides: end() finds the room with the wait, or leaves it to the event's reader.
bool push_again(Wait *w)
{
	uint32_t was = w->flags.fetch_or(queued, std::memory_order_acq_rel);
	if ((was & (queued | ended)) == 0)
		push(w);
	return (was & ended) == 0;
}

bool rearm(Wait *w)
{
	// The event's room goes with it: one more for the next.
	channel::more_room(w->channel);
	if ((w->flags.fetch_and(~queued, std::memory_order_acq_rel) & ended) == 0)
		return true;
	channel::retract(w->channel);
	return false;
}

bool end(Wait *w)
{
	uint32_t was = w->flags.fetch_or(ended, std::memory_order_acq_rel);
	if ((was & ended) != 0)
		return false;
	if ((was & queued) == 0)
		channel::retract(w->channel);
	return true;
}

void tell_result(const Wait *w, event_data_t *d)
{
	d->ev_result = w->result < 0 ? -1 : w->result;
	d->ev_errno = w->result < 0 ? static_cast<int>(-w->result) : 0;
}

bool tell(const Notification &n, event_data_t *d)
{
	return n.source->kind->tell(n.source, d);
}

void drop(const Notification &n)
{
	if (n.source->kind->drop != nullptr)
		n.source->kind->drop(n.source);
}

unsigned of_channel(const Channel *c, bool all, const void *data)
{
	unsigned found = 0;
	for (uint32_t i = 0; i < pool.size(); i++) {
		Wait *w = hold(i);
		if (w == nullptr)
			continue;
		bool meant = w->channel == c && (all || (w->kind->one_call && w->notification.event.value.sival_ptr == data));
		if (meant && w->kind->cancel(w, all))
			found++;
		release(w);
	}
	return found;
}

void after_fork()
{
	timer::after_fork();
	addrinfo::after_fork();
	inner::after_fork();
	sysv::after_fork();
	watcher::after_fork();
	sync::after_fork();
	for (uint32_t i = 0; i < pool.size(); i++) {
		Wait *w = pool.at(i);
		uint64_t life = w->life.load(std::memory_order_relaxed);
		if (static_cast<uint32_t>(life) != 0)
			bell::close(w->fd);
		w->life.store(life >> 32 << 32, std::memory_order_relaxed);
	}
	pool.after_fork();
}

} // namespace sigevec::source
