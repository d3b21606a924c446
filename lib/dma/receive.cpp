// SPDX-License-Identifier: MIT
//
// Data is received straight into pieces, by the thread that asks for it. What a call finds beyond what it was asked for it may
// bring along, as pieces of the same size, so that the next calls need no system call: of streams other than UNIX ones (whose control
// data belongs to a place in the stream), and of datagrams where DMA_BUFSIZE has said how long they are. For a program that has found
// data at each of its last calls the receiver does it meanwhile, until a call has to wait. Nothing is brought along while
// another thread waits in the kernel: it would wait for what lies here.
#include "dma/receive.hpp"

#include "dma/message.hpp"
#include "dma/receiver.hpp"
#include "runtime/syscalls.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <utility>

namespace sigevec::dma::receive {

namespace {

constexpr uint8_t most_ahead = 32;
constexpr size_t most_bytes_ahead = 64 * 1024;
constexpr uint8_t long_streak = 32;
constexpr uint32_t most_in_advance = 256;
constexpr size_t message_of_stream = 64 * 1024;
constexpr int beside = MSG_OOB | MSG_ERRQUEUE;

MessageHead *head_of(const Arrival &x)
{
	return reinterpret_cast<MessageHead *>(x.piece);
}

char *data_of(const Arrival &x)
{
	return x.piece + (x.head ? sizeof(MessageHead) : 0);
}

template <class F> void each_region(const Association *a, const Want &w, F f)
{
	if (w.region != nullptr) {
		f(w.region);
		return;
	}
	for (uint16_t i = 0; i < a->region_count; i++)
		f(region::at(a->regions[i]));
}

// A piece with room for size bytes, in the first region that has one. piece is nullptr: there is none.
Arrival room(const Association *a, const Want &w, size_t size, bool head)
{
	size_t all = size + (head ? sizeof(MessageHead) : 0);
	Arrival x{};
	each_region(a, w, [&](Region *r) {
		if (x.piece == nullptr && (x.piece = r->slots.reserve(all)) != nullptr)
			x = {r, x.piece, all, 0, head};
	});
	return x;
}

// The same; of a stream what there is room for will do, unless all is asked for.
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

// How long the next datagram is, by a look at it. -EAGAIN: there is none.
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

// One call into x, which has room. Bytes or -errno.
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

void note_full(const Association *a, const Want &w)
{
	each_region(a, w, [](Region *r) { r->full.fetch_add(1, std::memory_order_relaxed); });
}

// Without room: the end of a stream and errors need none. A datagram may need less than was asked for.
ssize_t without_room(const Association *a, const Want &w, Arrival *x)
{
	ssize_t n = length_of_next(a->fd, MSG_DONTWAIT);
	if (n == 0 && a->stream)
		return 0;
	if (n < 0 && n != -EAGAIN)
		return n;
	if (n >= 0 && !a->stream && static_cast<size_t>(n) <= w.size) {
		*x = room(a, w, n == 0 ? 1 : static_cast<size_t>(n), w.message);
		if (x->piece != nullptr)
			return into(a->fd, x, w, w.flags | MSG_DONTWAIT);
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

// How many pieces may be received with one call.
unsigned pieces(Association *a, const Want &w)
{
	bool known = a->stream ? !a->local : a->buffer != 0;
	if (!known || w.message || w.from != nullptr || a->blocked != 0 || (w.flags & ~MSG_DONTWAIT) != 0)
		return 1;
	if (w.region != nullptr)
		return 1;
	if (a->asked != w.size) {
		a->asked = w.size;
		a->ahead = 1;
	}
	size_t most = most_bytes_ahead / w.size;
	return most < 2 ? 1 : a->ahead < most ? a->ahead : static_cast<unsigned>(most);
}

// After a call that could have filled `of' pieces.
void adapt(Association *a, unsigned filled, unsigned of)
{
	if (filled == of)
		a->ahead = a->ahead < most_ahead ? static_cast<uint8_t>(a->ahead * 2) : most_ahead;
	else if (filled * 2 < of)
		a->ahead = a->ahead > 1 ? static_cast<uint8_t>(a->ahead / 2) : 1;
}

// Puts v[1] and the next ones into the queue, as far as they have data, and *x becomes v[0]; without x that one, too.
ssize_t share_out(Association *a, Arrival *v, unsigned filled, unsigned count, Arrival *x)
{
	for (unsigned i = x != nullptr ? 1 : 0; i < count; i++)
		if (i >= filled || !association::push(a, v[i]))
			v[i].region->slots.discard(v[i].piece, v[i].size);
	adapt(a, filled, count);
	if (x != nullptr)
		*x = v[0];
	return static_cast<ssize_t>(v[0].n);
}

// A stream's data into several pieces. v has `count' of them.
ssize_t stream_ahead(Association *a, Arrival *v, unsigned count, Arrival *x)
{
	struct iovec vector[most_ahead];
	for (unsigned i = 0; i < count; i++)
		vector[i] = {v[i].piece, v[i].size};
	struct msghdr m = {};
	m.msg_iov = vector;
	m.msg_iovlen = count;
	ssize_t n = sys::recvmsg(a->fd, &m, MSG_DONTWAIT);
	int error = errno;
	unsigned filled = 0;
	for (ssize_t left = n; left > 0; filled++) {
		v[filled].n = static_cast<size_t>(left) < v[filled].size ? static_cast<size_t>(left) : v[filled].size;
		left -= static_cast<ssize_t>(v[filled].n);
	}
	ssize_t first = share_out(a, v, filled, count, x);
	return n < 0 ? -error : first;
}

// Datagrams, each with its head: who reads it later may want the address.
ssize_t datagrams_ahead(Association *a, Arrival *v, unsigned count, Arrival *x)
{
	struct mmsghdr m[most_ahead] = {};
	struct iovec vector[most_ahead];
	for (unsigned i = 0; i < count; i++) {
		vector[i] = {data_of(v[i]), v[i].size - sizeof(MessageHead)};
		m[i].msg_hdr.msg_iov = &vector[i];
		m[i].msg_hdr.msg_iovlen = 1;
		m[i].msg_hdr.msg_name = &head_of(v[i])->address;
		m[i].msg_hdr.msg_namelen = sizeof head_of(v[i])->address;
		m[i].msg_hdr.msg_control = head_of(v[i])->control;
		m[i].msg_hdr.msg_controllen = sizeof head_of(v[i])->control;
	}
	long n = syscall(SYS_recvmmsg, a->fd, m, count, MSG_DONTWAIT, nullptr);
	int error = errno;
	auto filled = static_cast<unsigned>(n < 0 ? 0 : n);
	for (unsigned i = 0; i < filled; i++) {
		v[i].n = m[i].msg_len;
		describe(head_of(v[i]), m[i].msg_hdr, v[i].n);
	}
	ssize_t first = share_out(a, v, filled, count, x);
	return n < 0 ? -error : first;
}

ssize_t several(Association *a, const Want &w, unsigned wanted, Arrival *x)
{
	Arrival v[most_ahead];
	size_t size = a->stream || w.size > a->buffer ? w.size : a->buffer;
	unsigned count = 0;
	while (count < wanted && (v[count] = room(a, w, size, !a->stream)).piece != nullptr)
		count++;
	if (count > 1)
		return a->stream ? stream_ahead(a, v, count, x) : datagrams_ahead(a, v, count, x);
	if (count == 1)
		discard(v[0]);
	if (x != nullptr)
		return one(a, w, x);
	ssize_t n = one(a, w, &v[0]);
	bool data = n > 0 || (n == 0 && !a->stream);
	if (v[0].piece != nullptr && (!data || !association::push(a, v[0])))
		discard(v[0]);
	return n;
}

} // namespace

ssize_t one(Association *a, const Want &w, Arrival *x)
{
	*x = some_room(a, w);
	return x->piece != nullptr ? into(a->fd, x, w, w.flags | MSG_DONTWAIT) : without_room(a, w, x);
}

bool wants_in_advance(const Association *a)
{
	bool known = a->stream ? !a->local && a->asked != 0 : a->buffer != 0;
	return known && a->streak >= long_streak && a->blocked == 0 && a->first == nullptr && !a->latest;
}

bool in_advance(Association *a)
{
	// Half of a region is for what the program reserves.
	const Region *r = region::at(a->regions[0]);
	if (r->slots.used() > r->size / 2)
		return false;
	Want w{};
	w.size = a->stream ? a->asked : a->buffer;
	w.message = !a->stream;
	size_t most = a->stream ? most_bytes_ahead / w.size : 1;
	while (a->queue_count < most_in_advance) {
		ssize_t n = several(a, w, most < 1 ? 1 : most < most_ahead ? static_cast<unsigned>(most) : most_ahead, nullptr);
		if (n > 0 || (n == 0 && !a->stream))
			continue;
		if (n < 0 && n != -EAGAIN && n != -ENOBUFS)
			a->error = static_cast<int>(-n);
		return n == -EAGAIN;
	}
	return false;
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

ssize_t hand_out(const Association *a, Arrival x, const Want &w, void **address)
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
	x.region->slots.give(x.piece, x.size, n, x.head);
	*address = x.piece;
	x.region->received.fetch_add(n, std::memory_order_relaxed);
	return static_cast<ssize_t>(n);
}

namespace {

// The first of the queue; of a stream a piece of it may be all that is wanted.
ssize_t take(Association *a, const Want &w, void **address)
{
	Arrival x = a->queue[a->queue_first];
	if (!a->stream || x.n <= w.size) {
		ssize_t n = hand_out(a, x, w, address);
		if (n != -ENOBUFS)
			association::pop(a);
		return n;
	}
	Arrival part = room(a, w, w.size, w.message);
	if (part.piece == nullptr)
		return -ENOBUFS;
	memcpy(data_of(part), x.piece, w.size);
	part.n = w.size;
	if (part.head)
		describe(head_of(part), msghdr{}, part.n);
	Arrival &rest = a->queue[a->queue_first];
	rest.n -= w.size;
	memmove(rest.piece, rest.piece + w.size, rest.n);
	return hand_out(a, part, w, address);
}

// A call has found data: if that goes on the receiver may fetch what comes next.
void found_data(Association *a)
{
	if (a->streak < long_streak)
		a->streak++;
	if (a->queue_count == 0 && !a->watched && wants_in_advance(a))
		receiver::watch(a);
}

// What a thread that is to wait needs, once the lock is released.
struct Blocking {
	uint32_t life;
	Arrival x;       // room for what it waits for
	Region *region;  // instead: wait until something comes back to it
	uint32_t seen;   // its given_back; or `arrivals' of a socket that the receiver serves
	bool served;
};

// Bytes or -errno; -EINPROGRESS: *b says what to wait for.
ssize_t attempt(Association *a, const Want &w, void **address, Blocking *b)
{
	bool stays = (w.flags & (MSG_PEEK | MSG_WAITALL)) != 0;
	if (a->queue_count != 0 && (w.flags & beside) == 0) {
		ssize_t n = stays ? -EOPNOTSUPP : take(a, w, address);
		found_data(a);
		return n;
	}
	if (a->error != 0)
		return -std::exchange(a->error, 0);
	*b = {a->life, {}, nullptr, 0, false};
	if (receiver::serves(a) && (w.flags & beside) == 0) {
		if (stays)
			return -EOPNOTSUPP;
		b->served = true;
		b->seen = a->arrivals.load(std::memory_order_acquire);
		return receiver::watch(a) ? -EINPROGRESS : -EAGAIN;
	}
	Arrival x;
	unsigned count = pieces(a, w);
	ssize_t n;
	if ((w.flags & MSG_WAITALL) != 0 && (w.flags & MSG_DONTWAIT) == 0 && (x = some_room(a, w)).piece != nullptr)
		n = -EAGAIN; // an attempt would take a part
	else
		n = count > 1 ? several(a, w, count, &x) : one(a, w, &x);
	if (n >= 0 && x.piece != nullptr) {
		if (count == 1 && n != 0)
			adapt(a, static_cast<size_t>(n) >= w.size || !a->stream ? 1 : 0, 1);
		n = hand_out(a, x, w, address);
		found_data(a);
		return n;
	}
	if (n == -EAGAIN && (w.flags & MSG_DONTWAIT) == 0) {
		a->ahead = 1;
		a->streak = 0;
		if (a->watched && a->first == nullptr && a->notify == nullptr)
			receiver::unwatch(a);
		b->x = x;
		if (x.piece != nullptr)
			region::add_request(x.region);
		a->blocked++;
		return -EINPROGRESS;
	}
	if (x.piece != nullptr)
		discard(x);
	Region *last = region::at(a->regions[a->region_count - 1]);
	if (n == -ENOBUFS && last->slots.some_return()) {
		if ((w.flags & MSG_DONTWAIT) != 0)
			return -EAGAIN;
		b->region = last;
		b->seen = last->slots.given_back();
		last->slots.wait_for_room();
		return -EINPROGRESS;
	}
	return n;
}

// In the kernel, with room for what comes; the call itself knows about O_NONBLOCK, time limits and signals.
ssize_t block_in_kernel(int fd, const Want &w, Blocking &b, void **address)
{
	ssize_t n = b.x.piece != nullptr ? into(fd, &b.x, w, w.flags) : length_of_next(fd, w.flags);
	association::Locked a(fd);
	bool same = a && a->life == b.life;
	if (same)
		a->blocked--;
	if (b.x.piece == nullptr)
		return n < 0 ? n : -EINPROGRESS;
	region::remove_request(b.x.region);
	if (n >= 0 && same)
		return hand_out(a.get(), b.x, w, address);
	discard(b.x);
	return n >= 0 ? -ECANCELED : n;
}

// Until the receiver has brought something. 0 or -errno.
ssize_t sleep_for_arrival(Association *a, int fd, uint32_t seen)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || (flags & O_NONBLOCK) != 0)
		return flags < 0 ? -errno : -EAGAIN;
	struct timeval limit = {};
	socklen_t n = sizeof limit;
	getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &n);
	struct timespec t = {limit.tv_sec, limit.tv_usec * 1000};
	bool limited = limit.tv_sec != 0 || limit.tv_usec != 0;
	a->sleepers.fetch_add(1, std::memory_order_seq_cst);
	int e = futex_wait(a->arrivals, seen, limited ? &t : nullptr);
	a->sleepers.fetch_sub(1, std::memory_order_relaxed);
	return e == EINTR ? -EINTR : e == ETIMEDOUT ? -EAGAIN : 0;
}

} // namespace

ssize_t call(int fd, const Want &w, void **address)
{
	for (;;) {
		Blocking b;
		Association *found;
		{
			association::Locked a(fd);
			if (!a) {
				int e = association::check_socket(fd);
				return e != 0 ? -e : -EINVAL;
			}
			found = a.get();
			ssize_t n = attempt(found, w, address, &b);
			if (n != -EINPROGRESS)
				return n;
		}
		ssize_t n = 0;
		if (b.region != nullptr)
			b.region->slots.sleep(b.seen);
		else if (b.served)
			n = (w.flags & MSG_DONTWAIT) != 0 ? -EAGAIN : sleep_for_arrival(found, fd, b.seen);
		else if ((n = block_in_kernel(fd, w, b, address)) != -EINPROGRESS)
			return n;
		else
			n = 0;
		if (n != 0)
			return n;
	}
}

} // namespace sigevec::dma::receive
