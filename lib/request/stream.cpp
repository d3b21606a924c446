// SPDX-License-Identifier: MIT
#include "request/stream.hpp"

#include "base/memory_order.hpp"

namespace sigevec::stream {

namespace {
// Relaxed where only the number counts; the data itself is ordered by the descriptor.
std::atomic<uint32_t> table[2 * words + 1];
} // namespace

uint32_t word_of(const Key &k)
{
	uint64_t h = k.ino * 0x9e3779b97f4a7c15ull ^ k.dev * 0xc2b2ae3d27d4eb4full;
	return static_cast<uint32_t>(h >> 40) % words + (k.read ? words : 0);
}

bool claim(uint32_t word)
{
	uint32_t none = 0;
	return table[word].compare_exchange_strong(none, claimed_bit, mo::acq_rel);
}

bool give_up_claim(uint32_t word)
{
	return table[word].fetch_and(~claimed_bit, mo::acq_rel) != claimed_bit;
}

void take_over_claim(uint32_t word)
{
	table[word].fetch_and(~claimed_bit, mo::acq_rel);
}

bool claimed(uint32_t word)
{
	return (table[word].load(mo::acquire) & claimed_bit) != 0;
}

bool idle(uint32_t word)
{
	return table[word].load(mo::acquire) == 0;
}

void enter(uint32_t word)
{
	table[word].fetch_add(1, mo::acq_rel);
}

void leave(uint32_t word)
{
	table[word].fetch_sub(1, mo::seq_cst);
}

uint32_t entered(uint32_t word)
{
	return table[word].load(mo::seq_cst) & ~claimed_bit;
}

void after_fork()
{
	for (auto &w : table)
		w.store(0, mo::relaxed);
}

} // namespace sigevec::stream
