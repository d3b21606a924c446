// SPDX-License-Identifier: MIT
#include "dma/region.hpp"

#include "dma/zero_copy.hpp"
#include "runtime/config.hpp"
#include "runtime/sync.hpp"

#include <cerrno>
#include <linux/mempolicy.h>
#include <sys/mman.h>

#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << 26)
#endif

namespace sigevec::dma::region {

namespace {

constexpr unsigned index_bits = 12;
static_assert(most < 1u << index_bits);
constexpr uint32_t gone = 1u << 31;
constexpr unsigned node_shift = 16;
constexpr size_t page = 4096, huge_page = size_t{2} << 20;

Region table[most];
std::atomic<uint32_t> in_table{0}; // places that have ever been used
std::atomic<uint64_t> charge{0};
Mutex changing;

size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

bool add_charge(size_t n)
{
	uint64_t limit = config::limits.dma.load(std::memory_order_relaxed);
	uint64_t now = charge.load(std::memory_order_relaxed);
	do {
		if (n > limit || now > limit - n)
			return false;
	} while (!charge.compare_exchange_weak(now, now + n, std::memory_order_relaxed));
	return true;
}

// With `changing' held.
Region *free_place()
{
	uint32_t n = in_table.load(std::memory_order_relaxed);
	for (uint32_t i = 0; i < n; i++)
		if (table[i].handle.load(std::memory_order_relaxed) == 0)
			return &table[i];
	if (n == most)
		return nullptr;
	in_table.store(n + 1, std::memory_order_release);
	return &table[n];
}

void *map(size_t n, int more)
{
	void *m = mmap(nullptr, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | more, -1, 0);
	return m == MAP_FAILED ? nullptr : m;
}

// 0 or an errno: EINVAL no such node.
int place_on_node(void *m, size_t n, unsigned node)
{
	unsigned long mask[1024 / 64] = {};
	mask[node / 64] = 1ul << (node % 64);
	if (syscall(SYS_mbind, m, n, MPOL_BIND, mask, 1024ul, 0) == 0)
		return 0;
	// A kernel without NUMA has one node.
	return errno == ENOSYS && node == 0 ? 0 : errno == ENOSYS ? EINVAL : errno;
}

// Memory of the library's own. 0 or an errno.
int map_memory(Region *r)
{
	r->page_size = page;
	r->mapped = round_up(r->size, page);
	r->mapping = nullptr;
	if ((r->flags & DMA_HUGE) != 0) {
		size_t n = round_up(r->size, huge_page);
		if ((r->mapping = map(n, MAP_HUGETLB | MAP_HUGE_2MB)) != nullptr) {
			r->mapped = n;
			r->page_size = huge_page;
		}
	}
	if (r->mapping == nullptr && (r->mapping = map(r->mapped, MAP_NORESERVE)) == nullptr)
		return ENOMEM;
	// What hugetlb has none of, the kernel may yet find by itself.
	if ((r->flags & DMA_HUGE) != 0 && r->page_size == page)
		madvise(r->mapping, r->mapped, MADV_HUGEPAGE);
	if (r->flags >> node_shift != 0)
		if (int e = place_on_node(r->mapping, r->mapped, (r->flags >> node_shift) - 1); e != 0) {
			munmap(r->mapping, r->mapped);
			return e;
		}
	r->base = static_cast<char *>(r->mapping);
	return 0;
}

// The pages that the region lies in.
bool change_lock(const Region *r, bool lock)
{
	auto from = reinterpret_cast<uintptr_t>(r->base) / page * page;
	size_t n = reinterpret_cast<uintptr_t>(r->base) + r->size - from;
	auto *p = reinterpret_cast<void *>(from);
	// Raw: the sanitizers make nothing of libc's.
	return syscall(lock ? SYS_mlock : SYS_munlock, p, n) == 0;
}

void hold_in_memory(Region *r)
{
	r->locked.store(false, std::memory_order_relaxed);
	if ((r->flags & DMA_LAZY) != 0) {
		r->held = dma_lazily;
		r->reason = "DMA_LAZY: locked while a request is outstanding";
	} else if (r->page_size == huge_page) {
		r->held = dma_locked;
		r->reason = "huge pages of the system's pool are never swapped out";
	} else if (change_lock(r, true)) {
		r->held = dma_locked;
		r->reason = "mlock: there is no kernel module";
	} else {
		r->held = dma_not_held;
		r->reason = errno == EPERM ? "mlock is not permitted" : "mlock: beyond RLIMIT_MEMLOCK, or no memory";
	}
}

void reset_counters(Region *r)
{
	for (auto *c : {&r->sent, &r->received, &r->zero_copy, &r->copied, &r->rearms, &r->full, &r->dropped})
		c->store(0, std::memory_order_relaxed);
	r->requests.store(0, std::memory_order_relaxed);
	r->sockets.store(0, std::memory_order_relaxed);
	r->locking.store(false, std::memory_order_relaxed);
	r->pause.store(0, std::memory_order_relaxed);
	r->next_pause.store(zero_copy::first_pause, std::memory_order_relaxed);
}

bool overlaps(const char *base, size_t size)
{
	for (uint32_t i = 0; i < in_table.load(std::memory_order_relaxed); i++) {
		const Region &r = table[i];
		if (r.handle.load(std::memory_order_relaxed) != 0 && base < r.base + r.size && r.base < base + size)
			return true;
	}
	return false;
}

bool is_mapped(const char *p, size_t n)
{
	constexpr size_t at_once = 4096 * page;
	unsigned char in_core[4096];
	auto from = reinterpret_cast<uintptr_t>(p) / page * page;
	uintptr_t end = reinterpret_cast<uintptr_t>(p) + n;
	for (; from < end; from += at_once)
		if (mincore(reinterpret_cast<void *>(from), end - from < at_once ? end - from : at_once, in_core) != 0)
			return false;
	return true;
}

// With `changing' held; r has its memory.
int enter(Region *r, dma_mem_t *handle)
{
	size_t n = r->size / unit;
	if (r->mapping != nullptr)
		n = (r->size + unit - 1) / unit;
	if (n == 0 || n >= no_unit)
		return n == 0 ? EINVAL : ENOMEM;
	if (!r->slots.create(r->base, static_cast<uint32_t>(n)))
		return ENOMEM;
	reset_counters(r);
	hold_in_memory(r);
	r->generation++;
	uintptr_t h = r->generation << index_bits | (index_of(r) + 1);
	r->handle.store(h, std::memory_order_release);
	*handle = reinterpret_cast<dma_mem_t>(h);
	return 0;
}

} // namespace

int allocate(dma_mem_t *handle, size_t size, unsigned flags)
{
	constexpr unsigned known = DMA_LAZY | DMA_HUGE | (0x3ffu << node_shift);
	if (handle == nullptr || size == 0 || (flags & ~known) != 0)
		return EINVAL;
	if (!add_charge(size))
		return EAGAIN;
	Guard<Mutex> g(changing);
	Region *r = free_place();
	int e = EAGAIN;
	if (r != nullptr) {
		r->size = size;
		r->flags = flags;
		e = map_memory(r);
		if (e == 0 && (e = enter(r, handle)) != 0)
			munmap(r->mapping, r->mapped);
	}
	if (e != 0)
		charge.fetch_sub(size, std::memory_order_relaxed);
	return e;
}

int import(dma_mem_t *handle, void *addr, size_t size, unsigned flags)
{
	auto *p = static_cast<char *>(addr);
	if (handle == nullptr || addr == nullptr || size == 0 || (flags & ~DMA_LAZY) != 0 ||
	    size > UINTPTR_MAX - reinterpret_cast<uintptr_t>(p))
		return EINVAL;
	if (!is_mapped(p, size))
		return EFAULT;
	if (!add_charge(size))
		return EAGAIN;
	Guard<Mutex> g(changing);
	Region *r = overlaps(p, size) ? nullptr : free_place();
	int e = r != nullptr ? 0 : overlaps(p, size) ? EINVAL : EAGAIN;
	if (e == 0) {
		size_t skip = -reinterpret_cast<uintptr_t>(p) % unit;
		r->mapping = nullptr;
		r->page_size = page;
		r->flags = flags;
		r->base = p + skip;
		r->size = size > skip ? size - skip : 0;
		r->mapped = size;
		e = enter(r, handle);
	}
	if (e != 0)
		charge.fetch_sub(size, std::memory_order_relaxed);
	return e;
}

size_t given_size(const Region *r)
{
	return r->mapping != nullptr ? r->size : r->mapped;
}

int release(dma_mem_t handle, size_t size)
{
	Guard<Mutex> g(changing);
	Region *r = find(handle);
	if (r == nullptr || size != given_size(r))
		return EINVAL;
	uint32_t none = 0;
	if (!r->sockets.compare_exchange_strong(none, gone, std::memory_order_acq_rel))
		return EBUSY;
	none = 0;
	if (!r->requests.compare_exchange_strong(none, gone, std::memory_order_acq_rel)) {
		r->sockets.store(0, std::memory_order_release);
		return EBUSY;
	}
	r->handle.store(0, std::memory_order_release);
	if (r->mapping != nullptr)
		munmap(r->mapping, r->mapped);
	else if (r->held == dma_locked)
		change_lock(r, false);
	r->slots.destroy();
	charge.fetch_sub(size, std::memory_order_relaxed);
	return 0;
}

Region *find(dma_mem_t handle)
{
	auto h = reinterpret_cast<uintptr_t>(handle);
	uintptr_t place = h & ((1u << index_bits) - 1);
	if (place == 0 || place > most || table[place - 1].handle.load(std::memory_order_acquire) != h)
		return nullptr;
	return &table[place - 1];
}

Region *at(uint32_t index)
{
	return &table[index];
}

uint32_t index_of(const Region *r)
{
	return static_cast<uint32_t>(r - table);
}

Region *around(const void *p, size_t len)
{
	auto *from = static_cast<const char *>(p);
	uint32_t n = in_table.load(std::memory_order_acquire);
	for (uint32_t i = 0; i < n; i++) {
		Region &r = table[i];
		if (r.handle.load(std::memory_order_acquire) != 0 && from >= r.base && len <= r.size && from <= r.base + r.size - len)
			return &r;
	}
	return nullptr;
}

namespace {

void follow_requests(Region *r)
{
	for (;;) {
		bool wanted = (r->requests.load(std::memory_order_seq_cst) & ~gone) != 0;
		if (wanted == r->locked.load(std::memory_order_seq_cst) || r->locking.exchange(true, std::memory_order_seq_cst))
			return;
		if (wanted != r->locked.load(std::memory_order_relaxed)) {
			change_lock(r, wanted);
			r->locked.store(wanted, std::memory_order_seq_cst);
		}
		r->locking.store(false, std::memory_order_seq_cst);
	}
}

void change_requests(Region *r, uint32_t by)
{
	uint32_t n = r->requests.fetch_add(by, std::memory_order_seq_cst) + by;
	if ((r->flags & DMA_LAZY) == 0 || n > 1)
		return;
	int saved = errno;
	follow_requests(r);
	errno = saved;
}

} // namespace

void add_request(Region *r)
{
	change_requests(r, 1);
}

void remove_request(Region *r)
{
	change_requests(r, ~uint32_t{0});
}

void stat(const Region *r, struct dma_stat *s)
{
	*s = {};
	s->size = given_size(r);
	s->page_size = r->page_size;
	s->unit = unit;
	s->used = r->slots.used();
	s->held = r->held;
	s->reason = r->reason;
	s->sockets = r->sockets.load(std::memory_order_relaxed);
	s->requests = r->requests.load(std::memory_order_relaxed);
	s->sent = r->sent.load(std::memory_order_relaxed);
	s->received = r->received.load(std::memory_order_relaxed);
	s->sends_zero_copy = r->zero_copy.load(std::memory_order_relaxed);
	s->sends_copied = r->copied.load(std::memory_order_relaxed);
	s->rearms = r->rearms.load(std::memory_order_relaxed);
	s->full = r->full.load(std::memory_order_relaxed);
	s->dropped = r->dropped.load(std::memory_order_relaxed);
}

uint64_t charged()
{
	return charge.load(std::memory_order_relaxed);
}

// Locks in memory are not inherited; the rest is, and stays what it is.
void after_fork()
{
	changing.reset();
	for (uint32_t i = 0; i < in_table.load(std::memory_order_relaxed); i++) {
		Region *r = &table[i];
		if (r->handle.load(std::memory_order_relaxed) == 0)
			continue;
		r->requests.store(0, std::memory_order_relaxed);
		r->locking.store(false, std::memory_order_relaxed);
		hold_in_memory(r);
	}
}

} // namespace sigevec::dma::region
