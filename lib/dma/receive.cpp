// SPDX-License-Identifier: MIT
//
// Data is received straight into pieces, and a piece is given to the program as large as what is in
// it.
#include "dma/receive_impl.hpp"

#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "dma/attachment.hpp"
#include "dma/device.hpp"

#include <cerrno>
#include <cstring>
#include <poll.h>
#include <sys/ioctl.h>
#include <utility>

namespace sigevec::dma::receive {

namespace {

constexpr size_t message_of_stream = 64 * 1024;

template <class F> void each_region(const Association *a, const Want &w, F f)
{
	if (w.region != nullptr) {
		f(w.region);
		return;
	}
	for (uint16_t i = 0; i < a->region_count; i++)
		f(region::at(a->regions[i]));
}

} // namespace

Arrival room(const Association *a, const Want &w, size_t size, bool head)
{
	size_t all = size + (head ? sizeof(MessageHead) : 0);
	Arrival x{};
	if (head && (x.head = ancillary::make()) == nullptr)
		return x;
	each_region(a, w, [&](Region *r) {
		if (x.piece == nullptr && (x.piece = r->pieces.reserve_for_arrival(all)) != nullptr)
			x = {r, x.piece, all, 0, x.head};
	});
	if (x.piece == nullptr)
		ancillary::drop(std::exchange(x.head, nullptr));
	return x;
}

Arrival some_room(const Association *a, const Want &w)
{
	size_t size = w.size;
	if (w.message && size == no_limit) {
		if (!a->stream)
			return {};
		size = message_of_stream;
	}
	bool less_will_do = a->stream && (w.flags & MSG_WAITALL) == 0;
	for (;; size /= 2) {
		Arrival x = room(a, w, size, w.message);
		if (x.piece != nullptr || !less_will_do || size <= unit)
			return x;
	}
}

ssize_t length_of_next(int fd, struct msghdr *m, int flags)
{
	char byte;
	struct iovec v = {&byte, 1};
	m->msg_iov = &v;
	return repeated(flags, [=] { return sys::recvmsg(fd, m, MSG_PEEK | MSG_TRUNC | flags); });
}

ssize_t length_of_next(int fd, int flags)
{
	struct msghdr m = {};
	m.msg_iovlen = 1;
	return length_of_next(fd, &m, flags);
}

namespace {

size_t room_in(const Arrival &x)
{
	return x.size - (x.head != nullptr ? sizeof(MessageHead) : 0);
}

// The same into m's vector, whose first part is x's.
ssize_t into_parts(int fd, struct msghdr *m, Arrival *x, const Want &w, int flags)
{
	m->msg_name = w.from;
	m->msg_namelen = w.from_length;
	if (x->head != nullptr)
		ancillary::ask(x->head, m);
	ssize_t n = repeated(flags, [=] { return sys::recvmsg(fd, m, flags | MSG_CMSG_CLOEXEC); });
	if (n < 0)
		return n;
	x->n = static_cast<size_t>(n);
	if (x->head != nullptr) {
		ancillary::note(x->head, *m);
		ancillary::keep_files(x->head);
	}
	return n;
}

} // namespace

ssize_t into(int fd, struct msghdr *m, Arrival *x, const Want &w, int flags)
{
	struct iovec v = {data_of(*x), room_in(*x)};
	m->msg_iov = &v;
	return into_parts(fd, m, x, w, flags);
}

ssize_t into(int fd, Arrival *x, const Want &w, int flags)
{
	struct msghdr m = {};
	m.msg_iovlen = 1;
	return into(fd, &m, x, w, flags);
}

namespace {

// Another process may have taken the datagram whose length was looked at: what the next one has
// beyond the room for that lies here for a moment. Longer than any datagram; who does not need it
// touches none of its pages.
constexpr size_t longest = size_t{1} << 20;
char beyond[longest];
Mutex beyond_lock;

// The next datagram, whole: x has room for one that was there. Bytes or -errno.
ssize_t into_whole(const Association *a, Arrival *x, const Want &w, int flags)
{
	struct iovec v[2] = {{data_of(*x), room_in(*x)}, {beyond, longest}};
	struct msghdr m = {};
	m.msg_iov = v;
	m.msg_iovlen = 2;
	Guard<Mutex> g(beyond_lock);
	ssize_t n = into_parts(association::file_of(a), &m, x, w, flags);
	size_t first = v[0].iov_len;
	if (n < 0 || x->n <= first)
		return n;
	Arrival larger = room(a, w, x->n, x->head != nullptr);
	if (larger.piece == nullptr) {
		// As recv does where the buffer is too small.
		if (x->head != nullptr)
			x->head->header.msg_flags |= MSG_TRUNC;
		x->n = first;
		return static_cast<ssize_t>(first);
	}
	region::store(larger.region, data_of(larger), data_of(*x), first);
	region::store(larger.region, data_of(larger) + first, beyond, x->n - first);
	larger.n = x->n;
	std::swap(larger.head, x->head);
	discard(*x);
	*x = larger;
	return n;
}

void note_full(const Association *a, const Want &w)
{
	each_region(a, w, [](Region *r) { r->full.fetch_add(1, mo::relaxed); });
}

// Without room: the end of a stream and errors need none. A datagram may need less than was asked
// for.
ssize_t without_room(const Association *a, const Want &w, Arrival *x)
{
	ssize_t n = length_of_next(association::file_of(a), MSG_DONTWAIT);
	if (n == 0 && at_end(a))
		return 0;
	if (n < 0 && n != -EAGAIN)
		return n;
	if (n >= 0 && !a->stream && static_cast<size_t>(n) <= w.size) {
		*x = room(a, w, n == 0 ? 1 : static_cast<size_t>(n), w.message);
		if (x->piece != nullptr) {
			ssize_t got = into_whole(a, x, w, w.flags | MSG_DONTWAIT);
			// Another process was quicker: this room is not for the next one.
			if (got < 0)
				discard(std::exchange(*x, Arrival{}));
			return got;
		}
	}
	// Nothing is there, but there is room for something: it can be waited for.
	if (n == -EAGAIN && !a->stream) {
		*x = room(a, w, 1, w.message);
		bool some = x->piece != nullptr;
		if (some)
			discard(*x);
		*x = {};
		if (some)
			return -EAGAIN;
	}
	note_full(a, w);
	return no_room;
}

// An arrival without the head that is wanted, or in another region than is wanted. 0, no_room or
// -errno: then it is what it was.
int move(const Association *a, const Want &w, Arrival *x)
{
	Arrival with = room(a, w, x->n == 0 ? 1 : x->n, w.message);
	if (with.piece == nullptr)
		return no_room;
	if (!region::store(with.region, data_of(with), data_of(*x), x->n)) {
		discard(with);
		return -EFAULT;
	}
	with.n = x->n;
	if (with.head != nullptr && x->head != nullptr)
		std::swap(with.head, x->head);
	else if (x->head != nullptr)
		ancillary::copy_address(x->head, w.from, w.from_length);
	discard(*x);
	*x = with;
	return 0;
}

} // namespace

bool move_to_another(const Association *a, Arrival *x)
{
	Want w{};
	w.message = x->head != nullptr;
	return move(a, w, x) == 0;
}

ssize_t one(Association *a, const Want &w, Arrival *x)
{
	if (a->device != nullptr)
		return device_ops.take(a, w, x);
	if (Region *r = attachment::of(a, w); r != nullptr)
		if (ssize_t n = attachment::take(a, r, w, x); n != attachment::not_here)
			return n;
	*x = some_room(a, w);
	if (x->piece == nullptr)
		return without_room(a, w, x);
	ssize_t n = into(association::file_of(a), x, w, w.flags | MSG_DONTWAIT);
	a->emptied = n > 0 && static_cast<size_t>(n) < room_in(*x);
	return n;
}

bool at_end(const Association *a)
{
	if (a->stream || a->device != nullptr)
		return a->stream;
	// Shut down, and no bytes are left behind the empty packet, if it was one.
	struct pollfd p = {association::file_of(a), POLLRDHUP, 0};
	int left = 0;
	return sys::poll_now(&p) == 1 && (p.revents & (POLLRDHUP | POLLHUP)) != 0 &&
	       ioctl(p.fd, FIONREAD, &left) == 0 && left == 0;
}

void discard(const Arrival &x)
{
	ancillary::drop(x.head);
	x.region->pieces.discard(x.piece, x.size);
}

void wait_for_room(const Association *a, const Want &w)
{
	each_region(a, w, [](Region *r) { r->pieces.wait_for_room(); });
}

void wake(Association *a)
{
	a->arrivals.fetch_add(1, mo::seq_cst);
	if (a->sleepers.load(mo::seq_cst) != 0)
		futex_wake(a->arrivals, INT_MAX);
}

namespace {

ssize_t give(const Association *a, const Arrival &x, size_t n, void **address)
{
	x.region->pieces.give(x.piece, x.size, n, x.head != nullptr);
	*address = x.piece;
	if (a != nullptr && a->device != nullptr)
		a->device->received(n);
	else
		x.region->received.fetch_add(n, mo::relaxed);
	return static_cast<ssize_t>(n);
}

ssize_t give_message(const Association *a, const Arrival &x, const Want &w, size_t n,
		     void **address)
{
	if (!ancillary::store(x.head, x.region, x.piece, n, w.flags, n < x.n ? MSG_TRUNC : 0)) {
		discard(x);
		return -EFAULT;
	}
	if (w.keep != nullptr)
		*w.keep = x.head;
	else
		ancillary::hand_over(x.head, w.flags);
	return give(a, x, n, address);
}

// What is empty, or has a head or is to have one, or lies in another region than is wanted.
ssize_t hand_out_otherwise(const Association *a, Arrival x, const Want &w, void **address)
{
	*address = nullptr;
	if (x.head != nullptr && !w.message)
		ancillary::copy_address(x.head, w.from, w.from_length);
	if (x.n == 0 && !(w.message && !a->stream)) {
		discard(x);
		return 0;
	}
	bool elsewhere = w.region != nullptr && x.region != w.region;
	if (elsewhere || (w.message && x.head == nullptr))
		if (int e = move(a, w, &x); e != 0) {
			if (e != no_room)
				discard(x);
			return e;
		}
	size_t n = x.n < w.size ? x.n : w.size;
	if (w.message)
		return give_message(a, x, w, n, address);
	if (x.head != nullptr) {
		ancillary::drop(x.head);
		x.region->pieces.drop_front(x.piece, data_of(x), x.size - sizeof(MessageHead));
		x = {x.region, data_of(x), x.size - sizeof(MessageHead), n, nullptr};
	}
	return give(a, x, n, address);
}

} // namespace

ssize_t hand_out(const Association *a, const Arrival &x, const Want &w, void **address)
{
	bool as_it_is = x.n != 0 && (w.region == nullptr || x.region == w.region) && !w.message &&
			x.head == nullptr;
	if (!as_it_is)
		return hand_out_otherwise(a, x, w, address);
	return give(a, x, x.n < w.size ? x.n : w.size, address);
}

ssize_t take(Association *a, const Want &w, void **address)
{
	Arrival x = a->queue[a->queue_first];
	if (!a->stream || x.n <= w.size) {
		ssize_t n = hand_out(a, x, w, address);
		if (n != no_room)
			association::pop(a);
		return n;
	}
	Arrival part = room(a, w, w.size, w.message);
	if (part.piece == nullptr)
		return no_room;
	if (!region::store(part.region, data_of(part), x.piece, w.size)) {
		discard(part);
		return -EFAULT;
	}
	part.n = w.size;
	Arrival &rest = a->queue[a->queue_first];
	rest.n -= w.size;
	region::store(rest.region, rest.piece, rest.piece + w.size, rest.n);
	return hand_out(a, part, w, address);
}

ssize_t hand_out_alone(const Arrival &x, const Want &w, void **address)
{
	size_t n = x.n < w.size ? x.n : w.size;
	return w.message ? give_message(nullptr, x, w, n, address) : give(nullptr, x, n, address);
}

void after_fork()
{
	beyond_lock.reset();
}

} // namespace sigevec::dma::receive
