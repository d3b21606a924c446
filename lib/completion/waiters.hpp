// SPDX-License-Identifier: MIT
//
// Sleeping until a request ends.
//
// A waiter belongs to one of 16 buckets, by its thread. It marks each aiocb it waits for with the
// bit of its bucket, in the upper part of the status word. Publishing a result replaces the whole
// word in one exchange, so the publisher learns who waits, and wakes only those buckets. Marks stay
// until the request ends; a bucket in which nobody sleeps costs a load.
//
// Why no wake-up is lost: the waiter reads the bucket's generation, then marks (or finds the
// request ended); the publisher exchanges the status, then changes the generation. If the mark came
// first, the publisher sees it and the generation differs from the one the waiter sleeps on; if it
// came second, the waiter sees the end.
#pragma once

#include "base/thread_number.hpp"

#include <aio.h>
#include <atomic>
#include <cstdint>

namespace sigevec::waiters {

constexpr unsigned buckets = 16;

struct alignas(64) Bucket {
	std::atomic<uint32_t> generation{0};
	std::atomic<uint32_t> sleepers{0};
};

extern Bucket bucket[buckets];
// Callers of aio_waitcomplete, who wait for any request.
extern Bucket any;

inline unsigned own_bucket()
{
	return thread_number() % buckets;
}

// Wakes everyone in the buckets of mask. Async-signal-safe.
void wake(uint32_t mask);

// A request has ended: for aio_waitcomplete.
void wake_any();

// Marks cb for bucket b; false when it is not in progress. Async-signal-safe.
bool mark(const struct aiocb *cb, unsigned b);

void after_fork();

} // namespace sigevec::waiters
