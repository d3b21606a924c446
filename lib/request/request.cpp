// SPDX-License-Identifier: MIT
#include "request/request.hpp"

#include "request/pool.hpp"
#include "runtime/config.hpp"

#include <cstring>
#include <fcntl.h>

namespace sigevec {

bool Request::nonblocking() const
{
	return (flags & O_NONBLOCK) != 0;
}

namespace requests {

namespace {

Pool<Request, 8, config::most_requests / 256> pool;

// Vectors of requests that ended where free() may not be called (a signal handler in aio_suspend).
std::atomic<Vector *> discarded{nullptr};

// Cancelled requests that their executors still hold.
std::atomic<uint32_t> lingering{0};

void free_discarded()
{
	if (discarded.load(std::memory_order_relaxed) == nullptr)
		return;
	Vector *v = discarded.exchange(nullptr, std::memory_order_acquire);
	while (v != nullptr) {
		Vector *next = v->next;
		free(v);
		v = next;
	}
}

void discard(Vector *v)
{
	Vector *head = discarded.load(std::memory_order_relaxed);
	do
		v->next = head;
	while (!discarded.compare_exchange_weak(head, v, std::memory_order_release));
}

Vector *copy_vector(const Call &c)
{
	auto n = static_cast<size_t>(c.vector_count);
	auto *v = static_cast<Vector *>(malloc(sizeof(Vector) + n * sizeof(struct iovec)));
	if (v == nullptr)
		return nullptr;
	v->count = c.vector_count;
	memcpy(v->v, c.vector, n * sizeof(struct iovec));
	return v;
}

Request closed;

// Cancelled requests are let go by their executors, which have been told. A submission that finds no room gives them a
// moment: a request that has ended takes no room as far as the caller can see.
bool wait_for_room()
{
	for (int i = 0; i < 1000 && lingering.load(std::memory_order_acquire) != 0; i++) {
		sched_yield();
		if (pool.has_free())
			return true;
	}
	return false;
}

} // namespace

Request *closed_dependent()
{
	return &closed;
}

bool full()
{
	return pool.size() >= config::limits.requests.load(std::memory_order_relaxed) && !pool.has_free() && !wait_for_room();
}

Request *create(const Call &c, const Descriptor &d)
{
	free_discarded();
	Vector *vector = nullptr;
	if (c.vector != nullptr && (vector = copy_vector(c)) == nullptr)
		return nullptr;
	Request *r = pool.take(config::limits.requests.load(std::memory_order_relaxed));
	if (r == nullptr) {
		free(vector);
		return nullptr;
	}
	r->cb.store(c.cb, std::memory_order_relaxed);
	r->fd.store(c.fd, std::memory_order_relaxed);
	r->dev.store(d.dev, std::memory_order_relaxed);
	r->ino.store(d.ino, std::memory_order_relaxed);
	r->op = c.op;
	r->kind = d.kind;
	r->front = false;
	r->flags = d.flags;
	r->buf = c.buf;
	r->len = c.len;
	r->done = 0;
	r->vector = vector;
	r->offset = c.offset;
	r->size = d.size;
	r->file = -1;
	r->next.store(nullptr, std::memory_order_relaxed);
	r->cancel_reply = nullptr;
	r->dependent.store(nullptr, std::memory_order_relaxed);
	r->waits_for.store(1, std::memory_order_relaxed);
	r->context.store(-1, std::memory_order_relaxed);
	r->in_call.store(0, std::memory_order_relaxed);
	r->background.store(0, std::memory_order_relaxed);
	r->notification.event = c.event;
	r->notification.batch = c.batch;
	r->notification.request = r;
	r->references.store(2, std::memory_order_relaxed);
	uint64_t generation = (r->state.load(std::memory_order_relaxed) >> 8) + 1;
	r->state.store(generation << 8 | static_cast<uint8_t>(State::queued), std::memory_order_release);
	return r;
}

void release(Request *r)
{
	if (r->references.fetch_sub(1, std::memory_order_acq_rel) != 1)
		return;
	if (r->get_state() == State::cancelled)
		lingering.fetch_sub(1, std::memory_order_release);
	r->set(State::free);
	if (r->vector != nullptr)
		discard(r->vector);
	pool.give_back(r);
}

void linger()
{
	lingering.fetch_add(1, std::memory_order_relaxed);
}

bool abandon(Request *r)
{
	bool mine = r->change(State::queued, State::done);
	if (mine)
		release(r);
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
	discarded.store(nullptr, std::memory_order_relaxed);
	lingering.store(0, std::memory_order_relaxed);
}

} // namespace requests
} // namespace sigevec
