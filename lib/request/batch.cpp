// SPDX-License-Identifier: MIT
#include "request/batch.hpp"

#include "notify/notify.hpp"

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
	return b;
}

void finished_one(Batch *b)
{
	// Acquire: the notification comes after everything that the other requests' threads did.
	if (b->left.fetch_sub(1, std::memory_order_acq_rel) == 1)
		notify::send(b->notification);
}

void discard(Batch *b)
{
	Batch *head = discarded.load(std::memory_order_relaxed);
	do
		b->next_discarded = head;
	while (!discarded.compare_exchange_weak(head, b, std::memory_order_release));
}

} // namespace sigevec::batches
