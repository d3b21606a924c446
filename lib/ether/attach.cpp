// SPDX-License-Identifier: MIT
//
// How a region becomes the memory of a queue, and how that ends.
#include "base/descriptor.hpp"
#include "base/owned_fd.hpp"
#include "ether/device.hpp"

#include "base/memory_order.hpp"
#include "base/pages.hpp"
#include "base/syscalls.hpp"
#include "sigevec/ether.h"

#include <cstdlib>
#include <fcntl.h>
#include <initializer_list>
#include <linux/if_xdp.h>
#include <sys/mman.h>
#include <sys/socket.h>

#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4)
#endif

namespace sigevec::ether::device {

namespace {

constexpr uint32_t largest_chunk = 4096;
constexpr uint32_t entries = 2048;
constexpr uint32_t headroom =
	256; // XDP_PACKET_HEADROOM: the kernel leaves it free before each frame

bool set(int fd, int name, uint32_t value)
{
	return setsockopt(fd, SOL_XDP, name, &value, sizeof value) == 0;
}

// 0 or an errno.
int register_memory(int fd, void *memory, size_t size, uint32_t chunk)
{
	struct xdp_umem_reg r = {};
	r.addr = reinterpret_cast<uintptr_t>(memory);
	r.len = size;
	r.chunk_size = chunk;
	return setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &r, sizeof r) == 0 ? 0 : errno;
}

bool make_rings(int fd, uint32_t n)
{
	return set(fd, XDP_UMEM_FILL_RING, n) && set(fd, XDP_UMEM_COMPLETION_RING, n) &&
	       set(fd, XDP_RX_RING, n) && set(fd, XDP_TX_RING, n);
}

bool map(int fd, uint64_t place, const struct xdp_ring_offset &o, size_t entry, Ring *r)
{
	r->mapped = o.desc + entries * entry;
	r->mapping = mmap(nullptr, r->mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
			  static_cast<off_t>(place));
	if (r->mapping == MAP_FAILED) {
		r->mapping = nullptr;
		return false;
	}
	// A child of fork must not find it.
	madvise(r->mapping, r->mapped, MADV_DONTFORK);
	auto *base = static_cast<char *>(r->mapping);
	r->producer = reinterpret_cast<std::atomic<uint32_t> *>(base + o.producer);
	r->consumer = reinterpret_cast<std::atomic<uint32_t> *>(base + o.consumer);
	r->flags = reinterpret_cast<std::atomic<uint32_t> *>(base + o.flags);
	r->entries = base + o.desc;
	r->mask = entries - 1;
	r->mine = r->theirs = 0;
	return true;
}

void unmap(Device *d)
{
	for (Ring *r : {&d->rings.receive, &d->rings.transmit, &d->rings.fill, &d->rings.completed})
		if (r->mapping != nullptr) {
			munmap(r->mapping, r->mapped);
			r->mapping = nullptr;
		}
}

bool map_all(Device *d)
{
	struct xdp_mmap_offsets o = {};
	socklen_t n = sizeof o;
	for (Ring *r : {&d->rings.receive, &d->rings.transmit, &d->rings.fill, &d->rings.completed})
		r->mapping = nullptr;
	return getsockopt(d->fd, SOL_XDP, XDP_MMAP_OFFSETS, &o, &n) == 0 &&
	       map(d->fd, XDP_PGOFF_RX_RING, o.rx, sizeof(struct xdp_desc), &d->rings.receive) &&
	       map(d->fd, XDP_PGOFF_TX_RING, o.tx, sizeof(struct xdp_desc), &d->rings.transmit) &&
	       map(d->fd, XDP_UMEM_PGOFF_FILL_RING, o.fr, sizeof(uint64_t), &d->rings.fill) &&
	       map(d->fd, XDP_UMEM_PGOFF_COMPLETION_RING, o.cr, sizeof(uint64_t),
		   &d->rings.completed);
}

// 0 or an errno. Who had the queue before may have been closed, and the kernel takes that apart a
// moment later.
int bind_patiently(int fd, const struct sockaddr_xdp &to)
{
	constexpr int attempts = 250;
	constexpr timespec moment{0, 2000000};
	for (int i = 0;; i++) {
		if (bind(fd, reinterpret_cast<const struct sockaddr *>(&to), sizeof to) == 0)
			return 0;
		if (errno != EBUSY || i == attempts)
			return errno;
		syscall(SYS_nanosleep, &moment,
			nullptr); // raw: libc's is a cancellation point, and locks are held
	}
}

int bind_queue(Device *d, const Device *other)
{
	struct sockaddr_xdp to = {};
	to.sxdp_family = AF_XDP;
	to.sxdp_ifindex = d->ifindex;
	to.sxdp_queue_id = d->queue;
	if (other != nullptr) {
		to.sxdp_flags = XDP_SHARED_UMEM;
		to.sxdp_shared_umem_fd = static_cast<uint32_t>(other->fd);
		d->umem.in_parts = other->umem.in_parts;
		return bind_patiently(d->fd, to);
	}
	// Best first. Left to the kernel, a driver that can do without copies but knows no frames
	// in parts would copy.
	constexpr uint16_t ways[] = {XDP_ZEROCOPY | XDP_USE_SG, XDP_ZEROCOPY, XDP_COPY | XDP_USE_SG,
				     XDP_COPY};
	int unwanted = (d->flags & ETHER_COPY) != 0       ? XDP_ZEROCOPY
		       : (d->flags & ETHER_ZEROCOPY) != 0 ? XDP_COPY
							  : 0;
	int e = EINVAL;
	for (uint16_t way : ways) {
		if ((way & unwanted) != 0)
			continue;
		to.sxdp_flags = way | XDP_USE_NEED_WAKEUP;
		e = bind_patiently(d->fd, to);
		d->umem.in_parts = (way & XDP_USE_SG) != 0;
		// A driver may refuse to do without copies for reasons of its own.
		bool another_may_do = e == EINVAL || e == EOPNOTSUPP ||
				      ((way & XDP_ZEROCOPY) != 0 && e != 0 && e != EBUSY);
		if (!another_may_do)
			return e;
	}
	return e;
}

// A socket that has been bound stays so: the number gets another one, with what the program has set
// of it. 0 or an errno.
int renew(Device *d)
{
	int status = sys::status_flags(d->fd);
	bool on_exec = sys::closes_on_exec(d->fd) == 1;
	OwnedFd fd(socket(AF_XDP,
			  SOCK_RAW | SOCK_CLOEXEC |
				  (status >= 0 && (status & O_NONBLOCK) != 0 ? SOCK_NONBLOCK : 0),
			  0));
	if (fd < 0)
		return errno;
	struct timeval limit;
	socklen_t n = sizeof limit;
	if (getsockopt(d->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &n) == 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	return change_socket(d, fd, on_exec ? O_CLOEXEC : 0);
}

void choose_sizes(Device *d, const dma::Region *r, size_t slot)
{
	d->umem.most = slot != 0 ? static_cast<uint32_t>(slot) : d->mtu + around_a_frame;
	d->umem.chunk = d->umem.most + headroom <= 2048 ? 2048 : largest_chunk;
	auto begin = reinterpret_cast<uintptr_t>(r->base);
	// From the beginning of the page, whoever's that is: slots are the region's only.
	uintptr_t from = page_of(r->base);
	d->umem.memory = reinterpret_cast<char *>(from);
	d->umem.memory_size =
		(begin + r->pieces.units() * dma::unit - from) / d->umem.chunk * d->umem.chunk;
}

// 0 or an errno; the socket is bound.
int connect_memory(Device *d, dma::Region *r)
{
	Device *other = partner(d, r);
	// The kernel would find fault with the rings.
	if (other != nullptr && other->queue == d->queue)
		return EBUSY;
	if (other != nullptr && other->umem.chunk != d->umem.chunk)
		other = nullptr;
	int e = other == nullptr
			? register_memory(d->fd, d->umem.memory, d->umem.memory_size, d->umem.chunk)
			: 0;
	if (e != 0)
		return e == ENOBUFS ? ENOMEM : e;
	if (!make_rings(d->fd, entries) || !map_all(d))
		return errno;
	d->bound = true;
	return bind_queue(d, other);
}

} // namespace

int attach(Device *d, dma::Region *r, size_t slot)
{
	if (d->region.load(mo::relaxed) != nullptr)
		return EBUSY;
	choose_sizes(d, r, slot);
	if (d->umem.memory_size < 2 * d->umem.chunk)
		return EINVAL;
	for (Ring *ring :
	     {&d->rings.receive, &d->rings.transmit, &d->rings.fill, &d->rings.completed})
		ring->mapping = nullptr;
	d->with_kernel = d->out.sending = d->out.oldest = d->out.newest = 0;
	d->umem.zero_copy = false;
	d->rings.kernels = static_cast<uint64_t *>(
		calloc(d->umem.memory_size / d->umem.chunk / 64 + 1, sizeof(uint64_t)));
	d->out.flying = static_cast<Flight *>(malloc(flights * sizeof(Flight)));
	d->error = 0;
	d->reported_drops = 0;
	for (auto *c : {&d->counts.frames_in, &d->counts.frames_out, &d->bytes_in,
			&d->counts.bytes_out, &d->counts.too_large})
		c->store(0, mo::relaxed);
	// Half of what there is goes to the device; the rest is for what the program keeps and
	// sends.
	size_t used = r->pieces.used();
	size_t free =
		used < d->umem.memory_size ? (d->umem.memory_size - used) / d->umem.chunk / 2 : 0;
	d->wanted = free == 0 ? 1 : free < entries ? static_cast<uint32_t>(free) : entries;
	int e = d->rings.kernels != nullptr && d->out.flying != nullptr ? connect_memory(d, r)
									: ENOMEM;
	if (e == 0) {
		struct xdp_options o = {};
		socklen_t n = sizeof o;
		d->umem.zero_copy = getsockopt(d->fd, SOL_XDP, XDP_OPTIONS, &o, &n) == 0 &&
				    (o.flags & XDP_OPTIONS_ZEROCOPY) != 0;
		d->region.store(r, mo::release);
		refill(d);
		e = program::give(d->program, d->queue, d->fd);
		if (e == 0)
			return 0;
	}
	detach(d);
	return e;
}

namespace {

// What the kernel had is the region's again. It reaches it no more.
void recover(Device *d, dma::Region *r)
{
	for (size_t n = 0; n < d->umem.memory_size / d->umem.chunk; n++)
		if ((d->rings.kernels[n / 64] >> (n % 64) & 1) != 0)
			r->pieces.discard(d->umem.memory + n * d->umem.chunk, d->umem.chunk);
	for (; d->out.oldest != d->out.newest; d->out.oldest++)
		if (d->out.flying[d->out.oldest % flights].first != dma::no_unit)
			r->pieces.unhold(d->out.flying[d->out.oldest % flights].first);
}

} // namespace

void detach(Device *d)
{
	dma::Region *r = d->region.load(mo::relaxed);
	if (r != nullptr)
		program::take_back(d->program, d->queue);
	if (r != nullptr && d->rings.completed.mapping != nullptr)
		reap(d);
	unmap(d);
	// The kernel lets go of the memory with the socket. The program's number gets another one,
	// unless it is no longer that socket.
	if (d->bound && is_open(d) && renew(d) == 0)
		d->bound = false;
	// A device that reads and writes the memory itself is told a moment later; then the queue
	// can be had.
	if (d->umem.zero_copy)
		probe(d->ifindex, d->queue, XDP_COPY);
	if (r != nullptr)
		recover(d, r);
	free(d->rings.kernels);
	free(d->out.flying);
	d->rings.kernels = nullptr;
	d->out.flying = nullptr;
	leave_region(d, r);
	d->umem.zero_copy = false;
}

int probe(unsigned ifindex, unsigned queue, uint16_t mode)
{
	constexpr size_t size = 16 * largest_chunk; // a page of any size
	constexpr uint32_t few = 16;
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	void *m = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int e = m == MAP_FAILED ? ENOMEM : register_memory(fd, m, size, largest_chunk);
	if (e == 0 && !make_rings(fd, few))
		e = errno;
	struct sockaddr_xdp to = {};
	to.sxdp_family = AF_XDP;
	to.sxdp_ifindex = ifindex;
	to.sxdp_queue_id = queue;
	to.sxdp_flags = mode;
	if (e == 0)
		e = bind_patiently(fd, to);
	sys::close(fd);
	if (m != MAP_FAILED)
		munmap(m, size);
	return e;
}

} // namespace sigevec::ether::device
