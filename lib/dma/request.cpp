// SPDX-License-Identifier: MIT
#include "dma/request.hpp"

#include "base/memory_order.hpp"
#include "base/socket_option.hpp"
#include "dma/deliver.hpp"
#include "dma/device.hpp"
#include "dma/message.hpp"
#include "dma/receive.hpp"
#include "dma/receiver.hpp"
#include "sigevec/ec.h"

#include <cerrno>
#include <climits>
#include <utility>

namespace sigevec::dma {

namespace {

int hold(Use *use, Region *r, const struct iovec &v)
{
	if (v.iov_len == 0)
		return 0;
	if (region::around(v.iov_base, v.iov_len) != r)
		return region::around(v.iov_base, v.iov_len) == nullptr ? EFAULT : EINVAL;
	if (use->pieces == Use::most_pieces)
		return EMSGSIZE;
	uint32_t first = r->pieces.hold(v.iov_base, v.iov_len);
	if (first == no_unit)
		return r->pieces.can_hold() ? EINVAL : EAGAIN;
	use->unit[use->pieces++] = first;
	return 0;
}

void let_go(const Use &use, Region *r)
{
	for (unsigned i = 0; i < use.pieces; i++)
		r->pieces.unhold(use.unit[i]);
}

} // namespace

int prepare_send(Call &c, dma_mem_t handle, bool any_region)
{
	// Frames are sent by sio_send alone, which does not wait either.
	bool remote = false;
	if (device_ops.any() || device_ops.ever_remote())
		if (association::Locked a(c.fd); a && a->device != nullptr) {
			remote = a->device->kind == Device::Kind::remote;
			if (!remote)
				return EOPNOTSUPP;
		}
	struct iovec one = {c.buf, c.len};
	const struct iovec *v = c.vector != nullptr ? c.vector : &one;
	int n = c.vector != nullptr ? c.vector_count : 1;
	Region *r = any_region ? region::around(v[0].iov_base, v[0].iov_len) : region::find(handle);
	if (r == nullptr)
		return any_region ? EFAULT : EINVAL;
	Use use{};
	use.kind = Use::Kind::send;
	use.remote = remote;
	use.region = static_cast<uint16_t>(region::index_of(r));
	for (int i = 0; i < n; i++)
		if (int e = hold(&use, r, v[i]); e != 0) {
			let_go(use, r);
			return e;
		}
	region::add_request(r);
	c.dma = use;
	return 0;
}

namespace {

// A piece that the request fills by itself.
int reserve(Call &c, Region *r, bool message)
{
	Use use{};
	use.kind = Use::Kind::receive;
	use.message = message;
	use.region = static_cast<uint16_t>(region::index_of(r));
	use.size = c.len + (message ? sizeof(MessageHead) : 0);
	if (c.len == 0 || c.len > r->size)
		return EINVAL;
	if (message && (use.head = ancillary::make()) == nullptr)
		return EAGAIN;
	if ((use.piece = r->pieces.reserve(use.size)) == nullptr) {
		ancillary::drop(use.head);
		r->full.fetch_add(1, mo::relaxed);
		return ENOBUFS;
	}
	region::add_request(r);
	c.buf = use.piece;
	if (message) {
		c.buf = use.piece + sizeof(MessageHead);
		*c.message = {};
		ancillary::ask(use.head, c.message);
		use.head->header = *c.message;
		c.result = &use.head->header;
	}
	c.dma = use;
	return 0;
}

// Whose data come by a region alone: what its socket has otherwise is not the program's.
bool is_device(int fd)
{
	if (!device_ops.any() && !device_ops.ever_remote())
		return false;
	uint64_t cookie = socket_cookie(fd);
	return cookie != 0 && device_ops.find(cookie) != nullptr;
}

} // namespace

int prepare_receive(Call &c, dma_mem_t handle, bool message)
{
	Region *r = region::find(handle);
	if (r == nullptr)
		return EINVAL;
	// The result is the size of the piece.
	if ((c.call_flags & MSG_TRUNC) != 0 && c.op != Op::read)
		return EOPNOTSUPP;
	association::Locked a(c.fd);
	if (!a)
		return is_device(c.fd) ? EINVAL : reserve(c, r, message);
	// What waits takes the next data there is, as much as has come.
	if ((c.call_flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE)) != 0 ||
	    (a->stream && (c.call_flags & MSG_WAITALL) != 0))
		return EOPNOTSUPP;
	if (c.len == 0)
		return EINVAL;
	c.op = Op::recv;
	c.dma = {};
	c.dma.kind = Use::Kind::wait;
	c.dma.message = message;
	c.dma.size = c.len;
	c.dma.region = static_cast<uint16_t>(region::index_of(r));
	region::add_request(r);
	return 0;
}

int prepare_wait(Call &c, size_t size, bool message)
{
	constexpr int unfit = MSG_TRUNC | MSG_PEEK | MSG_WAITALL;
	if ((c.call_flags & unfit) != 0)
		return EOPNOTSUPP;
	if (size == 0 || (!message && size > SSIZE_MAX) ||
	    (c.call_flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL | MSG_CMSG_CLOEXEC)) != 0 ||
	    (c.multishot && c.message != nullptr))
		return EINVAL;
	c.dma = {};
	c.dma.kind = Use::Kind::wait;
	c.dma.message = message;
	c.dma.size = size;
	c.dma.region = no_region;
	c.len = 0;
	c.buf = nullptr;
	return 0;
}

namespace {

// With the lock of the association held.
int add_last(Association *a, Request *r, deliver::Outcome *o)
{
	bool unnamed = r->dma.region == no_region;
	if (unnamed) {
		r->dma.region = a->regions[0];
		region::add_request(region::at(r->dma.region));
	}
	if (a->armed != nullptr)
		return EBUSY;
	deliver::step(a, o, false);
	// Nothing would ever come to who waits behind an armed request.
	if (!a->waiting.empty() && a->waiting.first()->multishot)
		return EBUSY;
	// It waits first, for by that it is decided who watches.
	a->waiting.push(r);
	if (!association::hold(a) || !receiver::watch(a)) {
		a->waiting.remove_if([r](Request *x) { return x == r; });
		// The call is refused, which knows of no region.
		if (unnamed) {
			region::remove_request(region::at(r->dma.region));
			r->dma.region = no_region;
		}
		return EAGAIN;
	}
	r->association.store(association::place_of(a), mo::relaxed);
	std::atomic_thread_fence(mo::seq_cst); // see cancel.cpp
	deliver::step(a, o, false);
	return 0;
}

} // namespace

int enqueue(Request *r)
{
	deliver::Outcome o;
	int e = EINVAL;
	{
		association::Locked a(r->fd.load(mo::relaxed));
		if (a) {
			e = add_last(a.get(), r, &o);
			association::let_go(a.get());
		}
	}
	deliver::finish(o);
	return e;
}

void ended(Use &use, struct aiocb *cb, ssize_t result)
{
	if (!use)
		return;
	auto done = static_cast<uint64_t>(result > 0 ? result : 0);
	if (use.region == no_region)
		return;
	Region *r = region::at(use.region);
	// MSG_TRUNC tells of more than the piece has.
	if (size_t most = use.size - (use.message ? sizeof(MessageHead) : 0);
	    use.kind == Use::Kind::receive && done > most)
		done = most;
	switch (use.kind) {
	case Use::Kind::send:
		let_go(use, r);
		r->sent.fetch_add(done, mo::relaxed);
		if (result >= 0 && !use.copy_reported)
			r->copied.fetch_add(1, mo::relaxed);
		break;
	case Use::Kind::receive:
		if (done != 0 || (use.message && result == 0))
			r->pieces.give(use.piece, use.size, done, use.message);
		else {
			r->pieces.discard(use.piece, use.size);
			use.piece = nullptr;
		}
		if (use.piece != nullptr && use.message) {
			ancillary::note(use.head, use.head->header);
			// Descriptors are in whichever table they came to, as the call asked.
			ancillary::store(use.head, r, use.piece, done, MSG_CMSG_CLOEXEC, 0);
		}
		ancillary::drop_later(std::exchange(use.head, nullptr));
		r->received.fetch_add(done, mo::relaxed);
		break;
	default:
		break;
	}
	if (use.kind != Use::Kind::send && cb != nullptr)
		cb->aio_buf = use.piece;
	region::remove_request(r);
}

namespace {

// The oldest datagram of the association, for an event that tells of it.
ssize_t take_latest(Request *r, void **address)
{
	Association *a = association::at(r->dma.association);
	Guard<Mutex> g(a->lock);
	if (a->fd < 0 || a->life != r->dma.life)
		return -ECANCELED;
	a->events--;
	if (a->queue_count == 0)
		return -ECANCELED;
	receive::Want w{};
	w.size = r->dma.size;
	w.flags = r->call_flags;
	w.message = r->dma.message;
	return receive::public_result(receive::hand_out(a, association::pop(a), w, address));
}

} // namespace

void keep_region(Use &use)
{
	Region *r = use.piece != nullptr ? region::around(use.piece, 1) : nullptr;
	if (r == nullptr)
		return;
	region::add_request(r);
	use.kept = static_cast<uint16_t>(region::index_of(r) + 1);
}

namespace {

void let_region_go(Use &use)
{
	if (use.kept != 0)
		region::remove_request(region::at(std::exchange(use.kept, uint16_t{0}) - 1u));
}

} // namespace

void describe(Request *r, struct event_data *d)
{
	if (r->cb.load(mo::relaxed) != nullptr || r->dma.kind == Use::Kind::send)
		return;
	void *address = r->dma.piece;
	if (r->dma.kind == Use::Kind::latest) {
		ssize_t n = take_latest(r, &address);
		d->ev_result = n < 0 ? -1 : n;
		d->ev_errno = n < 0 ? static_cast<int>(-n) : 0;
	}
	d->ev_type = event_type_dma;
	Region *in = address != nullptr ? region::around(address, 1) : nullptr;
	d->ev_un.ev_dma.fd = r->fd.load(mo::relaxed);
	d->ev_un.ev_dma.mem =
		in != nullptr ? reinterpret_cast<dma_mem_t>(in->handle.load(mo::relaxed)) : nullptr;
	d->ev_un.ev_dma.buf = address;
	ancillary::hand_over(std::exchange(r->dma.head, nullptr), r->call_flags);
	let_region_go(r->dma);
}

void drop(Request *r)
{
	if (r->cb.load(mo::relaxed) != nullptr)
		return;
	if (r->dma.kind == Use::Kind::arrival && r->dma.piece != nullptr) {
		if (Region *in = region::around(r->dma.piece, 1); in != nullptr)
			in->pieces.release(r->dma.piece, static_cast<size_t>(r->result));
		ancillary::drop(std::exchange(r->dma.head, nullptr));
		let_region_go(r->dma);
	} else if (r->dma.kind == Use::Kind::latest) {
		Association *a = association::at(r->dma.association);
		Guard<Mutex> g(a->lock);
		if (a->life == r->dma.life)
			a->events--;
	}
}

} // namespace sigevec::dma
