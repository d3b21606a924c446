// SPDX-License-Identifier: MIT
//
// What the core calls (remote/interface.hpp).
#include "base/iovec.hpp"
#include "base/syscalls.hpp"
#include "fabric/endpoint.hpp"
#include "fabric/thread.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace sigevec::fabric {

namespace {

constexpr size_t small = 1024; // is copied behind its header

bool is_open(const Endpoint *e)
{
	return e->state.load(mo::acquire) == Endpoint::open;
}

int attach(Endpoint *e, uint16_t region, size_t largest)
{
	Guard<Mutex> g(e->lock);
	if (!is_open(e))
		return EBADF;
	e->region = region;
	e->largest = largest != 0 && largest < largest_message ? static_cast<uint32_t>(largest)
							       : largest_message;
	// What is under way, sent by those who knew another size, is taken as it is.
	for (Peer *p = e->peers; p != nullptr; p = p->next)
		if (p->state == Peer::State::ready)
			say(p, Kind::credit, 0);
	return 0;
}

int attach_and_tell(Endpoint *e, uint16_t region, size_t largest)
{
	int error = attach(e, region, largest);
	thread::wake();
	return error;
}

// Ends when nothing of the region is exported.
struct Detach : thread::Command {
	explicit Detach(Endpoint *which) : Command(run_it), e(which) {}
	static int run_it(Command *c)
	{
		Endpoint *e = static_cast<Detach *>(c)->e;
		Guard<Mutex> g(e->lock);
		for (Export *x = e->exports; x != nullptr; x = x->next)
			withdraw(e, x);
		return 0;
	}
	Endpoint *e;
};

void detach(Endpoint *e)
{
	wake_receivers(e);
	Detach d(e);
	thread::run(&d);
	for (;;) {
		uint32_t seen = e->changes.load(mo::acquire);
		{
			Guard<Mutex> g(e->lock);
			if (e->exports == nullptr) {
				e->region = -1;
				return;
			}
		}
		constexpr timespec moment{0, 10000000};
		wait_for_change(e, seen, &moment);
	}
}

void not_readable(Endpoint *e, int fd)
{
	if (!e->readable || !e->slots.arrived.empty())
		return;
	char byte;
	struct iovec v = {&byte, 1};
	struct msghdr m = {};
	m.msg_iov = &v;
	m.msg_iovlen = 1;
	sys::recvmsg(fd, &m, MSG_DONTWAIT);
	e->readable = false;
}

ssize_t first(Endpoint *e, int fd, remote::Message *m)
{
	Guard<Mutex> g(e->lock);
	const Slot *s = e->slots.arrived.first;
	if (s == nullptr) {
		not_readable(e, fd);
		m->seen = e->receivers.came.load(mo::relaxed);
		return -EAGAIN;
	}
	m->data = s->data;
	m->size = s->size;
	// As this side has read it, not as it was said.
	m->from = reinterpret_cast<const struct sockaddr *>(s->peer->name);
	m->from_length = s->peer->name_length;
	return static_cast<ssize_t>(s->size);
}

void consumed(Endpoint *e, int fd)
{
	bool wake;
	{
		Guard<Mutex> g(e->lock);
		Slot *s = e->slots.arrived.pop();
		if (s == nullptr)
			return;
		received(e, s);
		const Peer *p = s->peer;
		wake = p->flow.consumed + window - p->flow.granted >= window / 2;
		not_readable(e, fd);
	}
	if (wake)
		thread::wake();
}

int wait_for_message(Endpoint *e, uint32_t seen, const struct timespec *limit)
{
	auto &r = e->receivers;
	// With a limit the kernel never begins it anew by itself.
	constexpr timespec long_time{3600, 0};
	{
		Guard<Mutex> g(e->lock);
		if (r.came.load(mo::relaxed) != seen || e->figures.waiting > r.woken)
			return 0;
		r.waiting++;
	}
	int error = futex_wait(r.came, seen, limit != nullptr ? limit : &long_time);
	Guard<Mutex> g(e->lock);
	r.waiting--;
	r.woken -= r.woken != 0;
	return error;
}

// nullptr: *error says why.
Op *make_message(const struct iovec *v, size_t n, size_t size, int *error)
{
	bool copy = size <= small || n != 1 || !host->stays(v[0].iov_base, size);
	auto *o = static_cast<Op *>(calloc(1, sizeof(Op) + (copy ? size : 0)));
	if (o == nullptr) {
		*error = ENOMEM;
		return nullptr;
	}
	o->what = Context::What::op;
	o->does = Op::Does::message;
	o->header.kind = Kind::data;
	o->header.size = static_cast<uint32_t>(size);
	o->size = size;
	o->data = copy ? o->copy : static_cast<char *>(v[0].iov_base);
	if (copy) {
		*error = host->join(o->copy, v, n) ? 0 : EFAULT;
	} else {
		*error = host->hold(o->data, size, &o->held);
		o->has_piece = *error == 0;
	}
	if (*error == 0)
		return o;
	free(o);
	return nullptr;
}

// Whether the peer has room for it now; its error, if it has been lost since. For a caller who
// wants to wait otherwise.
ssize_t look_for_room(Peer *p, size_t size)
{
	if (int error = p->error; error != 0) {
		p->error = 0;
		return -error;
	}
	if (p->state == Peer::State::ready && size > p->session.largest)
		return -EMSGSIZE;
	if (has_room(p))
		return 0;
	p->wanted = true;
	if (p->state == Peer::State::unknown)
		greet(p);
	return -EAGAIN;
}

void take_room(Peer *p, Op *o)
{
	o->peer = p;
	o->header.number = ++p->flow.sent;
	o->header.to_life = p->session.life;
}

// To be sent at once, or not at all.
ssize_t send_now(Endpoint *e, Op *o)
{
	Peer *p = find_peer(e, o->to, o->to_length);
	if (p == nullptr)
		return -ENOBUFS;
	if (ssize_t n = look_for_room(p, o->size); n != 0)
		return n;
	take_room(p, o);
	e->submitted.push(o);
	return static_cast<ssize_t>(o->size);
}

// To be sent in its turn, which is after all before it, and before all after it.
ssize_t send_later(Endpoint *e, Op *o)
{
	Peer *p = find_peer(e, o->to, o->to_length);
	if (p == nullptr)
		return -ENOBUFS;
	if (has_room(p) && o->size <= p->session.largest)
		take_room(p, o);
	else {
		o->peer = p;
		o->unnumbered = true;
		p->flow.unnumbered++;
	}
	e->submitted.push(o);
	return 0;
}

ssize_t check_size(const struct iovec *v, size_t n)
{
	auto size = static_cast<size_t>(length_of(v, n));
	return size == 0                ? -EINVAL
	       : size > largest_message ? -EMSGSIZE
					: static_cast<ssize_t>(size);
}

ssize_t send(Endpoint *e, const struct iovec *v, size_t n, const struct sockaddr *to,
	     socklen_t tolen, Request *r, uint32_t *seen)
{
	struct sockaddr_storage name;
	socklen_t length;
	if (to == nullptr)
		return -EDESTADDRREQ;
	int error = read_address(e, to, tolen, &name, &length);
	if (error != 0)
		return -error;
	ssize_t size = check_size(v, n);
	if (size < 0)
		return size;
	Op *o = make_message(v, n, static_cast<size_t>(size), &error);
	if (o == nullptr)
		return -error;
	o->to = name;
	o->to_length = length;
	o->request = r;
	ssize_t result = -EBADF;
	{
		Guard<Mutex> g(e->lock);
		*seen = e->changes.load(mo::acquire);
		if (is_open(e))
			result = r != nullptr ? send_later(e, o) : send_now(e, o);
	}
	if (result < 0)
		free_op(o);
	thread::wake();
	return result;
}

} // namespace

constinit const remote::Backend backend = {
	attach_and_tell,  detach, first,           consumed,
	wait_for_message, send,   wait_for_change, thread::after_fork,
};

} // namespace sigevec::fabric
