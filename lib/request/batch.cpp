// SPDX-License-Identifier: MIT
#include "request/batch.hpp"

#include "notify/notify.hpp"
#include "runtime/sync.hpp"

#include <cstdlib>
#include <new>

namespace sigevec::batches {

namespace {
std::atomic<Batch *> discarded{nullptr};
}

Batch *create(const Event &event)
{
	Batch *old = discarded.exchange(nullptr, std::memory_order_acquire);
	while (old != nullptr) {
		Batch *next = old->next_discarded;
		free(old);
		old = next;
	}
	void *m = malloc(sizeof(Batch));
	if (m == nullptr)
		return nullptr;
	auto *b = new (m) Batch;
	b->left.store(1, std::memory_order_relaxed);
	b->failed.store(false, std::memory_order_relaxed);
	b->notification.event = event;
	b->notification.owner_batch = b;
	b->waited = false;
	return b;
}

Batch *create_waited()
{
	Batch *b = create(Event{});
	if (b == nullptr)
		return nullptr;
	b->waited = true;
	b->in_context.store(0, std::memory_order_relaxed);
	b->abandoned.store(false, std::memory_order_relaxed);
	return b;
}

bool all_ended(const Batch *b)
{
	// Acquire: what the requests' threads did is seen with it.
	return b->left.load(std::memory_order_acquire) == 0;
}

void leave(Batch *b)
{
	if (b->abandoned.exchange(true, std::memory_order_acq_rel))
		discard(b);
}

void finished_one(Batch *b)
{
	// Acquire: the notification comes after everything that the other requests' threads did.
	if (b->left.fetch_sub(1, std::memory_order_acq_rel) != 1)
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
	Batch *head = discarded.load(std::memory_order_relaxed);
	do
		b->next_discarded = head;
	while (!discarded.compare_exchange_weak(head, b, std::memory_order_release));
}

} // namespace sigevec::batches
