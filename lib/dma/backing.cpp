// SPDX-License-Identifier: MIT
#include "dma/backing.hpp"

#include "base/memory_order.hpp"
#include "base/node.hpp"
#include "base/pages.hpp"
#include "base/proc.hpp"
#include "base/syscalls.hpp"
#include "dma/pool.hpp"
#include "dma/region.hpp"

#include <cerrno>
#include <cstdio>
#include <initializer_list>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << 26)
#endif

namespace sigevec::dma::backing {

namespace {

constexpr size_t huge_page = size_t{2} << 20;
constexpr unsigned node_shift = 16;

// 0 or an errno: EINVAL no such node.
int place_on_node(void *m, size_t n, unsigned node, int how)
{
	unsigned long mask[1024 / 64] = {};
	mask[node / 64] = 1ul << (node % 64);
	if (syscall(SYS_mbind, m, n, how, mask, 1024ul, 0) == 0)
		return 0;
	// A kernel without NUMA has one node.
	return errno == ENOSYS && node == 0 ? 0 : errno == ENOSYS ? EINVAL : errno;
}

// Anonymous memory, shared with children. 0, an errno, or `declines': there is none of this kind.
int map(Region *r, size_t page, int more)
{
	size_t n = round_up(r->size, page);
	void *m =
		mmap(nullptr, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | more, -1, 0);
	if (m == MAP_FAILED)
		return declines;
	if (r->flags >> node_shift == 0)
		place_on_node(m, n, node::current(),
			      MPOL_PREFERRED); // whoever touches it first; without it is no worse
					       // than with nothing said
	else if (int e = place_on_node(m, n, (r->flags >> node_shift) - 1, MPOL_BIND); e != 0) {
		munmap(m, n);
		return e;
	}
	r->mapping = m;
	r->base = static_cast<char *>(m);
	r->mapped = n;
	r->page_size = page;
	return 0;
}

void unmap(Region *r)
{
	munmap(r->mapping, r->mapped);
}

void report(Region *r, dma_held held, const char *reason)
{
	r->held = held;
	r->reason = reason;
}

bool held_lazily(Region *r)
{
	r->locked.store(false, mo::relaxed);
	if ((r->flags & DMA_LAZY) != 0)
		report(r, dma_lazily, "DMA_LAZY: locked while a request is outstanding");
	return (r->flags & DMA_LAZY) != 0;
}

// Why the memory is no pool of the module's; locked, and registered with a ring.
struct Why {
	const char *locked, *registered;
};

Why why_no_pool(int error)
{
	switch (error) {
	case ENOENT:
		return {"mlock: there is no kernel module", "io_uring: there is no kernel module"};
	case EACCES:
	case EPERM:
		return {"mlock: /dev/sigevec is not for this user",
			"io_uring: /dev/sigevec is not for this user"};
	case EDQUOT:
		return {"mlock: beyond the kernel module's limit for this user",
			"io_uring: beyond the kernel module's limit for this user"};
	default:
		return {"mlock: the kernel module has no memory for it",
			"io_uring: the kernel module has no memory for it"};
	}
}

void hold_by_lock(Region *r)
{
	if (held_lazily(r))
		return;
	if (lock(r, true))
		report(r, dma_locked, why_no_pool(r->pool_error).locked);
	else
		report(r, dma_not_held,
		       errno == EPERM ? "mlock is not permitted"
				      : "mlock: beyond RLIMIT_MEMLOCK, or no memory");
}

// ---- huge pages of the system's pool

int get_huge(Region *r)
{
	return (r->flags & DMA_HUGE) != 0 ? map(r, huge_page, MAP_HUGETLB | MAP_HUGE_2MB)
					  : declines;
}

void hold_huge(Region *r)
{
	if (!held_lazily(r))
		report(r, dma_locked, "huge pages of the system's pool are never swapped out");
}

// ---- a pool of the kernel module's

int get_pool(Region *r)
{
	// Who asks for DMA_LAZY wants no more memory held than requests need; a pool always holds
	// all of it.
	if ((r->flags & DMA_LAZY) != 0)
		return declines;
	size_t n = round_up(r->size, page_size());
	r->mapping = pool::map(n, static_cast<int>(r->flags >> node_shift) - 1, &r->pool_error);
	if (r->mapping == nullptr)
		return declines;
	r->base = static_cast<char *>(r->mapping);
	r->mapped = n;
	r->page_size = page_size();
	return 0;
}

void hold_pool(Region *r)
{
	report(r, dma_by_module, "a pool of the kernel module's");
}

// ---- ordinary pages

int get_ordinary(Region *r)
{
	int e = map(r, page_size(), MAP_NORESERVE);
	// What the system's pool has none of, the kernel may yet find by itself.
	if (e == 0 && (r->flags & DMA_HUGE) != 0)
		madvise(r->mapping, r->mapped, MADV_HUGEPAGE);
	return e;
}

// ---- the program's

void release_import(Region *r)
{
	if (r->held == dma_locked)
		lock(r, false);
}

constexpr Kind kinds[] = {{get_huge, hold_huge, unmap},
			  {get_pool, hold_pool, unmap},
			  {get_ordinary, hold_by_lock, unmap}};
constexpr Kind imported = {nullptr, hold_by_lock, release_import};

} // namespace

int allocate(Region *r)
{
	r->pool_error = ENOENT;
	for (const Kind &k : kinds) {
		int e = k.get(r);
		if (e == declines)
			continue;
		r->backing = &k;
		return e;
	}
	return ENOMEM;
}

void import(Region *r)
{
	r->backing = &imported;
	r->pool_error = ENOENT;
	r->mapping = nullptr;
	r->page_size = page_size();
}

const char *why_registered(const Region *r)
{
	return r->backing == &kinds[0] ? "io_uring, in huge pages of the system's pool"
				       : why_no_pool(r->pool_error).registered;
}

namespace {

// Raw: the sanitizers make nothing of libc's.
bool change_lock(uintptr_t from, size_t n, bool yes)
{
	return syscall(yes ? SYS_mlock : SYS_munlock, from, n) == 0;
}

// msync(2): EBUSY, a memory lock exists. It does nothing else.
bool some_locked(uintptr_t from, size_t n)
{
	return syscall(SYS_msync, from, n, MS_INVALIDATE) != 0 && errno == EBUSY;
}

uintptr_t first_page(const Region *r)
{
	return page_of(r->base);
}

uintptr_t end_of_pages(const Region *r)
{
	return round_up(reinterpret_cast<uintptr_t>(r->base) + r->size, page_size());
}

// Those that are not locked yet.
void find_unlocked(const Region *r, Locked *l)
{
	size_t page = page_size();
	uintptr_t from = first_page(r), end = end_of_pages(r);
	l->runs = 0;
	l->complete = true;
	if (!some_locked(from, end - from)) {
		l->run[l->runs++] = {from, end - from};
		return;
	}
	for (bool before = true; from < end; from += page) {
		bool locked = some_locked(from, page);
		if (!locked && !before)
			l->run[l->runs - 1].size += page;
		else if (!locked && l->runs == Locked::most) {
			l->complete = false;
			return;
		} else if (!locked)
			l->run[l->runs++] = {from, page};
		before = locked;
	}
}

bool lock_import(Region *r)
{
	Locked *l = &r->pages;
	find_unlocked(r, l);
	bool all = l->complete;
	unsigned done = 0;
	while (done < l->runs && change_lock(l->run[done].from, l->run[done].size, true))
		done++;
	all = all && done == l->runs;
	int saved = errno;
	l->runs = done;
	if (!all)
		lock(r, false);
	errno = saved;
	return all;
}

// Another imported region that lies in a page, or nullptr.
Region *other_in_page(const Region *r, uintptr_t at)
{
	return region::imported_in(at, page_size(), r);
}

// A page that the region shares with another one stays locked, and is the other one's to unlock.
void unlock_run(Region *r, uintptr_t from, size_t size)
{
	size_t page = page_size();
	for (uintptr_t edge : {from, from + size - page}) {
		Region *other = size != 0 ? other_in_page(r, edge) : nullptr;
		if (other == nullptr || other->held != dma_locked ||
		    other->pages.runs == Locked::most)
			continue;
		other->pages.run[other->pages.runs++] = {edge, page};
		from += edge == from ? page : 0;
		size -= page;
	}
	if (size != 0)
		change_lock(from, size, false);
}

} // namespace

bool lock(Region *r, bool yes)
{
	if (r->mapping == nullptr && yes)
		return lock_import(r);
	if (r->mapping != nullptr)
		return change_lock(first_page(r),
				   reinterpret_cast<uintptr_t>(r->base) + r->size - first_page(r),
				   yes);
	for (unsigned i = 0; i < r->pages.runs; i++)
		unlock_run(r, r->pages.run[i].from, r->pages.run[i].size);
	r->pages.runs = 0;
	return true;
}

bool is_file(const char *base, size_t size)
{
	auto from = reinterpret_cast<uintptr_t>(base), end = from + size;
	int fd = proc::open("self/maps", O_RDONLY);
	FILE *f = fd >= 0 ? fdopen(fd, "r") : nullptr;
	if (f == nullptr && fd >= 0)
		sys::close(fd);
	if (f == nullptr)
		return true;
	bool file = false;
	unsigned long begin, stop, inode;
	char line[512];
	while (fgets(line, sizeof line, f) != nullptr)
		if (sscanf(line, "%lx-%lx %*s %*s %*s %lu", &begin, &stop, &inode) == 3 &&
		    begin < end && stop > from)
			file = file || inode != 0;
	fclose(f);
	return file;
}

} // namespace sigevec::dma::backing
