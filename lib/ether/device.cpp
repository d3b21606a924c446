// SPDX-License-Identifier: MIT
#include "ether/device.hpp"

#include "base/memory_order.hpp"
#include "base/owned_fd.hpp"
#include "base/socket_option.hpp"
#include "base/syscalls.hpp"
#include "dma/receiver.hpp"
#include "runtime/helper.hpp"
#include "sigevec/ether.h"

#include <cstdlib>
#include <cstring>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace sigevec::ether::device {

namespace {

// Protects the list and the programs.
Mutex changing;
std::atomic<Device *> devices{nullptr};
std::atomic<uint32_t> open_count{0};

// Of the network namespace; 0: the kernel does not say.
uint64_t namespace_cookie(int fd)
{
	uint64_t c = 0;
	return get_option(fd, SOL_SOCKET, SO_NETNS_COOKIE, &c) ? c : 0;
}

struct ifreq request_for(const char *name)
{
	struct ifreq r = {};
	strncpy(r.ifr_name, name, sizeof r.ifr_name - 1);
	return r;
}

// How many queues the device has now; 0: it does not say.
unsigned queues_of(int any_socket, const char *name)
{
	struct ethtool_channels c = {};
	c.cmd = ETHTOOL_GCHANNELS;
	struct ifreq r = request_for(name);
	r.ifr_data = reinterpret_cast<char *>(&c);
	if (ioctl(any_socket, SIOCETHTOOL, &r) != 0)
		return 0;
	return c.combined_count + (c.rx_count > c.tx_count ? c.rx_count : c.tx_count);
}

// A packet socket that receives nothing, for its membership. Its number in the helper's table, or
// -errno.
int make_promiscuous(unsigned ifindex)
{
	OwnedFd fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
	struct packet_mreq m = {};
	m.mr_ifindex = static_cast<int>(ifindex);
	m.mr_type = PACKET_MR_PROMISC;
	if (fd < 0)
		return -errno;
	return setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m) == 0
		       ? helper::hold(fd)
		       : -errno;
}

// What the device needs beside its socket. 0 or an errno.
int equip(Device *d, const char *name)
{
	// AF_XDP sockets know nothing of these.
	OwnedFd any(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	if (any < 0)
		return errno;
	struct ifreq r = request_for(name);
	int failed = ioctl(any, SIOCGIFMTU, &r) != 0 ? errno : 0;
	d->mtu = static_cast<uint32_t>(r.ifr_mtu);
	unsigned queues = queues_of(any, name);
	if (failed != 0)
		return failed;
	// A device that does not say, as `lo', has one at least; the kernel knows of the others.
	if (queues != 0 ? d->queue >= queues
			: d->queue != 0 && probe(d->ifindex, d->queue, XDP_COPY) == EINVAL)
		return EINVAL;
	if ((d->flags & ETHER_ZEROCOPY) != 0)
		if (int e = probe(d->ifindex, d->queue, XDP_ZEROCOPY); e != 0)
			return e;
	if ((d->flags & ETHER_PROMISC) != 0 && (d->promiscuous = make_promiscuous(d->ifindex)) < 0)
		return -d->promiscuous;
	int error = 0;
	d->program = program::join(d->ifindex, namespace_cookie(d->fd), &error);
	return d->program != nullptr ? 0 : error;
}

// With `changing' held.
void end(Device *d)
{
	if (d->program != nullptr)
		program::leave(d->program);
	d->program = nullptr;
	helper::close_inside(d->promiscuous);
	d->promiscuous = -1;
	d->used.store(false, mo::release);
	open_count.fetch_sub(1, mo::relaxed);
}

// With `changing' held. nullptr: no memory.
Device *make()
{
	Device *d = devices.load(mo::relaxed);
	while (d != nullptr && d->used.load(mo::relaxed))
		d = d->next;
	if (d == nullptr) {
		d = static_cast<Device *>(calloc(1, sizeof(Device)));
		if (d == nullptr)
			return nullptr;
		d->next = devices.load(mo::relaxed);
		devices.store(d, mo::release);
	}
	d->region.store(nullptr, mo::relaxed);
	d->promiscuous = -1;
	d->bound = false;
	d->program = nullptr;
	open_count.fetch_add(1, mo::relaxed);
	return d;
}

} // namespace

bool is_open(const Device *d)
{
	return socket_cookie(d->fd) == d->cookie;
}

int open(const char *name, unsigned queue, unsigned flags)
{
	dma::association::forget_closed();
	sweep();
	unsigned ifindex = if_nametoindex(name);
	if (ifindex == 0)
		return -ENODEV;
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	// Which will notice when it is closed.
	bool noticed = dma::receiver::ensure();
	Guard<Mutex> g(changing);
	Device *d = noticed ? make() : nullptr;
	int error = ENOMEM;
	if (d != nullptr) {
		d->fd = fd;
		d->cookie = socket_cookie(fd);
		d->ifindex = ifindex;
		d->queue = queue;
		d->flags = flags;
		error = equip(d, name);
		if (error == 0) {
			d->used.store(true, mo::release);
			return fd;
		}
		end(d);
	}
	sys::close(fd);
	return -error;
}

Device *find(uint64_t cookie)
{
	Device *d = devices.load(mo::acquire);
	while (d != nullptr && !(d->used.load(mo::acquire) && d->cookie == cookie))
		d = d->next;
	return d;
}

// It may have been raised. Another thread's device of that number is none of this one.
bool is_too_long(Device *d, size_t length)
{
	if (length <= d->mtu + around_a_frame)
		return false;
	OwnedFd any(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	struct ifreq r = {};
	r.ifr_ifindex = static_cast<int>(d->ifindex);
	if (any >= 0 && namespace_cookie(any) == namespace_cookie(d->fd) &&
	    ioctl(any, SIOCGIFNAME, &r) == 0 && ioctl(any, SIOCGIFMTU, &r) == 0)
		d->mtu = static_cast<uint32_t>(r.ifr_mtu);
	return length > d->mtu + around_a_frame;
}

Device *partner(const Device *d, const dma::Region *r)
{
	Device *found = nullptr;
	for (Device *o = devices.load(mo::acquire); o != nullptr; o = o->next) {
		bool one = o != d && o->used.load(mo::acquire) &&
			   o->region.load(mo::acquire) == r && o->ifindex == d->ifindex &&
			   ((o->flags ^ d->flags) & (ETHER_COPY | ETHER_ZEROCOPY)) == 0 &&
			   is_open(o);
		if (one && (found == nullptr || o->queue == d->queue))
			found = o;
	}
	return found;
}

bool sweep()
{
	Guard<Mutex> g(changing);
	for (Device *d = devices.load(mo::relaxed); d != nullptr; d = d->next)
		if (d->used.load(mo::relaxed) && d->region.load(mo::relaxed) == nullptr &&
		    !is_open(d))
			end(d);
	return any();
}

// sweep() must not meet the new socket with the cookie of the old one.
int change_socket(Device *d, int fd, int flags)
{
	Guard<Mutex> g(changing);
	if (syscall(SYS_dup3, fd, d->fd.load(), flags) < 0)
		return errno;
	d->cookie = socket_cookie(d->fd);
	return 0;
}

bool any()
{
	return open_count.load(mo::relaxed) != 0;
}

uint64_t dropped(const Device *d)
{
	struct xdp_statistics s = {};
	socklen_t n = sizeof s;
	if (getsockopt(d->fd, SOL_XDP, XDP_STATISTICS, &s, &n) != 0)
		return 0;
	// What a device drops that reads and writes the memory itself it counts itself; the kernel
	// knows how often it has found no slot.
	uint64_t by_device = d->umem.zero_copy ? s.rx_fill_ring_empty_descs : 0;
	return s.rx_dropped + s.rx_ring_full + by_device + d->counts.too_large.load(mo::relaxed);
}

void leave_region(Device *d, dma::Region *r)
{
	Guard<Mutex> g(changing); // against stat(), which may find them nowhere for a moment, but
				  // never twice
	if (r != nullptr) {
		r->received.fetch_add(d->bytes_in.load(mo::relaxed), mo::relaxed);
		r->sent.fetch_add(d->counts.bytes_out.load(mo::relaxed), mo::relaxed);
		(d->umem.zero_copy ? r->zero_copy : r->copied)
			.fetch_add(d->counts.frames_out.load(mo::relaxed), mo::relaxed);
	}
	d->region.store(nullptr, mo::release);
}

void stat(const dma::Region *r, struct dma_stat *s)
{
	if (!any())
		return;
	Guard<Mutex> g(changing); // against the end of one
	for (Device *d = devices.load(mo::acquire); d != nullptr; d = d->next) {
		if (!d->used.load(mo::acquire) || d->region.load(mo::acquire) != r)
			continue;
		uint64_t sent = d->counts.frames_out.load(mo::relaxed);
		s->received += d->bytes_in.load(mo::relaxed);
		s->sent += d->counts.bytes_out.load(mo::relaxed);
		(d->umem.zero_copy ? s->sends_zero_copy : s->sends_copied) += sent;
		if (!is_open(d))
			continue;
		enum dma_ether mode = d->umem.zero_copy     ? dma_ether_zero_copy
				      : d->program->generic ? dma_ether_generic
							    : dma_ether_copy;
		if (s->ether == dma_no_ether || mode < s->ether)
			s->ether = mode;
		s->frames_received += d->counts.frames_in.load(mo::relaxed);
		s->frames_sent += sent;
		s->frames_dropped += dropped(d);
		s->frames_too_large += d->counts.too_large.load(mo::relaxed);
	}
}

// The rings are not the child's (MADV_DONTFORK).
void after_fork()
{
	changing.reset();
	program::after_fork();
	for (Device *d = devices.load(mo::relaxed); d != nullptr; d = d->next) {
		d->used.store(false, mo::relaxed);
		d->program = nullptr;
	}
	open_count.store(0, mo::relaxed);
}

} // namespace sigevec::ether::device
