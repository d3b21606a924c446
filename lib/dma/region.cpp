// SPDX-License-Identifier: MIT
#include "dma/region.hpp"

#include "base/memory_order.hpp"
#include "base/node.hpp"
#include "base/pages.hpp"
#include "base/sync.hpp"
#include "dma/attachment.hpp"
#include "dma/backing.hpp"
#include "dma/device.hpp"
#include "dma/registration.hpp"
#include "dma/zero_copy.hpp"
#include "runtime/config.hpp"

#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <sys/mman.h>
#include <sys/uio.h>

namespace sigevec::dma::region {

namespace {

constexpr unsigned index_bits = 12;
static_assert(most < 1u << index_bits);
constexpr uint32_t gone = 1u << 31;
constexpr unsigned node_shift = 16;
constexpr size_t most_units = size_t{1} << 31;

constinit Region table[most] = {};
std::atomic<uint32_t> in_table{0}; // places that have ever been used
std::atomic<uint64_t> charge{0};
Mutex changing;

bool add_charge(size_t n)
{
	uint64_t limit = config::limits.dma.load(mo::relaxed);
	uint64_t now = charge.load(mo::relaxed);
	do {
		if (n > limit || now > limit - n)
			return false;
	} while (!charge.compare_exchange_weak(now, now + n, mo::relaxed));
	return true;
}

// With `changing' held.
Region *free_place()
{
	uint32_t n = in_table.load(mo::relaxed);
	for (uint32_t i = 0; i < n; i++)
		if (table[i].handle.load(mo::relaxed) == 0)
			return &table[i];
	if (n == most)
		return nullptr;
	in_table.store(n + 1, mo::release);
	return &table[n];
}

void reset_counters(Region *r)
{
	for (auto *c : {&r->sent, &r->received, &r->zero_copy, &r->copied, &r->rearms, &r->full,
			&r->dropped, &r->placed, &r->placed_by_kernel, &r->placed_by_copy})
		c->store(0, mo::relaxed);
	r->attached.store(0, mo::relaxed);
	r->requests.store(0, mo::relaxed);
	r->sockets.store(0, mo::relaxed);
	r->locking.store(false, mo::relaxed);
	r->pause.store(0, mo::relaxed);
	r->next_pause.store(zero_copy::first_pause, mo::relaxed);
}

bool overlaps(const char *base, size_t size)
{
	for (uint32_t i = 0; i < in_table.load(mo::relaxed); i++) {
		const Region &r = table[i];
		if (r.handle.load(mo::relaxed) != 0 && base < r.base + r.size &&
		    r.base < base + size)
			return true;
	}
	return false;
}

bool is_mapped(const char *p, size_t n)
{
	size_t at_once = 4096 * page_size();
	unsigned char in_core[4096];
	uintptr_t from = page_of(p);
	uintptr_t end = reinterpret_cast<uintptr_t>(p) + n;
	for (; from < end; from += at_once)
		if (mincore(reinterpret_cast<void *>(from),
			    end - from < at_once ? end - from : at_once, in_core) != 0)
			return false;
	return true;
}

// With `changing' held; r has its memory.
int enter(Region *r, dma_mem_t *handle)
{
	size_t n = r->size / unit;
	if (r->mapping != nullptr)
		n = (r->size + unit - 1) / unit;
	if (n == 0 || n > most_units)
		return n == 0 ? EINVAL : ENOMEM;
	if (!r->pieces.create(r->base, static_cast<uint32_t>(n)))
		return ENOMEM;
	reset_counters(r);
	r->backing->hold(r);
	registration::begin(r);
	r->generation++;
	uintptr_t h = r->generation << index_bits | (index_of(r) + 1);
	r->handle.store(h, mo::release);
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
		r->of_file = false;
		e = backing::allocate(r);
		if (e == 0 && (e = enter(r, handle)) != 0)
			r->backing->put(r);
	}
	if (e != 0)
		charge.fetch_sub(size, mo::relaxed);
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
		r->flags = flags;
		r->base = p + skip;
		r->size = size > skip ? size - skip : 0;
		r->mapped = size;
		r->of_file = backing::is_file(p, size);
		backing::import(r);
		e = enter(r, handle);
	}
	if (e != 0)
		charge.fetch_sub(size, mo::relaxed);
	return e;
}

Region *imported_in(uintptr_t from, size_t n, const Region *but)
{
	for (uint32_t i = 0; i < in_table.load(mo::relaxed); i++) {
		Region &r = table[i];
		auto base = reinterpret_cast<uintptr_t>(r.base);
		if (&r != but && r.handle.load(mo::relaxed) != 0 && r.mapping == nullptr &&
		    base < from + n && from < base + r.size)
			return &r;
	}
	return nullptr;
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
	if (!r->sockets.compare_exchange_strong(none, gone, mo::acq_rel))
		return EBUSY;
	none = 0;
	if (!r->requests.compare_exchange_strong(none, gone, mo::acq_rel)) {
		r->sockets.store(0, mo::release);
		return EBUSY;
	}
	r->handle.store(0, mo::release);
	registration::end(r);
	r->backing->put(r);
	r->pieces.destroy();
	charge.fetch_sub(size, mo::relaxed);
	return 0;
}

Region *find(dma_mem_t handle)
{
	auto h = reinterpret_cast<uintptr_t>(handle);
	uintptr_t place = h & ((1u << index_bits) - 1);
	if (place == 0 || place > most || table[place - 1].handle.load(mo::acquire) != h)
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
	uint32_t n = in_table.load(mo::acquire);
	for (uint32_t i = 0; i < n; i++) {
		Region &r = table[i];
		if (r.handle.load(mo::acquire) != 0 && from >= r.base && len <= r.size &&
		    from <= r.base + r.size - len)
			return &r;
	}
	return nullptr;
}

namespace {

// From or to r, where it is imported memory by the kernel, which says what is not there. number:
// process_vm_readv, where it is read from, or process_vm_writev.
bool copy(const Region *r, long number, void *to, const void *from, size_t n)
{
	if (n == 0)
		return true;
	if (r != nullptr && r->mapping == nullptr) {
		struct iovec source = {const_cast<void *>(from), n}, target = {to, n};
		bool reads = number == SYS_process_vm_readv;
		long done = syscall(number, getpid(), reads ? &target : &source, 1UL,
				    reads ? &source : &target, 1UL, 0UL);
		if (done >= 0 || (errno != ENOSYS && errno != EPERM))
			return done == static_cast<long>(n);
	}
	memmove(to, from, n);
	return true;
}

} // namespace

bool store(const Region *r, void *to, const void *from, size_t n)
{
	return copy(r, SYS_process_vm_writev, to, from, n);
}

bool join(char *to, const struct iovec *v, size_t n)
{
	bool there = true;
	for (size_t i = 0; i < n && there; to += v[i++].iov_len)
		there = copy(around(v[i].iov_base, v[i].iov_len), SYS_process_vm_readv, to,
			     v[i].iov_base, v[i].iov_len);
	return there;
}

namespace {

void follow_requests(Region *r)
{
	for (;;) {
		bool wanted = (r->requests.load(mo::seq_cst) & ~gone) != 0;
		if (wanted == r->locked.load(mo::seq_cst) || r->locking.exchange(true, mo::seq_cst))
			return;
		if (wanted != r->locked.load(mo::relaxed)) {
			backing::lock(r, wanted);
			r->locked.store(wanted, mo::seq_cst);
		}
		r->locking.store(false, mo::seq_cst);
	}
}

void change_requests(Region *r, uint32_t by)
{
	bool lazy = (r->flags & DMA_LAZY) !=
		    0; // before: with the last request it may be freed, and be another
	uint32_t n = r->requests.fetch_add(by, mo::seq_cst) + by;
	if (!lazy || n > 1)
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

void stat(Region *r, struct dma_stat *s)
{
	*s = {};
	s->size = given_size(r);
	s->page_size = r->page_size;
	s->unit = unit;
	r->pieces.reap(false);
	uint64_t lent = r->pieces.lent(), used = r->pieces.used();
	s->used = used > lent ? used - lent : 0;
	bool by_ring = r->held == dma_locked && r->ring.load(mo::relaxed) != nullptr;
	s->held = by_ring ? dma_by_ring : r->held;
	s->reason = by_ring ? backing::why_registered(r) : r->reason;
	s->sockets = r->sockets.load(mo::relaxed);
	s->requests = r->requests.load(mo::relaxed);
	s->sent = r->sent.load(mo::relaxed);
	s->received = r->received.load(mo::relaxed);
	s->sends_zero_copy = r->zero_copy.load(mo::relaxed);
	s->sends_copied = r->copied.load(mo::relaxed);
	s->rearms = r->rearms.load(mo::relaxed);
	s->full = r->full.load(mo::relaxed);
	s->dropped = r->dropped.load(mo::relaxed);
	s->node = node::of_memory(r->base);
	device_ops.stat(r, s);
	attachment::stat(r, s);
}

uint64_t charged()
{
	return charge.load(mo::relaxed);
}

// Locks in memory are not inherited; the rest is, and stays what it is.
void after_fork()
{
	changing.reset();
	for (uint32_t i = 0; i < in_table.load(mo::relaxed); i++) {
		Region *r = &table[i];
		if (r->handle.load(mo::relaxed) == 0)
			continue;
		r->pieces.after_fork();
		r->requests.store(0, mo::relaxed);
		r->locking.store(false, mo::relaxed);
		r->backing->hold(r);
		registration::after_fork(r);
	}
}

} // namespace sigevec::dma::region
