// SPDX-License-Identifier: MIT
#include "request/request.hpp"

#include "base/inbox.hpp"
#include "base/iovec.hpp"
#include "base/memory_order.hpp"
#include "base/pool.hpp"
#include "channel/channel.hpp"
#include "request/index.hpp"
#include "request/order.hpp"
#include "request/pace.hpp"
#include "request/stats_detail.hpp"
#include "request/stream.hpp"
#include "request/vector.hpp"
#include "runtime/config.hpp"

#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>

namespace sigevec {

bool Request::nonblocking() const
{
	if (is_socket_call(op) || op == Op::poll)
		return (op == Op::send || op == Op::recv) && (call_flags & MSG_DONTWAIT) != 0;
	return (flags & O_NONBLOCK) != 0;
}

uint32_t Request::stream_word() const
{
	if (op == Op::poll)
		return stream::no_word;
	return stream::word_of({dev.load(mo::relaxed), ino.load(mo::relaxed), is_read()});
}

namespace requests {

namespace {

constinit Pool<Request, 8, config::most_requests / 256, true> pool;

// Blocks of requests that ended where free() may not be called (a signal handler in aio_suspend).
constinit Inbox<Block> discarded;

// Cancelled requests that their executors still hold.
std::atomic<uint32_t> lingering{0};

void free_discarded()
{
	for (Block *b = discarded.take_all(), *next; b != nullptr; b = next) {
		next = b->next;
		free(b);
	}
}

// Only its address is used.
constinit struct alignas(Request) {
	char nothing[sizeof(Request)];
} closed = {};

// Cancelled requests are let go by their executors, which have been told. A submission that finds
// no room gives them a moment: a request that has ended takes no room as far as the caller can see.
bool wait_for_room()
{
	for (int i = 0; i < 1000 && lingering.load(mo::acquire) != 0; i++) {
		sched_yield();
		if (pool.has_free())
			return true;
	}
	return false;
}

} // namespace

void free_later(Block *b)
{
	discarded.push(b);
}

Vector *copy_vector(const Call &c)
{
	auto n = static_cast<size_t>(c.vector_count);
	auto *v = static_cast<Vector *>(malloc(sizeof(Vector) + n * sizeof(struct iovec)));
	if (v == nullptr)
		return nullptr;
	v->count = c.vector_count;
	memcpy(v->v, c.vector, n * sizeof(struct iovec));
	// It may have been written to since it was measured.
	if (length_of(v->v, n) < 0) {
		free(v);
		return nullptr;
	}
	return v;
}

size_t asked_for(const Operation &o, const Vector *v)
{
	auto length = static_cast<size_t>(length_of(v->v, static_cast<size_t>(v->count)));
	size_t rest = o.len - o.done;
	return length > o.len ? length : length < rest ? o.done + length : o.len;
}

Message *copy_message(const Call &c)
{
	auto *m = static_cast<Message *>(malloc(sizeof(Message)));
	if (m == nullptr)
		return nullptr;
	m->received = nullptr;
	m->header = *c.message;
	m->result = c.result;
	if (!is_inward(c.op) && m->header.msg_name != nullptr) {
		memcpy(&m->address, m->header.msg_name, m->header.msg_namelen);
		m->header.msg_name = &m->address;
	}
	return m;
}

Request *closed_dependent()
{
	return reinterpret_cast<Request *>(&closed);
}

bool full()
{
	return pool.size() >= config::limits.requests.load(mo::relaxed) && !pool.has_free() &&
	       !wait_for_room();
}

void set_file(Request *r, const Descriptor &d)
{
	r->kind = d.kind;
	r->flags.store(d.flags, mo::relaxed);
	r->dev.store(d.dev, mo::relaxed);
	r->ino.store(d.ino, mo::relaxed);
	r->plain_calls_only = d.plain_calls_only;
	r->exact_inode = d.exact_inode;
	r->told_by_inode = d.exact_inode || d.type == S_IFBLK || d.kind == Kind::pool;
	r->size = d.size;
	r->mount = d.mount;
	r->birth = d.birth;
	r->generation = 0;
}

namespace {

// What the caller has asked for.
void set_call(Request *r, const Call &c, const Descriptor &d)
{
	r->cb.store(c.cb, mo::relaxed);
	r->fd.store(c.fd, mo::relaxed);
	r->channel.store(c.event.channel, mo::relaxed);
	r->data.store(c.event.value.sival_ptr, mo::relaxed);
	static_cast<Operation &>(*r) = c;
	set_file(r, d);
	r->multishot = c.multishot;
	r->beside = c.beside;
	r->shown_fd = c.shown_fd;
	r->dma = c.dma;
	r->notification.event = c.event;
	r->notification.batch = c.batch;
	r->notification.ops = &event_ops;
	r->notification.owner = r;
}

// What the library has to say of it so far.
void clear(Request *r)
{
	r->of_data.place = nullptr;
	r->indexed = Indexed::no;
	r->front = false;
	r->by_number = false;
	r->paced = 0;
	r->in_program = nullptr;
	r->carrier = nullptr;
	r->file = -1;
	r->held = nullptr;
	r->stream = nullptr;
	r->next.store(nullptr, mo::relaxed);
	r->cancel_reply = nullptr;
	r->polled = false;
	r->waited = false;
	r->deadline = 0;
	r->by_worker = false;
	r->worker.store(0, mo::relaxed);
	r->stop.store(false, mo::relaxed);
	r->briefly = r->may_wait = false;
	r->connection = nullptr;
	r->unwanted.store(0, mo::relaxed);
	r->driver_notified.store(false, mo::relaxed);
	r->dependent.store(nullptr, mo::relaxed);
	r->waits_for.store(1, mo::relaxed);
	r->waits_at_driver = false;
	r->together = nullptr;
	r->context.store(-1, mo::relaxed);
	r->association.store(0, mo::relaxed);
	r->in_call.store(0, mo::relaxed);
	r->listener.store(Request::Listener::none, mo::relaxed);
	r->references.store(2, mo::relaxed);
}

} // namespace

Request *create(const Call &c, const Descriptor &d)
{
	free_discarded();
	Vector *vector = c.vector != nullptr ? copy_vector(c) : nullptr;
	Message *message = c.message != nullptr ? copy_message(c) : nullptr;
	bool complete = (vector != nullptr || c.vector == nullptr) &&
			(message != nullptr || c.message == nullptr);
	Request *r = complete ? pool.take(config::limits.requests.load(mo::relaxed)) : nullptr;
	if (r == nullptr) {
		free(vector);
		free(message);
		return nullptr;
	}
	set_call(r, c, d);
	clear(r);
	r->vector = vector;
	if (vector != nullptr)
		r->len = asked_for(*r, vector);
	r->message = message;
	stats_detail::created(r, c.begun);
	if (r->is_sync())
		order::sync_begins();
	uint64_t generation = (r->state.load(mo::relaxed) >> 8) + 1;
	// What has nothing to carry out cannot be cancelled, nor can what has begun.
	State first = c.op == Op::event ? State::done
		      : c.done != 0     ? State::running
					: State::queued;
	r->state.store(generation << 8 | static_cast<uint8_t>(first), mo::release);
	return r;
}

Request *create_connection(const Request *multishot)
{
	Call c{};
	c.op = Op::event;
	c.fd = multishot->fd.load(mo::relaxed);
	c.call_flags = multishot->call_flags;
	c.multishot = true;
	c.event = multishot->notification.event;
	if (!channel::admit_another(c.event.channel))
		return nullptr;
	Request *r = create(c, Descriptor{});
	if (r == nullptr) {
		channel::return_credit(c.event.channel);
		return nullptr;
	}
	// Of the driver's: a channel's ring has its own in the program's table.
	r->in_program = multishot->in_program;
	if (r->in_program != nullptr)
		r->in_program->join(r->in_program);
	stats_detail::handed_over(r);
	return r;
}

void discard_connection(Request *r)
{
	if (r == nullptr)
		return;
	stats_detail::abandoned(r);
	channel::return_credit(r->notification.event.channel);
	release(r);
	release(r);
}

bool keep(Request *r, uint64_t generation)
{
	uint8_t n = r->references.load(mo::relaxed);
	do {
		if (n == 0)
			return false;
	} while (!r->references.compare_exchange_weak(n, static_cast<uint8_t>(n + 1), mo::acq_rel,
						      mo::relaxed));
	if (r->state.load(mo::acquire) >> 8 == generation)
		return true;
	release(r);
	return false;
}

void release(Request *r)
{
	if (r->references.fetch_sub(1, mo::acq_rel) != 1)
		return;
	if (r->get_state() == State::cancelled) {
		lingering.fetch_sub(1, mo::release);
		if (r->is_sync())
			order::ended(r);
	}
	if (r->is_sync())
		order::sync_is_freed();
	if (r->carrier != nullptr)
		r->carrier->let_go(r);
	if (r->in_program != nullptr)
		r->in_program->let_go(r->in_program);
	pace::left(r);
	r->set(State::free);
	if (r->vector != nullptr)
		free_later(r->vector);
	if (r->message != nullptr && r->message->received != nullptr)
		free_later(r->message->received);
	if (r->message != nullptr)
		free_later(r->message);
	pool.give_back(r);
}

void linger()
{
	lingering.fetch_add(1, mo::relaxed);
}

bool abandon(Request *r)
{
	index::remove(r);
	bool mine = r->change(State::queued, State::done) || r->change(State::running, State::done);
	if (mine) {
		stats_detail::abandoned(r);
		release(r);
	}
	release(r);
	return mine;
}

uint32_t size()
{
	return pool.size();
}

Request *at(uint32_t index)
{
	return pool.at(index);
}

void after_fork()
{
	for (uint32_t i = 0; i < pool.size(); i++)
		pool.at(i)->set(State::free);
	pool.after_fork();
	discarded.forget();
	lingering.store(0, mo::relaxed);
}

} // namespace requests
} // namespace sigevec
