// SPDX-License-Identifier: MIT
//
// The requests of one lio_listio(LIO_NOWAIT) and the notification that follows the last of them.
#pragma once

#include "notify/event.hpp"

#include <atomic>
#include <cstdint>

namespace sigevec {

struct Batch {
	// Requests whose own notification has not been delivered, plus one until lio_listio has submitted them all.
	std::atomic<uint32_t> left;
	std::atomic<bool> failed; // a request of the list has failed
	Notification notification;
	Batch *next_discarded;
};

namespace batches {

// A batch with one reference, lio_listio's own; nullptr: no memory. Not async-signal-safe.
Batch *create(const Event &event);

inline void add(Batch *b)
{
	b->left.fetch_add(1, std::memory_order_relaxed);
}

// One request of the list has failed: for the channel's event. Before finished_one. Async-signal-safe.
inline void note_failure(Batch *b)
{
	b->failed.store(true, std::memory_order_relaxed);
}

// One request of the list is done and told. The last one sends the list's notification. Async-signal-safe.
void finished_one(Batch *b);

// The notification has been delivered; the memory is freed by a later create. Async-signal-safe.
void discard(Batch *b);

} // namespace batches
} // namespace sigevec
