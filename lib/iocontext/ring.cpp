// SPDX-License-Identifier: MIT
#include "iocontext/ring.hpp"

#include "base/memory_order.hpp"
#include "iocontext/user_memory.hpp"

#include <cerrno>
#include <sys/mman.h>
#include <unistd.h>

namespace sigevec::io {

namespace {

constexpr uint32_t most_events = 0x10000000 / sizeof(struct io_event);

// No two rings have a mark in common.
std::atomic<uint64_t> rings_made{0};

// The last place of a ring is not the program's: by it a view of the ring is known.
uint64_t *mark_of(Ring *r, size_t bytes)
{
	return reinterpret_cast<uint64_t *>(reinterpret_cast<char *>(r) + bytes -
					    sizeof(struct io_event));
}

} // namespace

// As the kernel reckons, also beyond what its unsigned numbers have room for: twice what was asked
// for. 0 and *events, or -errno.
int events_for(unsigned nr, uint32_t *events)
{
	*events = (nr < 4 ? 4 : nr) * 2;
	if (*events > most_events)
		return -EINVAL;
	return nr > most_events ? -EAGAIN : 0;
}

Views map_ring(uint32_t events)
{
	Views v{nullptr, MAP_FAILED, 0};
	auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
	v.bytes = (sizeof(Ring) + (size_t{events} + 3) * sizeof(struct io_event) + page - 1) /
		  page * page;
	v.of_program =
		mmap(nullptr, v.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (v.of_program == MAP_FAILED)
		return v;
	// Of shared memory a move of nothing is a second view.
	void *own = mremap(v.of_program, 0, v.bytes, MREMAP_MAYMOVE);
	if (own == MAP_FAILED) {
		munmap(v.of_program, v.bytes);
		return v;
	}
	// A child of any kind could write events that the program takes for its own.
	madvise(v.of_program, v.bytes, MADV_DONTFORK);
	madvise(own, v.bytes, MADV_DONTFORK);
	v.own = static_cast<Ring *>(own);
	v.own->size = static_cast<uint32_t>((v.bytes - sizeof(Ring)) / sizeof(struct io_event) - 1);
	v.own->magic = aio_ring_magic;
	v.own->compat = 1;
	v.own->header_length = sizeof(Ring);
	*mark_of(v.own, v.bytes) = rings_made.fetch_add(uint64_t{1} << 32, mo::relaxed);
	return v;
}

void unmap(const Views &v)
{
	munmap(v.own, v.bytes);
	munmap(v.of_program, v.bytes);
}

bool put_empty_memory(Ring *r, size_t bytes)
{
	void *m = mmap(r, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (m != MAP_FAILED && m != r)
		munmap(m, bytes); // Linux before 4.17
	return m == r;
}

bool is_view(Ring *own, size_t bytes, void *address)
{
	uint64_t *there = mark_of(static_cast<Ring *>(address), bytes);
	if (!readable(there, sizeof *there))
		return false;
	uint64_t now = __atomic_add_fetch(mark_of(own, bytes), 1, __ATOMIC_RELAXED);
	return __atomic_load_n(there, __ATOMIC_RELAXED) == now;
}

} // namespace sigevec::io
