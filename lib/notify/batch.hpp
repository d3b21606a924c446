// SPDX-License-Identifier: MIT
//
// The requests of one lio_listio: the notification that follows the last of them (LIO_NOWAIT), or
// the call that waits for it (LIO_WAIT). A call that waits looks at the batch, not at the requests:
// what has ended is the program's again, which may free it at once.
#pragma once

#include "base/memory_order.hpp"
#include "channel/event.hpp"

#include <atomic>
#include <cstdint>

namespace sigevec {

struct Batch {
	// Requests whose own notification has not been delivered, plus one until lio_listio has
	// submitted them all.
	std::atomic<uint32_t> left;
	std::atomic<bool> failed; // a request of the list has failed
	Notification notification;
	Batch *next; // of those that are discarded
	// Of LIO_WAIT: `left' counts requests that have not ended, `in_context' those of them that
	// the caller's kernel-AIO context will report.
	bool waited;
	std::atomic<uint32_t> in_context;
	std::atomic<bool> abandoned; // the caller has left, or everything has ended: who comes
				     // second discards it
};

namespace batches {

// A batch with one reference, lio_listio's own; nullptr: no memory. Not async-signal-safe.
Batch *create(const Event &event);

// The same for LIO_WAIT.
Batch *create_waited();

inline void add(Batch *b)
{
	b->left.fetch_add(1, mo::relaxed);
}

// One request of the list has failed: for the channel's event. Before finished_one.
// Async-signal-safe.
inline void note_failure(Batch *b)
{
	b->failed.store(true, mo::relaxed);
}

// One request of the list is done and told. The last one sends the list's notification.
// Async-signal-safe.
void finished_one(Batch *b);

// Of LIO_WAIT. Whether all have ended; and that the caller waits no longer, or has seen that: it is
// not the caller's any more.
bool all_ended(const Batch *b);
void leave(Batch *b);

// The notification has been delivered; the memory is freed by a later create. Async-signal-safe.
void discard(Batch *b);

} // namespace batches
} // namespace sigevec
