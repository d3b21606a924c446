// SPDX-License-Identifier: MIT
//
// Operations and their order.
#include "ring_channel/ring_channel.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"
#include "base/socket_option.hpp"
#include "request/stats_detail.hpp"
#include "request/vector.hpp"
#include "uring.h"

#include <cerrno>
#include <cstdlib>
#include <sys/stat.h>

namespace sigevec::ring_channel {

bool grow(RingState *s)
{
	auto *k = static_cast<Chunk *>(calloc(1, sizeof(Chunk)));
	if (k == nullptr)
		return false;
	k->next = s->chunks;
	s->chunks = k;
	for (RingOperation &o : k->v) {
		o.next = s->free;
		s->free = &o;
	}
	return true;
}

namespace {

bool grow_fd_states(RingState *s, int fd)
{
	uint32_t n = s->fd_count != 0 ? s->fd_count : 64;
	while (n <= static_cast<uint32_t>(fd))
		n *= 2;
	auto *v = static_cast<FdState *>(realloc(s->fd_states, n * sizeof(FdState)));
	if (v == nullptr)
		return false;
	s->fd_states = v;
	while (s->fd_count < n)
		v[s->fd_count++] = {};
	return true;
}

// What the number was goes on, in nobody's way any more: a chain without a queue.
void detach(FdQueue &l)
{
	for (RingOperation *o = l.first(); o != nullptr; o = o->next)
		o->detached = true;
	l = {};
}

// The number was another file when it was last looked at: is o, in the ring, on that one, or on
// this? The ring knows: it can cancel by file (Linux 6.6; before, the answer is no). What is
// cancelled here is started again in its order (ring_submit.cpp).
bool is_on_file(RingState *s, const RingOperation *o, int fd)
{
	if (o->state != RingOperation::State::in_ring)
		return false;
	if (!has_number(s))
		return false;
	struct io_uring_sync_cancel_reg r = {};
	r.addr = reinterpret_cast<uint64_t>(o);
	r.fd = fd;
	r.flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_USERDATA;
	r.timeout.tv_sec = r.timeout.tv_nsec = -1;
	return io_uring_register_sync_cancel(&s->ring, &r) == 0;
}

// Whether the number still is the file that the queue's operations are on.
bool same_file(RingState *s, FdState *n, const FdQueue &l, int fd)
{
	uint64_t dev = 0, ino = 0;
	if (!look_at(fd, &dev, &ino))
		return false;
	bool same = (n->dev == dev && n->ino == ino) || is_on_file(s, l.first(), fd);
	n->dev = dev;
	n->ino = ino;
	return same;
}

} // namespace

bool look_at(int fd, uint64_t *dev, uint64_t *ino)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return false;
	*dev = st.st_dev;
	*ino = st.st_ino;
	return true;
}

namespace {

bool is_stream_socket(int fd)
{
	return socket_option(fd, SO_TYPE) == SOCK_STREAM;
}

} // namespace

RingOperation *make_operation(RingState *s, const Call &call)
{
	Message *m = nullptr;
	Vector *v = nullptr;
	if ((call.message != nullptr && (m = requests::copy_message(call)) == nullptr) ||
	    (call.vector != nullptr && (v = requests::copy_vector(call)) == nullptr) ||
	    (s->free == nullptr && !grow(s))) {
		free(m);
		free(v);
		return nullptr;
	}
	RingOperation *o = s->free;
	s->free = o->next;
	*o = {};
	static_cast<Operation &>(*o) = call;
	o->data = call.event.value.sival_ptr;
	o->message = m;
	o->vector = v;
	if (v != nullptr)
		o->len = requests::asked_for(*o, v);
	o->fd = call.fd;
	o->multishot = call.multishot;
	o->pinned = -1;
	o->stream = call.op == Op::recv && (call.call_flags & MSG_WAITALL) != 0 &&
		    is_stream_socket(call.fd);
	o->begun = stats_detail::begin(stats_detail::in_ring);
	o->state = RingOperation::State::waiting;
	return o;
}

void free_operation(RingState *s, RingOperation *o)
{
	if (o->use != RingOperation::Region::none)
		region_ended(s, o, -ECANCELED);
	let_go(s, o);
	if (o->message != nullptr)
		free(o->message->received);
	free(o->message);
	free(o->vector);
	o->state = RingOperation::State::free;
	o->next = s->free;
	s->free = o;
}

FdState *fd_state(RingState *s, int fd)
{
	return fd >= 0 && static_cast<uint32_t>(fd) < s->fd_count ? &s->fd_states[fd] : nullptr;
}

bool has_place(RingState *s, int fd)
{
	return static_cast<uint32_t>(fd) < s->fd_count || grow_fd_states(s, fd);
}

bool enter_queue(Channel *c, RingOperation *o, int *error)
{
	RingState *s = c->ring_state.load(mo::relaxed);
	*error = 0;
	if (o->fd < 0 || o->fd >= most_numbers || o->op == Op::poll) {
		o->detached = true; // in no order
		if (o->op == Op::poll && !look_at(o->fd, &o->dev, &o->ino))
			o->ino = 0;
		return true;
	}
	if (!has_place(s, o->fd)) {
		*error = EAGAIN;
		return false;
	}
	FdState *n = &s->fd_states[o->fd];
	FdQueue &l = n->queue[is_inward(o->op)];
	if (!l.empty()) {
		// What has been prepared may end at once: then there is nothing to be behind.
		enter(c, false, Deadline{});
		reap(c);
	}
	if (!l.empty() && !same_file(s, n, l, o->fd))
		detach(l);
	if (n->ino == 0)
		look_at(o->fd, &n->dev, &n->ino);
	if (!l.empty() && !hold(s, o, l.last())) {
		*error = cannot_be_held;
		return false;
	}
	return l.push(o);
}

namespace {

// A chain has no head but its first operation.
RingOperation *leave_chain(RingState *s, RingOperation *o)
{
	RingOperation *next = o->next, *before = nullptr;
	o->next = nullptr;
	if (o->state == RingOperation::State::waiting)
		each(s, [&](RingOperation *b) {
			if (b->next == o && b->state != RingOperation::State::ready)
				before = b;
		});
	if (before == nullptr)
		return next;
	before->next = next;
	return nullptr;
}

} // namespace

RingOperation *leave_queue(RingState *s, RingOperation *o)
{
	if (o->op == Op::poll)
		return nullptr;
	if (o->detached)
		return leave_chain(s, o);
	FdState *n = &s->fd_states[o->fd];
	FdQueue &l = n->queue[is_inward(o->op)];
	RingOperation *before = l.before(o);
	l.remove_behind(before, o);
	o->next = nullptr;
	o->detached = true;
	// At the end of a connection the number is likely to be closed, and used for another.
	if (o->result <= 0 && n->queue[0].empty() && n->queue[1].empty())
		n->ino = 0;
	return before == nullptr ? l.first() : nullptr;
}

bool still_there(RingState *s, const RingOperation *o)
{
	if (o->held != nullptr)
		return true;
	uint64_t dev, ino;
	if (o->ino != 0)
		return look_at(o->fd, &dev, &ino) && o->dev == dev && o->ino == ino;
	const FdState *n = fd_state(s, o->fd);
	return !o->detached && n != nullptr && n->ino != 0 && look_at(o->fd, &dev, &ino) &&
	       n->dev == dev && n->ino == ino;
}

} // namespace sigevec::ring_channel

#endif
