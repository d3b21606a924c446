// SPDX-License-Identifier: MIT
#include "notify/batch.hpp"

#include "base/inbox.hpp"
#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "notify/notify.hpp"

#include <cerrno>
#include <cstdlib>
#include <new>

namespace sigevec::batches {

namespace {

constinit Inbox<Batch> discarded;

Batch *of(const Notification &n)
{
	return static_cast<Batch *>(n.owner);
}

bool describe(Notification &n, event_data_t *d)
{
	bool failed = of(n)->failed.load(mo::relaxed);
	d->ev_type = event_type_aio;
	d->ev_result = failed ? -1 : 0;
	d->ev_errno = failed ? EIO : 0;
	return true;
}

void release(Notification &n)
{
	discard(of(n));
}

constexpr EventOps ops = {describe, nullptr, release};

} // namespace

Batch *create(const Event &event)
{
	for (Batch *old = discarded.take_all(), *next; old != nullptr; old = next) {
		next = old->next;
		free(old);
	}
	void *m = malloc(sizeof(Batch));
	if (m == nullptr)
		return nullptr;
	auto *b = new (m) Batch;
	b->left.store(1, mo::relaxed);
	b->failed.store(false, mo::relaxed);
	b->notification.event = event;
	b->notification.ops = &ops;
	b->notification.owner = b;
	b->waited = false;
	return b;
}

Batch *create_waited()
{
	Batch *b = create(Event{});
	if (b == nullptr)
		return nullptr;
	b->waited = true;
	b->in_context.store(0, mo::relaxed);
	b->abandoned.store(false, mo::relaxed);
	return b;
}

bool all_ended(const Batch *b)
{
	// Acquire: what the requests' threads did is seen with it.
	return b->left.load(mo::acquire) == 0;
}

void leave(Batch *b)
{
	if (b->abandoned.exchange(true, mo::acq_rel))
		discard(b);
}

void finished_one(Batch *b)
{
	// Acquire: the notification comes after everything that the other requests' threads did.
	if (b->left.fetch_sub(1, mo::acq_rel) != 1)
		return;
	if (!b->waited) {
		notify::send(b->notification);
		return;
	}
	futex_wake(b->left, 1);
	leave(b);
}

void discard(Batch *b)
{
	discarded.push(b);
}

} // namespace sigevec::batches
