// SPDX-License-Identifier: MIT
#include "request/filequeue.hpp"

#include "completion/completion.hpp"
#include "engine/transfer.hpp"
#include "runtime/helper.hpp"
#include "runtime/meter.hpp"
#include "runtime/sync.hpp"
#include "runtime/syscalls.hpp"

#include <cstdlib>
#include <new>

namespace sigevec {

struct FileQueue {
	FileQueue *next;
	uint64_t dev, ino;
	int flags, number;             // the number in the program's table
	Request *begin;                // the one that made the queue: the worker starts with it
	std::atomic<Request *> behind; // the others, the newest first; ended(): the worker has left
};

namespace filequeue {

namespace {

struct alignas(64) Shard {
	Mutex lock;
	FileQueue *queues = nullptr;
};

constexpr unsigned shards = 64;
Shard table[shards];

Shard &shard_of(uint64_t ino)
{
	return table[(ino * 0x9e3779b97f4a7c15ull >> 32) % shards];
}

Request *ended()
{
	return requests::closed_dependent();
}

bool fits(const FileQueue *q, const Request *r)
{
	return q->ino == r->ino.load(std::memory_order_relaxed) && q->dev == r->dev.load(std::memory_order_relaxed) &&
	       q->flags == r->flags &&
	       // What went wrong earlier is told once to each open file: the sync must not ask another one's.
	       (!r->is_sync() || q->number == r->fd.load(std::memory_order_relaxed));
}

// False: the queue has ended.
bool push(FileQueue *q, Request *r)
{
	// Acquire: what the worker did with the queue is over before it is freed.
	Request *newest = q->behind.load(std::memory_order_acquire);
	do {
		if (newest == ended())
			return false;
		r->next.store(newest, std::memory_order_relaxed);
	} while (!q->behind.compare_exchange_weak(newest, r, std::memory_order_acq_rel, std::memory_order_acquire));
	return true;
}

// Puts r into its file's queue, if there is one. Frees those that have ended.
bool join(Shard &s, Request *r)
{
	FileQueue **p = &s.queues;
	while (FileQueue *q = *p) {
		bool over = q->behind.load(std::memory_order_acquire) == ended();
		if (!over && fits(q, r)) {
			if (push(q, r))
				return true;
			over = true;
		}
		if (over) {
			*p = q->next;
			free(q);
		} else
			p = &q->next;
	}
	return false;
}

// The oldest first.
Request *reversed(Request *r)
{
	Request *result = nullptr;
	while (r != nullptr) {
		Request *next = r->next.load(std::memory_order_relaxed);
		r->next.store(result, std::memory_order_relaxed);
		result = r;
		r = next;
	}
	return result;
}

// Takes the next request, by way of `list', what has been taken and not yet served; nullptr: there is none, and q has ended.
Request *take(FileQueue *q, Request *&list)
{
	while (list == nullptr) {
		Request *none = nullptr;
		if (q->behind.compare_exchange_strong(none, ended(), std::memory_order_acq_rel))
			return nullptr;
		list = reversed(q->behind.exchange(nullptr, std::memory_order_acquire));
	}
	Request *r = list;
	list = r->next.load(std::memory_order_relaxed);
	return r;
}

// Whether r is to be carried out: it may have been cancelled. A sync may be later, too.
bool begin(Request *r)
{
	if (r->is_sync() || r->change(State::queued, State::running))
		return true;
	requests::release(r);
	return false;
}

// The next one to be carried out.
Request *take_live(FileQueue *q, Request *&list)
{
	Request *r = take(q, list);
	while (r != nullptr && !begin(r))
		r = take(q, list);
	return r;
}

// What was queued before it here has ended.
void synchronize(Request *r, int fd)
{
	// Its submitter's share is all that is left; otherwise something else is before it, which the driver waits for.
	bool free = r->waits_for.load(std::memory_order_acquire) == 1;
	if (!free && fd >= 0) {
		helper::request_from_inside(helper::own_helper(), r, fd);
		sys::close(fd);
		return;
	}
	bool mine = r->change(State::queued, State::running);
	ssize_t result = fd < 0 ? -EMFILE : mine ? transfer::blocking(r, fd) : 0;
	if (fd >= 0)
		sys::close(fd);
	if (!mine) {
		requests::release(r);
		return;
	}
	meter::done_by(r, meter::By::threads);
	completion::finish(r, result);
}

} // namespace

bool submit(Request *r)
{
	// Started before the lock is taken: the send under the lock then takes no other lock.
	helper::get();
	Shard &s = shard_of(r->ino.load(std::memory_order_relaxed));
	Guard<Mutex> g(s.lock);
	if (join(s, r))
		return true;
	auto *q = static_cast<FileQueue *>(malloc(sizeof(FileQueue)));
	if (q == nullptr) {
		errno = EAGAIN;
		return false;
	}
	new (q) FileQueue{s.queues, r->dev.load(std::memory_order_relaxed), r->ino.load(std::memory_order_relaxed),
			  r->flags, r->fd.load(std::memory_order_relaxed), r, nullptr};
	r->post.object = q;
	if (!helper::to_worker(helper::What::file_queue, r)) {
		free(q);
		return false;
	}
	// It may have ended already; whoever holds the lock next sees that.
	s.queues = q;
	return true;
}

bool submit_behind(Request *sync)
{
	Shard &s = shard_of(sync->ino.load(std::memory_order_relaxed));
	Guard<Mutex> g(s.lock);
	return join(s, sync);
}

Request *first(const FileQueue *q)
{
	return q->begin;
}

void serve(FileQueue *q, int fd)
{
	Request *list = nullptr;
	Request *r = begin(q->begin) ? q->begin : take_live(q, list);
	while (r != nullptr) {
		if (r->is_sync()) {
			Request *next = take_live(q, list);
			if (next == nullptr)
				return synchronize(r, fd);
			helper::request_from_inside(helper::own_helper(), r, fd);
			r = next;
			continue;
		}
		ssize_t result = fd < 0 ? -EMFILE : transfer::blocking(r, fd);
		Request *next = take_live(q, list);
		// Closed before the last end is told: who then looks finds the file released.
		if (next == nullptr && fd >= 0) {
			sys::close(fd);
			fd = -1;
		}
		meter::done_by(r, meter::By::threads);
		completion::finish(r, result);
		r = next;
	}
	if (fd >= 0)
		sys::close(fd);
}

void after_fork()
{
	for (Shard &s : table) {
		s.lock.reset();
		s.queues = nullptr;
	}
}

} // namespace filequeue
} // namespace sigevec
