// SPDX-License-Identifier: MIT
#include "ring_channel/buffer_group.hpp"

#ifdef HAVE_LIBURING

#include "dma/receiver.hpp"

#include <algorithm>
#include <cstdlib>
#include <sys/mman.h>

namespace sigevec::ring_channel::buffer_group {

using dma::Region;

namespace {

void count_lent(const BufferGroup *l, int pieces)
{
	l->region->pieces.add_lent(
		static_cast<int64_t>(dma::PieceAllocator::units_of(l->size) * dma::unit) * pieces);
}

} // namespace

void refill(BufferGroup *l)
{
	uint32_t before = l->lent;
	for (uint32_t i = 0; i < l->entries && l->lent < l->entries; i++) {
		if (l->piece[i] != nullptr)
			continue;
		char *p = l->region->pieces.reserve(l->size);
		if (p == nullptr)
			break;
		l->piece[i] = p;
		io_uring_buf_ring_add(
			l->ring, p, static_cast<unsigned>(l->size), static_cast<unsigned short>(i),
			io_uring_buf_ring_mask(l->entries), static_cast<int>(l->lent - before));
		l->lent++;
	}
	io_uring_buf_ring_advance(l->ring, static_cast<int>(l->lent - before));
	count_lent(l, static_cast<int>(l->lent - before));
}

char *take(BufferGroup *l, uint32_t i)
{
	char *p = l->piece[i];
	l->piece[i] = l->region->pieces.reserve(l->size);
	if (l->piece[i] == nullptr) {
		l->lent--;
		count_lent(l, -1);
		return p;
	}
	io_uring_buf_ring_add(l->ring, l->piece[i], static_cast<unsigned>(l->size),
			      static_cast<unsigned short>(i), io_uring_buf_ring_mask(l->entries),
			      0);
	io_uring_buf_ring_advance(l->ring, 1);
	return p;
}

namespace {

constexpr uint32_t most_lent = 1024, least_lent = 64;
constexpr size_t largest = 64 * 1024;
// Of a region at most one part in so many is lent for one size, and for all together, by all
// channels.
constexpr size_t share = 4, share_of_all = 2;

void give_up(RingState *s, BufferGroup *l, bool registered)
{
	BufferGroup **at = &s->buffer_groups;
	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	if (registered && has_number(s))
		io_uring_unregister_buf_ring(&s->ring, l->id);
	for (uint32_t i = 0; i < l->entries; i++)
		if (l->piece[i] != nullptr)
			l->region->pieces.discard(l->piece[i], l->size);
	count_lent(l, -static_cast<int>(l->lent));
	munmap(l->ring, l->mapped);
	free(l->piece);
	free(l);
}

// How many pieces of a size are lent; 0: too few for this to be worth while.
uint32_t number_for(const Region *r, size_t size)
{
	size_t all = r->size / share_of_all, lent = r->pieces.lent();
	size_t left = lent < all ? all - lent : 0;
	size_t fit =
		std::min(r->size / share, left) / (dma::PieceAllocator::units_of(size) * dma::unit);
	if (size > largest || fit < least_lent)
		return 0;
	uint32_t n = least_lent;
	while (n < most_lent && n * 2 <= fit)
		n *= 2;
	return n;
}

BufferGroup *make_lender(RingState *s, Region *r, size_t size, uint32_t entries)
{
	// It wakes the owner when there is room again.
	if (!dma::receiver::ensure())
		return nullptr;
	auto *l = static_cast<BufferGroup *>(calloc(1, sizeof(BufferGroup)));
	char **piece = static_cast<char **>(calloc(entries, sizeof(char *)));
	size_t mapped = entries * sizeof(struct io_uring_buf);
	void *m = l == nullptr || piece == nullptr ? MAP_FAILED
						   : mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
							  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED) {
		free(l);
		free(piece);
		return nullptr;
	}
	*l = {s->buffer_groups, r,    size, ++s->last_group,
	      entries,          0,    0,    static_cast<struct io_uring_buf_ring *>(m),
	      mapped,           piece};
	s->buffer_groups = l;
	struct io_uring_buf_reg reg = {};
	reg.ring_addr = reinterpret_cast<uintptr_t>(m);
	reg.ring_entries = entries;
	reg.bgid = l->id;
	if (!has_number(s) || io_uring_register_buf_ring(&s->ring, &reg, 0) != 0) {
		s->no_buffer_groups = true;
		give_up(s, l, false);
		return nullptr;
	}
	refill(l);
	return l;
}

} // namespace

BufferGroup *find(RingState *s, Region *r, size_t size)
{
	for (BufferGroup *l = s->buffer_groups; l != nullptr; l = l->next)
		if (l->region == r && l->size == size)
			return l;
	uint32_t entries = s->no_buffer_groups ? 0 : number_for(r, size);
	return entries != 0 ? make_lender(s, r, size, entries) : nullptr;
}

void leave(RingState *s, BufferGroup *l)
{
	l->users--;
	end_if_unused(s, l);
}

void end_if_unused(RingState *s, BufferGroup *l)
{
	if (l->users == 0)
		give_up(s, l, true);
}

} // namespace sigevec::ring_channel::buffer_group

#endif
