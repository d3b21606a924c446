// SPDX-License-Identifier: MIT
//
// Data is received straight into pieces, and a piece is given to the program as large as what is in it.
#include "dma/receive_impl.hpp"

#include "ether/device.hpp"
#include "runtime/syscalls.hpp"

#include <cerrno>
#include <cstring>
#include <poll.h>
#include <sys/ioctl.h>

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
	each_region(a, w, [&](Region *r) {
		if (x.piece == nullptr && (x.piece = r->slots.reserve_for_arrival(all)) != nullptr)
			x = {r, x.piece, all, 0, head};
	});
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

ssize_t length_of_next(int fd, int flags)
{
	char byte;
	struct iovec v = {&byte, 1};
	struct msghdr m = {};
	m.msg_iov = &v;
	m.msg_iovlen = 1;
	ssize_t n = sys::recvmsg(fd, &m, MSG_PEEK | MSG_TRUNC | flags);
	return n < 0 ? -errno : n;
}

void describe(MessageHead *h, const struct msghdr &m, size_t n)
{
	h->header = {};
	h->header.msg_name = m.msg_namelen != 0 ? &h->address : nullptr;
	h->header.msg_namelen = m.msg_namelen;
	h->header.msg_control = m.msg_controllen != 0 ? h->control : nullptr;
	h->header.msg_controllen = m.msg_controllen;
	h->header.msg_flags = m.msg_flags;
	h->vector = {reinterpret_cast<char *>(h) + sizeof *h, n};
	h->header.msg_iov = &h->vector;
	h->header.msg_iovlen = 1;
}

ssize_t into(int fd, Arrival *x, const Want &w, int flags)
{
	struct iovec v = {data_of(*x), x->size - (x->head ? sizeof(MessageHead) : 0)};
	struct msghdr m = {};
	m.msg_iov = &v;
	m.msg_iovlen = 1;
	if (x->head) {
		m.msg_name = &head_of(*x)->address;
		m.msg_namelen = sizeof head_of(*x)->address;
		m.msg_control = head_of(*x)->control;
		m.msg_controllen = sizeof head_of(*x)->control;
	} else {
		m.msg_name = w.from;
		m.msg_namelen = w.from_length;
	}
	ssize_t n = sys::recvmsg(fd, &m, flags);
	if (n < 0)
		return -errno;
	x->n = static_cast<size_t>(n);
	if (x->head)
		describe(head_of(*x), m, x->n);
	return n;
}

namespace {

void note_full(const Association *a, const Want &w)
{
	each_region(a, w, [](Region *r) { r->full.fetch_add(1, std::memory_order_relaxed); });
}

// Without room: the end of a stream and errors need none. A datagram may need less than was asked for.
ssize_t without_room(const Association *a, const Want &w, Arrival *x)
{
	ssize_t n = length_of_next(association::file_of(a), MSG_DONTWAIT);
	if (n == 0 && at_end(a))
		return 0;
	if (n < 0 && n != -EAGAIN)
		return n;
	if (n >= 0 && !a->stream && static_cast<size_t>(n) <= w.size) {
		*x = room(a, w, n == 0 ? 1 : static_cast<size_t>(n), w.message);
		if (x->piece != nullptr)
			return into(association::file_of(a), x, w, w.flags | MSG_DONTWAIT);
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
	return -ENOBUFS;
}

void close_descriptors(const MessageHead *h)
{
	auto *m = const_cast<struct msghdr *>(&h->header);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != nullptr; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
				int fd;
				memcpy(&fd, reinterpret_cast<char *>(c) + at, sizeof fd);
				sys::close(fd);
			}
}

void copy_address(const MessageHead *h, const Want &w)
{
	size_t n = h->header.msg_namelen < w.from_length ? h->header.msg_namelen : w.from_length;
	if (w.from != nullptr && n != 0)
		memcpy(w.from, &h->address, n);
}

// An arrival without the head that is wanted, or in another region than is wanted.
bool move(const Association *a, const Want &w, Arrival *x)
{
	Arrival with = room(a, w, x->n == 0 ? 1 : x->n, w.message);
	if (with.piece == nullptr)
		return false;
	memcpy(data_of(with), data_of(*x), x->n);
	with.n = x->n;
	if (with.head && x->head) {
		memcpy(with.piece, x->piece, sizeof(MessageHead));
		describe(head_of(with), head_of(*x)->header, x->n);
	} else if (with.head)
		describe(head_of(with), msghdr{}, x->n);
	else if (x->head) {
		copy_address(head_of(*x), w);
		close_descriptors(head_of(*x));
	}
	x->region->slots.discard(x->piece, x->size);
	*x = with;
	return true;
}

} // namespace

ssize_t one(Association *a, const Want &w, Arrival *x)
{
	if (a->device != nullptr)
		return ether::device::take(a, x);
	*x = some_room(a, w);
	return x->piece != nullptr ? into(association::file_of(a), x, w, w.flags | MSG_DONTWAIT) : without_room(a, w, x);
}

bool at_end(const Association *a)
{
	if (a->stream || a->device != nullptr)
		return a->stream;
	// Shut down, and no bytes are left behind the empty packet, if it was one.
	struct pollfd p = {association::file_of(a), POLLRDHUP, 0};
	constexpr timespec none{0, 0};
	int left = 0;
	return syscall(SYS_ppoll, &p, 1, &none, nullptr, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP)) != 0 && ioctl(p.fd, FIONREAD, &left) == 0 &&
	       left == 0;
}

void discard(const Arrival &x)
{
	if (x.head && x.n != 0)
		close_descriptors(head_of(x));
	x.region->slots.discard(x.piece, x.size);
}

void wait_for_room(const Association *a, const Want &w)
{
	each_region(a, w, [](Region *r) { r->slots.wait_for_room(); });
}

void wake(Association *a)
{
	a->arrivals.fetch_add(1, std::memory_order_seq_cst);
	if (a->sleepers.load(std::memory_order_seq_cst) != 0)
		futex_wake(a->arrivals, INT_MAX);
}

namespace {

ssize_t give(const Association *a, const Arrival &x, size_t n, void **address)
{
	x.region->slots.give(x.piece, x.size, n, x.head);
	*address = x.piece;
	if (a->device != nullptr)
		ether::device::add(a->device->bytes_in, n);
	else
		x.region->received.fetch_add(n, std::memory_order_relaxed);
	return static_cast<ssize_t>(n);
}

// What is empty, or has a head or is to have one, or lies in another region than is wanted.
ssize_t hand_out_otherwise(const Association *a, Arrival x, const Want &w, void **address)
{
	*address = nullptr;
	if (x.n == 0 && !(w.message && !a->stream)) {
		if (x.head) {
			copy_address(head_of(x), w);
			close_descriptors(head_of(x));
		}
		x.region->slots.discard(x.piece, x.size);
		return 0;
	}
	bool elsewhere = w.region != nullptr && x.region != w.region;
	if ((elsewhere || (w.message && !x.head)) && !move(a, w, &x))
		return -ENOBUFS;
	size_t n = x.n < w.size ? x.n : w.size;
	if (w.message) {
		head_of(x)->vector.iov_len = n;
		if (n < x.n)
			head_of(x)->header.msg_flags |= MSG_TRUNC;
	} else if (x.head) {
		close_descriptors(head_of(x));
		copy_address(head_of(x), w);
		x.region->slots.drop_front(x.piece, data_of(x), x.size - sizeof(MessageHead));
		x = {x.region, data_of(x), x.size - sizeof(MessageHead), n, false};
	}
	return give(a, x, n, address);
}

} // namespace

ssize_t hand_out(const Association *a, const Arrival &x, const Want &w, void **address)
{
	bool as_it_is = x.n != 0 && (w.region == nullptr || x.region == w.region) && !w.message && !x.head;
	if (!as_it_is)
		return hand_out_otherwise(a, x, w, address);
	return give(a, x, x.n < w.size ? x.n : w.size, address);
}

} // namespace sigevec::dma::receive
