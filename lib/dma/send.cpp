// SPDX-License-Identifier: MIT
#include "dma/send.hpp"

#include "base/by_descriptor.hpp"
#include "base/descriptor.hpp"
#include "base/iovec.hpp"
#include "base/memory_order.hpp"
#include "base/pool.hpp"
#include "base/queue.hpp"
#include "base/socket_option.hpp"
#include "base/sync.hpp"
#include "base/syscalls.hpp"
#include "dma/receiver.hpp"
#include "dma/zero_copy.hpp"
#include "runtime/helper.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <netinet/in.h>

namespace sigevec::dma::send {

namespace {

constexpr uint32_t most_senders = 1u << 20;

struct Sender : Pooled {
	Mutex lock;
	std::atomic<uint64_t> cookie; // of the socket; 0: free
	uint32_t life;
	int fd;        // its number
	int held;      // while something is outstanding: in the helper's table; or -1
	int held_here; // or in the program's, if nothing can be fetched from there
	bool usable;
	bool detached;         // its number is another socket's
	bool busy;             // somebody is in the kernel with a send
	uint32_t next;         // what the kernel will call the next send
	Queue<ZeroCopy> sends; // outstanding, in the kernel's order
};

constinit Pool<Sender, 6, most_senders / 64> pool;
constinit ByDescriptor<Sender> table;
Mutex making;

// Another program on this machine by the loopback device, or by an address of its own: the kernel
// always copies.
bool peer_is_here(int fd)
{
	struct sockaddr_in6 own = {}, peer = {};
	socklen_t n = sizeof own, m = sizeof peer;
	auto *a = reinterpret_cast<struct sockaddr *>(&own),
	     *b = reinterpret_cast<struct sockaddr *>(&peer);
	if (getsockname(fd, a, &n) != 0 || getpeername(fd, b, &m) != 0)
		return true;
	if (a->sa_family == AF_INET6)
		return memcmp(&own.sin6_addr, &peer.sin6_addr, sizeof own.sin6_addr) == 0;
	in_addr_t from = reinterpret_cast<struct sockaddr_in *>(a)->sin_addr.s_addr,
		  to = reinterpret_cast<struct sockaddr_in *>(b)->sin_addr.s_addr;
	return from == to || ntohl(to) >> 24 == IN_LOOPBACKNET;
}

// TCP to another machine, whose error queue nobody else reads.
bool suits(int fd)
{
	int domain, type, on;
	if (!get_option(fd, SOL_SOCKET, SO_DOMAIN, &domain) ||
	    !get_option(fd, SOL_SOCKET, SO_TYPE, &type) || type != SOCK_STREAM ||
	    (domain != AF_INET && domain != AF_INET6) || peer_is_here(fd))
		return false;
	if (!get_option(fd, SOL_SOCKET, SO_ZEROCOPY, &on) || on != 0 ||
	    !get_option(fd, SOL_SOCKET, SO_TIMESTAMPING, &on) || on != 0)
		return false;
	on = 1;
	return setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) == 0;
}

// With its lock held. The last of a detached one.
void free_if_done(Sender *s)
{
	if (!s->sends.empty() || s->busy)
		return;
	helper::close_inside(s->held);
	if (s->held_here >= 0 && socket_cookie(s->held_here) == s->cookie)
		sys::close(s->held_here);
	s->held = s->held_here = -1;
	if (s->detached) {
		s->cookie = 0;
		s->life++;
		pool.give_back(s);
	}
}

// The socket's Sender, made if there is none; nullptr: no memory. By the time it is locked it may
// be another socket's.
Sender *sender_of(int fd, uint64_t cookie)
{
	auto *place = table.find(fd);
	Sender *s = place != nullptr ? place->load(mo::acquire) : nullptr;
	if (s != nullptr && s->cookie == cookie)
		return s;
	Guard<Mutex> g(making);
	place = table.make(fd);
	if (place == nullptr)
		return nullptr;
	s = place->load(mo::relaxed);
	if (s != nullptr && s->cookie != cookie) {
		Guard<Mutex> h(s->lock);
		place->store(nullptr, mo::release);
		s->detached = true;
		free_if_done(s);
		s = nullptr;
	}
	if (s != nullptr || (s = pool.take(most_senders)) == nullptr)
		return s;
	Guard<Mutex> h(s->lock);
	s->fd = fd;
	s->held = s->held_here = -1;
	s->detached = s->busy = false;
	s->next = 0;
	s->sends = {};
	s->usable = suits(fd);
	s->cookie = cookie;
	place->store(s, mo::release);
	return s;
}

// ---- the pieces of a send

// nullptr: they cannot be held.
ZeroCopy *hold(Region *r, const struct msghdr &m)
{
	auto *z = static_cast<ZeroCopy *>(calloc(1, sizeof(ZeroCopy)));
	if (z == nullptr)
		return nullptr;
	z->use.kind = Use::Kind::send;
	z->use.region = static_cast<uint16_t>(region::index_of(r));
	region::add_request(r);
	for (size_t i = 0; i < m.msg_iovlen; i++) {
		uint32_t first = r->pieces.hold(m.msg_iov[i].iov_base, m.msg_iov[i].iov_len);
		if (first == no_unit) {
			zero_copy::forget(z);
			return nullptr;
		}
		z->use.unit[z->use.pieces++] = first;
	}
	return z;
}

// ---- sending

bool hold_socket(Sender *s, int fd)
{
	if (s->held >= 0 || s->held_here >= 0)
		return true;
	if (receiver::can_hold_inside()) {
		int held = helper::hold(fd);
		s->held = held >= 0 ? held : -1;
	} else
		s->held_here = sys::duplicate(fd, 3);
	if ((s->held >= 0 || s->held_here >= 0) && socket_cookie(fd) == s->cookie &&
	    receiver::watch_sends(fd, s->index, s->life))
		return true;
	free_if_done(s);
	return false;
}

// Holds the pieces of the send that begins. nullptr: an ordinary one is to be made.
ZeroCopy *enter(Sender *s, uint64_t cookie, int fd, Region *r, const struct msghdr &m)
{
	Guard<Mutex> g(s->lock);
	if (s->cookie != cookie || !s->usable || s->busy || s->detached || !hold_socket(s, fd))
		return nullptr;
	ZeroCopy *z = hold(r, m);
	if (z == nullptr) {
		free_if_done(s);
		return nullptr;
	}
	z->number = s->next;
	s->sends.push(z);
	s->busy = true;
	return z;
}

// With the lock held: z, the last one, was not sent, or the kernel has no record of it.
void take_back(Sender *s, ZeroCopy *z)
{
	s->sends.remove_behind(s->sends.before(z), z);
	zero_copy::forget(z);
}

// The kernel's word about sends from `low' to `high'.
void let_go(Sender *s, uint32_t low, uint32_t high, bool copied)
{
	s->sends.remove_if([=](ZeroCopy *z) {
		bool named = z->number - low <= high - low;
		if (named)
			zero_copy::released(z, copied);
		return named;
	});
}

// With the lock held: reads the error queue. file: a number of the socket.
void drain(Sender *s, int file)
{
	for (;;) {
		alignas(struct cmsghdr) char control[256];
		struct msghdr m = {};
		m.msg_control = control;
		m.msg_controllen = sizeof control;
		if (sys::recvmsg(file, &m, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			return;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != nullptr; c = CMSG_NXTHDR(&m, c)) {
			struct sock_extended_err e;
			if (c->cmsg_len < CMSG_LEN(sizeof e))
				continue;
			memcpy(&e, CMSG_DATA(c), sizeof e);
			if (e.ee_origin == SO_EE_ORIGIN_ZEROCOPY)
				let_go(s, e.ee_info, e.ee_data,
				       (e.ee_code & SO_EE_CODE_ZEROCOPY_COPIED) != 0);
		}
	}
}

// -EOPNOTSUPP: an ordinary send is to be made.
ssize_t without_copy(int fd, Region *r, const struct msghdr &m, int flags)
{
	uint64_t cookie = socket_cookie(fd);
	Sender *s = cookie != 0 ? sender_of(fd, cookie) : nullptr;
	ZeroCopy *z = s != nullptr ? enter(s, cookie, fd, r, m) : nullptr;
	if (z == nullptr)
		return -EOPNOTSUPP;
	ssize_t n = sys::sendmsg(fd, &m, flags | MSG_NOSIGNAL | MSG_ZEROCOPY);
	int error = errno;
	Guard<Mutex> g(s->lock);
	s->busy = false;
	if (n > 0)
		s->next++; // z may be gone already
	else
		take_back(s, z);
	if (socket_cookie(fd) == s->cookie)
		drain(s, fd);
	free_if_done(s);
	// ENOBUFS: more under way than the system lets a socket have.
	return n > 0 ? n : error == ENOBUFS ? -EOPNOTSUPP : -error;
}

} // namespace

ssize_t call(int fd, Region *r, const struct msghdr &m, int flags)
{
	ssize_t n = -EOPNOTSUPP;
	if (m.msg_iovlen <= Use::most_pieces &&
	    length_of(m.msg_iov, m.msg_iovlen) >= ssize_t{zero_copy::least} &&
	    m.msg_controllen == 0 && m.msg_namelen == 0 &&
	    (flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE)) == 0 && zero_copy::is_time(r))
		n = without_copy(fd, r, m, flags);
	if (n == -EOPNOTSUPP) {
		n = sys::sendmsg(fd, &m, flags | MSG_NOSIGNAL);
		if (n < 0)
			return -errno;
		if (r != nullptr)
			r->copied.fetch_add(1, mo::relaxed);
	}
	if (n > 0)
		r->sent.fetch_add(static_cast<uint64_t>(n), mo::relaxed);
	return n;
}

namespace {

// By the receiver, with the lock held: calls f with a number of the socket, if there is one.
template <class F> void with_number(const Sender *s, F f)
{
	int number = !s->detached && socket_cookie(s->fd) == s->cookie ? s->fd : s->held_here;
	int fetched = number < 0 && s->held >= 0 ? receiver::fetch(s->held) : -1;
	if (fetched >= 0)
		number = fetched;
	if (number >= 0 && socket_cookie(number) == s->cookie)
		f(number);
	if (fetched >= 0)
		sys::close(fetched);
}

} // namespace

void arrived(uint32_t index, uint32_t life)
{
	if (index >= pool.size())
		return;
	Sender *s = pool.at(index);
	Guard<Mutex> g(s->lock);
	if (s->cookie == 0 || s->life != life)
		return;
	with_number(s, [s](int number) { drain(s, number); });
	free_if_done(s);
}

namespace {

// f with each socket, locked, whose sends the kernel has not let go of. Whether there are any.
template <class F> bool each_outstanding(F f)
{
	bool any = false;
	for (uint32_t i = 0; i < pool.size(); i++) {
		Sender *s = pool.at(i);
		Guard<Mutex> g(s->lock);
		if (s->cookie == 0 || s->sends.empty())
			continue;
		any = true;
		f(s);
	}
	return any;
}

} // namespace

void watch_again()
{
	each_outstanding([](Sender *s) {
		with_number(s,
			    [s](int number) { receiver::watch_sends(number, s->index, s->life); });
	});
}

bool look_again()
{
	return each_outstanding([](Sender *s) {
		with_number(s, [s](int number) { drain(s, number); });
		free_if_done(s);
	});
}

void after_fork()
{
	making.reset();
	for (uint32_t i = 0; i < pool.size(); i++) {
		Sender *s = pool.at(i);
		s->lock.reset();
		if (s->held_here >= 0 && socket_cookie(s->held_here) == s->cookie)
			sys::close(s->held_here);
		s->held = s->held_here = -1;
		s->cookie = 0;
		// What is held is the parent's to give back.
		while (ZeroCopy *z = s->sends.pop())
			free(z);
	}
	table.each([](std::atomic<Sender *> &place) { place.store(nullptr, mo::relaxed); });
}

} // namespace sigevec::dma::send
