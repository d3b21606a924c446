// SPDX-License-Identifier: MIT
#include "completion/waiters.hpp"

#include "aiocb.hpp"
#include "base/memory_order.hpp"
#include "base/sync.hpp"

namespace sigevec::waiters {

Bucket bucket[buckets];
Bucket any;

namespace {

void wake_bucket(Bucket &b)
{
	// seq_cst, as the sleeper's increment: either it sees the new generation, or this sees it
	// asleep.
	b.generation.fetch_add(1, mo::seq_cst);
	if (b.sleepers.load(mo::seq_cst) != 0)
		futex_wake(b.generation, INT_MAX);
}

} // namespace

void wake(uint32_t mask)
{
	while (mask != 0) {
		wake_bucket(bucket[__builtin_ctz(mask)]);
		mask &= mask - 1;
	}
}

void wake_any()
{
	if (any.sleepers.load(mo::seq_cst) != 0)
		wake_bucket(any);
}

bool mark(const struct aiocb *cb, unsigned b)
{
	auto word = aiocb_layout::status(cb);
	int v = word.load(mo::acquire);
	int bit = 1 << (aiocb_layout::bucket_shift + b);
	while ((v & aiocb_layout::error_mask) == EINPROGRESS) {
		if ((v & bit) != 0 || word.compare_exchange_weak(v, v | bit, mo::seq_cst))
			return true;
	}
	return false;
}

void after_fork()
{
	for (Bucket &b : bucket)
		b.sleepers.store(0, mo::relaxed);
	any.sleepers.store(0, mo::relaxed);
}

} // namespace sigevec::waiters
