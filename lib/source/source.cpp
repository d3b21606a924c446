// SPDX-License-Identifier: MIT
#include "source/source.hpp"

#include "base/memory_order.hpp"
#include "base/pool.hpp"
#include "base/sync.hpp"
#include "channel/channel.hpp"
#include "channel/reader_fds.hpp"
#include "nptl.hpp"
#include "runtime/helper.hpp"
#include "runtime/probes.hpp"
#include "source/addrinfo.hpp"
#include "source/futex_waiter.hpp"
#include "source/index.hpp"
#include "source/sync.hpp"
#include "source/sysv.hpp"
#include "source/timer.hpp"

namespace sigevec::source {

namespace {

Wait *of(const Notification &n)
{
	return static_cast<Wait *>(n.owner);
}

bool describe_event(Notification &n, event_data_t *d)
{
	return of(n)->kind->describe(of(n), d);
}

void drop_event(Notification &n)
{
	if (of(n)->kind->drop != nullptr)
		of(n)->kind->drop(of(n));
}

void release_event(Notification &n)
{
	release(of(n));
}

constexpr EventOps event_ops = {describe_event, drop_event, release_event};

constexpr uint32_t most_waits = 1u << 20;

constinit Pool<Wait, 6, most_waits / 64> pool;

uint32_t generation(uint64_t life)
{
	return static_cast<uint32_t>(life >> 32);
}

bool add_reference(Wait *w, uint64_t *life)
{
	*life = w->life.load(mo::relaxed);
	while (static_cast<uint32_t>(*life) != 0)
		if (w->life.compare_exchange_weak(*life, *life + 1, mo::acquire, mo::relaxed))
			return true;
	return false;
}

} // namespace

namespace {

// With so many references. nullptr: no memory.
Wait *create(const Kind *kind, Channel *c, union sigval value, uint64_t references)
{
	Wait *w = pool.take(most_waits);
	if (w == nullptr)
		return nullptr;
	w->kind = kind;
	w->channel = c;
	w->flags.store(0, mo::relaxed);
	w->count.store(0, mo::relaxed);
	w->overrun.store(0, mo::relaxed);
	w->fd = -1;
	w->result = 0;
	w->listed = Wait::Listed::not_yet;
	w->of_channel.place = w->of_data.place = w->of_key.place = nullptr;
	w->notification.event = Event{};
	w->notification.event.notify = SIGEV_EC;
	w->notification.event.value = value;
	w->notification.event.channel = c;
	w->notification.ops = &event_ops;
	w->notification.owner = w;
	uint64_t next = generation(w->life.load(mo::relaxed)) + uint64_t{1};
	w->life.store(next << 32 | references, mo::release);
	return w;
}

// It has ended: whoever waits for that goes on.
void over(Wait *w)
{
	index::remove(w);
	set_flags(w, settled);
}

} // namespace

int begin(const Kind *kind, ec_t ec, union sigval value, Wait **w)
{
	Channel *c = nullptr;
	int error = channel::admit(ec, &c);
	if (error != 0)
		return error;
	*w = create(kind, c, value, 2);
	if (*w == nullptr)
		channel::return_credit(c);
	return *w != nullptr ? 0 : EAGAIN;
}

void abandon(Wait *w)
{
	channel::return_credit(w->channel);
	release(w);
	release(w);
}

void publish(Wait *w)
{
	if (!index::add(w)) {
		w->kind->cancel(w, true);
		if (w->kind->await != nullptr)
			w->kind->await(w);
	}
	release(w);
}

uint64_t handle(const Wait *w)
{
	return uint64_t{generation(w->life.load(mo::relaxed))} << 32 | w->index;
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

void hold(Wait *w)
{
	w->life.fetch_add(1, mo::relaxed);
}

void release(Wait *w)
{
	int fd = w->fd;
	uint64_t life = w->life.load(mo::relaxed);
	while (!w->life.compare_exchange_weak(life, life - 1, mo::acq_rel, mo::relaxed))
		;
	if (static_cast<uint32_t>(life) != 1)
		return;
	helper::close_inside(fd);
	pool.give_back(w);
}

void push(Wait *w)
{
	hold(w);
	stats::count(stats::notify_channel);
	SIGEVEC_PROBE3(notify, SIGEV_EC, w->notification.event.signo,
		       w->notification.event.value.sival_ptr);
	channel::push(w->notification);
}

void finish(Wait *w, ssize_t result)
{
	w->result = result;
	push(w);
	over(w);
	release(w);
}

void give_up(Wait *w)
{
	over(w);
	channel::return_credit(w->channel);
	release(w);
}

void set_flags(Wait *w, uint32_t flags)
{
	if ((w->flags.fetch_or(flags, mo::acq_rel) & awaited) != 0)
		nptl::wake(&w->flags, INT_MAX, true);
}

uint32_t await_flags(Wait *w, uint32_t flags)
{
	for (;;) {
		uint32_t now = w->flags.fetch_or(awaited, mo::acq_rel) | awaited;
		if ((now & flags) != 0)
			return now;
		await_change(w, now, nullptr);
	}
}

// The kernel keeps the words of the waits' objects in one table, and this one in another: not to
// look among thousands.
void await_change(const Wait *w, uint32_t seen, const struct timespec *limit)
{
	syscall(SYS_futex, &w->flags, FUTEX_WAIT, seen, limit, nullptr, 0);
}

// The credit of a wait that is told many times is the wait's while `queued' is not set, and the
// event's while it is. Whoever sets one of the two bits first decides: end() finds the credit with
// the wait, or leaves it to the event's reader.
bool push_again(Wait *w)
{
	uint32_t was = w->flags.fetch_or(queued, mo::acq_rel);
	if ((was & (queued | ended)) == 0)
		push(w);
	return (was & ended) == 0;
}

bool rearm(Wait *w)
{
	// The event's credit goes with it: one more for the next.
	channel::add_credit(w->channel);
	if ((w->flags.fetch_and(~queued, mo::acq_rel) & ended) == 0)
		return true;
	channel::return_credit(w->channel);
	return false;
}

bool end(Wait *w)
{
	uint32_t was = w->flags.fetch_or(ended, mo::acq_rel);
	if ((was & ended) != 0)
		return false;
	over(w);
	if ((was & queued) == 0)
		channel::return_credit(w->channel);
	return true;
}

void describe_result(const Wait *w, event_data_t *d)
{
	d->ev_result = w->result < 0 ? -1 : w->result;
	d->ev_errno = w->result < 0 ? static_cast<int>(-w->result) : 0;
}

// What comes is only a number: the wait that it means may be over, or of another channel, or no
// descriptor's.
void readable(const Channel *c, uint64_t number)
{
	Wait *w = find(number);
	if (w == nullptr)
		return;
	if (w->channel == c && w->kind->ready != nullptr)
		w->kind->ready(w);
	release(w);
}

unsigned of_channel(const Channel *c, bool all, const void *data)
{
	index::Canceller me{c, nullptr};
	Wait *first = index::take(&me, all, data);
	unsigned found = 0;
	for (Wait *w = first; w != nullptr; w = w->next_taken)
		if (w->kind->cancel(w, all))
			found++;
	while (Wait *w = first) {
		first = w->next_taken;
		if (w->kind->await != nullptr)
			w->kind->await(w);
		release(w);
	}
	index::done(&me);
	return found;
}

void after_fork()
{
	timer::after_fork();
	addrinfo::after_fork();
	sysv::after_fork();
	futex_waiter::after_fork();
	sync::after_fork();
	index::after_fork();
	for (uint32_t i = 0; i < pool.size(); i++) {
		Wait *w = pool.at(i);
		uint64_t life = w->life.load(mo::relaxed);
		w->life.store(life >> 32 << 32, mo::relaxed);
	}
	pool.after_fork();
}

} // namespace sigevec::source
