// SPDX-License-Identifier: MIT
//
// Frames in and out.
#include "ether/device.hpp"

#include "base/iovec.hpp"
#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "dma/receive.hpp"
#include "ether/wake.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <linux/if_xdp.h>
#include <sys/socket.h>

#ifndef XDP_PKT_CONTD
#define XDP_PKT_CONTD (1 << 0)
#endif

namespace sigevec::ether::device {

using dma::Arrival;
using dma::Region;

namespace {

constexpr uint32_t batch =
	dma::PieceAllocator::most_slots; // slots that go to the kernel together,
					 // completions that are looked for together
constexpr uint32_t most_parts = 17;      // MAX_SKB_FRAGS

// A part of a frame, as an entry of the ring has it.
struct Part {
	char *data; // nullptr: the entry names no memory that the kernel has been given
	uint32_t length;
	bool last;
};

char *slot_of(const Device *d, const char *data)
{
	return d->umem.memory +
	       (static_cast<size_t>(data - d->umem.memory) & ~size_t{d->umem.chunk - 1});
}

void mark(Device *d, const char *slot, bool kernels)
{
	auto n = static_cast<size_t>(slot - d->umem.memory) >> std::countr_zero(d->umem.chunk);
	uint64_t bit = uint64_t{1} << (n % 64);
	d->rings.kernels[n / 64] =
		kernels ? d->rings.kernels[n / 64] | bit : d->rings.kernels[n / 64] & ~bit;
}

bool is_kernels(const Device *d, uint64_t address)
{
	uint64_t n = address >> std::countr_zero(d->umem.chunk);
	return address < d->umem.memory_size && (d->rings.kernels[n / 64] >> (n % 64) & 1) != 0;
}

Part read_part(Device *d, uint32_t i)
{
	auto e = d->rings.receive.read<struct xdp_desc>(i);
	bool good =
		is_kernels(d, e.addr) && e.len <= d->umem.chunk - (e.addr & (d->umem.chunk - 1));
	return {good ? d->umem.memory + e.addr : nullptr, good ? e.len : 0,
		(e.options & XDP_PKT_CONTD) == 0};
}

// The kernel has let go of the slot that has these data.
char *get_back(Device *d, const char *data)
{
	char *slot = slot_of(d, data);
	mark(d, slot, false);
	d->with_kernel--;
	return slot;
}

// A frame: more parts than any has are not told apart.
struct Frame {
	Part part[most_parts + 1];
	uint32_t parts;  // 0: not all of it is there
	uint64_t length; // 0: it is none
};

void measure(Device *d, uint32_t filled, Frame *f)
{
	f->length = 0;
	bool good = true;
	for (uint32_t i = 0; i <= most_parts; i++) {
		if (i == filled && (filled = d->rings.receive.filled_now()) <= i)
			break;
		f->part[i] = read_part(d, d->rings.receive.mine + i);
		// No two parts are in one slot.
		for (uint32_t j = 0; j < i; j++)
			if (f->part[i].data != nullptr && f->part[j].data != nullptr &&
			    slot_of(d, f->part[i].data) == slot_of(d, f->part[j].data))
				f->part[i].data = nullptr;
		good = good && f->part[i].data != nullptr;
		f->length += f->part[i].length;
		if (f->part[i].last || i == most_parts) {
			f->parts = i + 1;
			f->length = good && f->part[i].last ? f->length : 0;
			return;
		}
	}
	f->parts = 0;
}

// The next frame into one piece, or nowhere.
void gather(Device *d, Region *r, const Frame &f, char *piece)
{
	for (uint32_t i = 0; i < f.parts; i++) {
		const Part &p = f.part[i];
		if (p.data == nullptr)
			continue;
		if (piece != nullptr) {
			memcpy(piece, p.data, p.length);
			piece += p.length;
		}
		r->pieces.discard(get_back(d, p.data), d->umem.chunk);
	}
	d->rings.receive.mine += f.parts;
	d->rings.receive.consumed();
}

// A frame that is whole in its slot, where it can stay. False: it cannot.
bool take_slot(Device *d, Region *r, const Part &p, Arrival *x)
{
	size_t before = static_cast<size_t>(p.data - d->umem.memory) & (d->umem.chunk - 1);
	// The record of a frame stands beside that of its slot.
	if (before < dma::unit || before % dma::unit != 0)
		return false;
	d->rings.receive.mine++;
	d->rings.receive.consumed();
	get_back(d, p.data);
	r->pieces.open_slot(p.data, d->umem.chunk, p.length);
	*x = {r, p.data, p.length, p.length, nullptr};
	return true;
}

} // namespace

bool refill(Device *d)
{
	Region *r = d->region.load(mo::relaxed);
	Ring &f = d->rings.fill;
	uint32_t before = f.mine;
	while (d->with_kernel < d->wanted) {
		char *slots[batch];
		uint32_t room = std::min({f.room(1), d->wanted - d->with_kernel, batch});
		uint32_t n = r->pieces.reserve_slots(d->umem.chunk, d->umem.memory, room, slots);
		for (uint32_t i = 0; i < n; i++) {
			f.at<uint64_t>(f.mine++) = static_cast<uint64_t>(slots[i] - d->umem.memory);
			mark(d, slots[i], true);
		}
		d->with_kernel += n;
		if (n < room)
			r->full.fetch_add(1, mo::relaxed);
		if (n < room || room == 0)
			break;
	}
	if (f.mine != before) {
		f.publish();
		// Only a device that reads the region itself sleeps for want of slots.
		if (d->umem.zero_copy && (f.flags->load(mo::relaxed) & XDP_RING_NEED_WAKEUP) != 0)
			wake_for_slots(d->fd.load(mo::relaxed));
	}
	return d->with_kernel != 0;
}

ssize_t take(dma::Association *a, Arrival *x)
{
	auto *d = static_cast<Device *>(a->device);
	Region *r = d->region.load(mo::relaxed);
	*x = {};
	for (uint32_t filled; (filled = d->rings.receive.filled()) != 0;) {
		Frame f;
		measure(d, filled, &f);
		if (f.parts == 0)
			break;
		if (f.length > d->umem.most || f.length == 0) {
			gather(d, r, f, nullptr);
			add(d->counts.too_large, 1);
			continue;
		}
		if (f.parts > 1 || !take_slot(d, r, f.part[0], x)) {
			char *piece = r->pieces.reserve(f.length);
			if (piece == nullptr) {
				r->full.fetch_add(1, mo::relaxed);
				return dma::receive::no_room;
			}
			gather(d, r, f, piece);
			*x = {r, piece, f.length, f.length, nullptr};
		}
		add(d->counts.frames_in, 1);
		if (d->with_kernel + batch <= d->wanted || d->with_kernel == 0)
			refill(d);
		return static_cast<ssize_t>(f.length);
	}
	if (d->error != 0)
		return -d->error;
	return refill(d) ? -EAGAIN : dma::receive::no_room;
}

bool failed(Device *d)
{
	int error = 0;
	socklen_t n = sizeof error;
	if (d->error == 0 && getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0)
		d->error = error;
	return d->error != 0;
}

void reap(Device *d)
{
	Region *r = d->region.load(mo::relaxed);
	for (uint32_t n = d->rings.completed.filled(); n != 0; n--) {
		uint64_t address = d->rings.completed.read<uint64_t>(d->rings.completed.mine++);
		// Mostly the oldest.
		uint32_t i = d->out.oldest;
		while (i != d->out.newest && (d->out.flying[i % flights].first == dma::no_unit ||
					      d->out.flying[i % flights].address != address))
			i++;
		if (i == d->out.newest)
			continue; // nothing that has been sent
		r->pieces.unhold(d->out.flying[i % flights].first);
		d->out.flying[i % flights].first = dma::no_unit;
		d->out.sending--;
		while (d->out.oldest != d->out.newest &&
		       d->out.flying[d->out.oldest % flights].first == dma::no_unit)
			d->out.oldest++;
	}
	d->rings.completed.consumed();
}

namespace {

// Where the frame lies in the queue's memory, held by its piece; a copy if it is elsewhere or in
// several parts. nullptr: *error says why.
const char *place(Device *d, Region *r, const struct iovec *v, size_t count, size_t length,
		  uint32_t *first, int *error)
{
	auto *p = static_cast<const char *>(v[0].iov_base);
	bool inside = count == 1 && p >= d->umem.memory &&
		      p + length <= d->umem.memory + d->umem.memory_size;
	bool whole = inside &&
		     (static_cast<size_t>(p - d->umem.memory) & (d->umem.chunk - 1)) + length <=
			     d->umem.chunk;
	if (inside && (whole || d->umem.in_parts) &&
	    (*first = r->pieces.hold(p, length)) != dma::no_unit)
		return p;
	char *copy = nullptr;
	if (length <= d->umem.chunk)
		r->pieces.reserve_slots(d->umem.chunk, d->umem.memory, 1, &copy);
	else if (d->umem.in_parts)
		copy = r->pieces.reserve(length);
	if (copy == nullptr) {
		*error = length <= d->umem.chunk || d->umem.in_parts ? ENOBUFS : EMSGSIZE;
		return nullptr;
	}
	bool there = dma::region::join(copy, v, count);
	// As if the program had sent a piece of its own and released it.
	r->pieces.give(copy, length <= d->umem.chunk ? d->umem.chunk : length, length, false);
	*first = r->pieces.hold(copy, length);
	r->pieces.release(copy, length);
	if (*first != dma::no_unit && there)
		return copy;
	*error = there ? EAGAIN : EFAULT;
	if (*first != dma::no_unit)
		r->pieces.unhold(*first);
	return nullptr;
}

// In parts that end where slots do.
void put(Device *d, Region *r, const char *p, size_t length, uint32_t first)
{
	for (bool again = false; length != 0; again = true) {
		auto address = static_cast<uint64_t>(p - d->umem.memory);
		size_t n = d->umem.chunk - (address & (d->umem.chunk - 1));
		if (n > length)
			n = length;
		auto &e = d->rings.transmit.at<struct xdp_desc>(d->rings.transmit.mine++);
		e.addr = address;
		e.len = static_cast<uint32_t>(n);
		e.options = n < length ? XDP_PKT_CONTD : 0;
		if (again)
			r->pieces.hold_again(first);
		d->out.flying[d->out.newest++ % flights] = {address, first};
		d->out.sending++;
		p += n;
		length -= n;
	}
	d->rings.transmit.publish();
}

// Has the kernel look at the ring. 0 or -errno.
int kick(Device *d)
{
	if ((d->rings.transmit.flags->load(mo::relaxed) & XDP_RING_NEED_WAKEUP) == 0)
		return 0;
	// A call sends as many as the kernel likes; what is left it says by EAGAIN.
	for (int i = 0; i < 64; i++) {
		int error = wake_for_sending(d->fd.load(mo::relaxed));
		if (error != EAGAIN && error != EBUSY && error != ENOBUFS)
			return -error;
		reap(d);
	}
	return 0;
}

} // namespace

ssize_t send(Device *d, const struct iovec *v, size_t count, bool more)
{
	Region *r = d->region.load(mo::relaxed);
	auto length = static_cast<size_t>(length_of(v, count));
	if (length == 0)
		return -EINVAL;
	if (length > size_t{d->umem.chunk} * most_parts ||
	    (length > d->umem.chunk && !d->umem.in_parts) || is_too_long(d, length))
		return -EMSGSIZE;
	if (d->error != 0)
		return -d->error;
	if (d->out.sending >= batch)
		reap(d);
	auto parts = static_cast<uint32_t>(length / d->umem.chunk + 2);
	if (d->rings.transmit.size() - d->out.sending < parts ||
	    d->rings.transmit.room(parts) < parts ||
	    flights - (d->out.newest - d->out.oldest) < parts) {
		if (int e = kick(d); e != 0)
			return e;
		return -EAGAIN;
	}
	uint32_t first;
	int error = 0;
	const char *p = place(d, r, v, count, length, &first, &error);
	if (p == nullptr)
		return -error;
	put(d, r, p, length, first);
	add(d->counts.frames_out, 1);
	add(d->counts.bytes_out, length);
	if (!more)
		if (int e = kick(d); e != 0)
			return e;
	return static_cast<ssize_t>(length);
}

} // namespace sigevec::ether::device
