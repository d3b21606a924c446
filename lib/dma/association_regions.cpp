// SPDX-License-Identifier: MIT
#include "dma/association_impl.hpp"

#include "base/memory_order.hpp"
#include "base/socket_option.hpp"
#include "channel/channel.hpp"
#include "completion/completion.hpp"
#include "dma/blocked.hpp"
#include "dma/device.hpp"
#include "dma/receive.hpp"
#include "dma/receiver.hpp"

#include <cerrno>
#include <cstdlib>
#include <sys/socket.h>

namespace sigevec::dma::association {

namespace {

// With both locks held: the place of r, or -1.
int place_of(const Association *a, const Region *r)
{
	for (uint16_t i = 0; i < a->region_count; i++)
		if (a->regions[i] == region::index_of(r))
			return i;
	return -1;
}

// Whether it is a network device's queue, or an endpoint on an interconnect. d: that, if it is
// known.
bool is_device(int fd, uint64_t cookie, Device **d)
{
	bool queue = socket_option(fd, SO_DOMAIN) == AF_XDP;
	*d = queue || device_ops.ever_remote() ? device_ops.find(cookie) : nullptr;
	return queue || *d != nullptr;
}

// It takes one region.
int add_to_device(Association *a, Device *d, Region *r, unsigned flags)
{
	if (a->device != nullptr)
		return EBUSY;
	// The receiver makes room for frames while nobody calls.
	if (d == nullptr || !receiver::ensure())
		return d == nullptr ? EOPNOTSUPP : EAGAIN;
	int e = device_ops.attach(d, r, flags >> 8);
	if (e == 0)
		a->device = d;
	return e;
}

int add_region(Association *a, Region *r, unsigned flags)
{
	if (place_of(a, r) >= 0)
		return EEXIST;
	if (Device * d; is_device(a->fd, a->cookie, &d))
		if (int e = add_to_device(a, d, r, flags); e != 0)
			return e;
	if ((flags & DMA_LATEST) != 0 && a->stream)
		return EINVAL;
	auto *more = static_cast<uint16_t *>(
		realloc(a->regions, (a->region_count + 1u) * sizeof(uint16_t)));
	if (more == nullptr)
		return EAGAIN;
	a->regions = more;
	a->regions[a->region_count] = static_cast<uint16_t>(region::index_of(r));
	bool latest = a->latest || (flags & DMA_LATEST) != 0;
	if (latest && !receiver::watch(a))
		return EAGAIN;
	a->latest = latest;
	if (size_t n = flags >> 8; n > a->buffer)
		a->buffer = n;
	a->region_count++;
	r->sockets.fetch_add(1, mo::relaxed);
	return 0;
}

int add_locked(int fd, Region *r, unsigned flags)
{
	Guard<Mutex> g(changing);
	uint64_t cookie = socket_cookie(fd);
	Association *a = find(fd);
	// The number was another socket's, which has been closed.
	if (a != nullptr && a->cookie != cookie) {
		leave_number(a);
		a = nullptr;
	}
	if (a == nullptr && (a = make(fd, cookie)) == nullptr)
		return EAGAIN;
	Guard<Mutex> h(a->lock);
	int e = add_region(a, r, flags);
	if (e != 0 && a->region_count == 0)
		end(a);
	// More room for who has stopped for want of it.
	if (e == 0 && a->paused)
		receiver::look();
	return e;
}

// ev_* requests wait in whichever region is first: r no longer is. A canceller waits while one is
// `trying'.
void leave_region(Association *a, Region *r)
{
	for (Request *q = a->waiting.first(); q != nullptr; q = q->next.load(mo::relaxed)) {
		bool in_it =
			q->cb.load(mo::relaxed) == nullptr && q->dma.region == region::index_of(r);
		if (!in_it || !q->change(State::queued, State::trying))
			continue;
		q->dma.region = a->regions[0];
		region::add_request(region::at(a->regions[0]));
		region::remove_request(r);
		q->set(State::queued);
	}
}

// What lies unread in r goes to the other regions, in its order. False: they have no room for all
// of it.
bool move_unread(Association *a, Region *r)
{
	for (uint32_t i = 0; i < a->queue_count; i++) {
		Arrival &x = a->queue[(a->queue_first + i) % a->queue_room];
		if (x.region == r && !receive::move_to_another(a, &x))
			return false;
	}
	return true;
}

int remove_locked(int fd, Region *r, Request **waiting)
{
	Guard<Mutex> g(changing);
	Association *a = find(fd);
	if (a == nullptr)
		return EINVAL;
	Guard<Mutex> h(a->lock);
	int place = place_of(a, r);
	if (place < 0 || socket_cookie(fd) != a->cookie)
		return EINVAL;
	if (a->region_count == 1) {
		blocked::call_back(a, nullptr);
		*waiting = end(a);
		return 0;
	}
	for (int i = place; i + 1 < a->region_count; i++)
		a->regions[i] = a->regions[i + 1];
	a->region_count--;
	if (!move_unread(a, r)) {
		a->regions[a->region_count++] = static_cast<uint16_t>(region::index_of(r));
		return ENOBUFS;
	}
	// What is armed is so for the first.
	if (a->armed != nullptr)
		channel::ring_ops.end_armed(a->armed_in, a->armed);
	a->armed = nullptr;
	leave_region(a, r);
	blocked::call_back(a, r);
	r->pieces.disturb();
	r->sockets.fetch_sub(1, mo::release);
	return 0;
}

// Requests whose association has ended.
void cancel_all(Request *waiting)
{
	while (waiting != nullptr) {
		Request *next = waiting->next.load(mo::relaxed);
		completion::finish(waiting, -ECANCELED);
		waiting = next;
	}
}

} // namespace

int add(int fd, Region *r, unsigned flags)
{
	if (int e = check_socket(fd); e != 0)
		return e;
	// What waits later needs no descriptors of its own, and there may be none left then.
	receiver::begin();
	// A queue that another descriptor has had is to be free.
	if (socket_option(fd, SO_DOMAIN) == AF_XDP) {
		forget_closed();
		device_ops.sweep();
	}
	return add_locked(fd, r, flags);
}

int remove(int fd, Region *r)
{
	if (int e = check_socket(fd); e != 0)
		return e;
	Request *waiting = nullptr;
	int e = remove_locked(fd, r, &waiting);
	cancel_all(waiting);
	return e;
}

} // namespace sigevec::dma::association
