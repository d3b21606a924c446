// SPDX-License-Identifier: MIT
#include "remote/device.hpp"

#include "base/memory_order.hpp"
#include "base/socket_option.hpp"
#include "base/syscalls.hpp"
#include "dma/message.hpp"
#include "dma/receive_impl.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace sigevec::remote::device {

namespace {

Mutex changing;
std::atomic<Device *> devices{nullptr};
std::atomic<bool> ever{false};

bool is_open(const Device *d)
{
	return socket_cookie(d->fd) == d->cookie;
}

// With `changing' held: one that nobody has any more, or a new one. nullptr: no memory.
Device *make()
{
	Device *d = devices.load(mo::relaxed);
	while (d != nullptr && d->used.load(mo::relaxed) &&
	       (d->region.load(mo::acquire) != nullptr || is_open(d)))
		d = d->next;
	if (d != nullptr)
		return d;
	d = static_cast<Device *>(calloc(1, sizeof(Device)));
	if (d == nullptr)
		return nullptr;
	d->kind = dma::Device::Kind::remote;
	d->next = devices.load(mo::relaxed);
	devices.store(d, mo::release);
	return d;
}

} // namespace

int adopt(int fd, Endpoint *e, const Backend *b)
{
	dma::association::forget_closed();
	Guard<Mutex> g(changing);
	Device *d = make();
	if (d == nullptr)
		return ENOMEM;
	d->used.store(false, mo::release);
	d->fd = fd;
	d->endpoint = e;
	d->backend = b;
	d->error = 0;
	d->region.store(nullptr, mo::relaxed);
	d->cookie.store(socket_cookie(fd), mo::relaxed);
	d->used.store(true, mo::release);
	ever.store(true, mo::release);
	return 0;
}

Device *find(uint64_t cookie)
{
	Device *d = devices.load(mo::acquire);
	while (d != nullptr && !(d->used.load(mo::acquire) && d->cookie == cookie))
		d = d->next;
	return d;
}

bool any()
{
	return ever.load(mo::acquire);
}

int attach(Device *d, dma::Region *r, size_t largest)
{
	auto index = static_cast<uint16_t>(dma::region::index_of(r));
	int e = d->backend->attach(d->endpoint, index, largest);
	if (e == 0)
		d->region.store(r, mo::release);
	return e;
}

void detach(Device *d)
{
	d->backend->detach(d->endpoint);
	if (dma::Region *r = d->region.load(mo::relaxed); r != nullptr)
		r->received.fetch_add(d->bytes_in.exchange(0, mo::relaxed), mo::relaxed);
	d->region.store(nullptr, mo::release);
}

namespace {

void note_sender(const Message &m, const dma::receive::Want &w, dma::Arrival *x)
{
	if (x->head != nullptr) {
		x->head->header.msg_name = &x->head->address;
		x->head->header.msg_namelen = m.from_length;
		memcpy(&x->head->address, m.from, m.from_length);
	} else if (w.from != nullptr)
		memcpy(w.from, m.from, std::min(m.from_length, w.from_length));
}

} // namespace

ssize_t take(dma::Association *a, const dma::receive::Want &w, dma::Arrival *x)
{
	auto *d = static_cast<Device *>(a->device);
	Message m{};
	*x = {};
	ssize_t n = d->backend->first(d->endpoint, dma::association::file_of(a), &m);
	d->seen = m.seen;
	if (n < 0)
		return n;
	// What waits in the association's queue keeps its sender there.
	*x = dma::receive::room(a, w, m.size, w.message || a->latest);
	if (x->piece == nullptr) {
		d->region.load(mo::relaxed)->full.fetch_add(1, mo::relaxed);
		return dma::receive::no_room;
	}
	if (!dma::region::store(x->region, dma::receive::data_of(*x), m.data, m.size)) {
		dma::receive::discard(std::exchange(*x, {}));
		return -EFAULT;
	}
	x->n = m.size;
	note_sender(m, w, x);
	d->backend->consumed(d->endpoint, dma::association::file_of(a));
	return n;
}

ssize_t sleep(Device *d, uint32_t seen, const struct timespec *limit)
{
	int e = d->backend->wait_for_message(d->endpoint, seen, limit);
	return e == EINTR ? -EINTR : 0;
}

namespace {

// r: of which it is the message; nullptr: it is to be sent now.
ssize_t hand_on(Device *d, const struct msghdr &m, int flags, Request *r, uint32_t *seen)
{
	if ((flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL)) != 0 || m.msg_controllen != 0)
		return -EOPNOTSUPP;
	return d->backend->send(d->endpoint, m.msg_iov, m.msg_iovlen,
				static_cast<const struct sockaddr *>(m.msg_name), m.msg_namelen, r,
				seen);
}

} // namespace

ssize_t send(Device *d, const struct msghdr &m, int flags, uint32_t *seen)
{
	ssize_t n = hand_on(d, m, flags, nullptr, seen);
	// What requests have sent is counted at their end.
	if (n > 0)
		d->region.load(mo::relaxed)->sent.fetch_add(static_cast<uint64_t>(n), mo::relaxed);
	return n;
}

ssize_t start(Request *r)
{
	dma::association::Locked a(r->fd.load(mo::relaxed));
	if (!a || a->device == nullptr || a->device->kind != dma::Device::Kind::remote)
		return -EINVAL;
	auto *d = static_cast<Device *>(a->device);
	struct iovec one = {r->buf, r->len};
	struct msghdr m = {};
	if (r->message != nullptr)
		m = r->message->header;
	m.msg_iov = r->vector != nullptr ? r->vector->v : &one;
	m.msg_iovlen = r->vector != nullptr ? static_cast<size_t>(r->vector->count) : 1;
	uint32_t seen;
	bool now = (r->call_flags & MSG_DONTWAIT) != 0;
	return hand_on(d, m, r->call_flags, now ? nullptr : r, &seen);
}

void after_fork()
{
	changing.reset();
	const Backend *b = nullptr;
	for (Device *d = devices.load(mo::relaxed); d != nullptr; d = d->next) {
		b = d->backend;
		d->used.store(false, mo::relaxed);
		d->region.store(nullptr, mo::relaxed);
	}
	if (b != nullptr)
		b->after_fork();
}

void close_in_child()
{
	for (Device *d = devices.load(mo::relaxed); d != nullptr; d = d->next)
		if (d->used.load(mo::relaxed) && is_open(d))
			sys::close(d->fd);
}

} // namespace sigevec::remote::device
