// SPDX-License-Identifier: MIT
#include "request/filequeue.hpp"

#include "completion/completion.hpp"
#include "engine/transfer.hpp"
#include "runtime/helper.hpp"
#include "runtime/stats.hpp"
#include "runtime/sync.hpp"
#include "runtime/syscalls.hpp"

#include <cstdlib>

namespace sigevec {

struct FileQueue {
	FileQueue *next;
	uint64_t dev, ino;
	int flags;
	Request *begin;        // the one that made the queue: the worker starts with it, without the lock
	Request *first, *last; // those behind it
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

FileQueue *find(const Shard &s, const Request *r)
{
	for (FileQueue *q = s.queues; q != nullptr; q = q->next)
		if (q->ino == r->ino.load(std::memory_order_relaxed) && q->dev == r->dev.load(std::memory_order_relaxed) &&
		    q->flags == r->flags)
			return q;
	return nullptr;
}

void append(FileQueue *q, Request *r)
{
	r->next.store(nullptr, std::memory_order_relaxed);
	if (q->first == nullptr)
		q->first = r;
	else
		q->last->next.store(r, std::memory_order_relaxed);
	q->last = r;
}

void unlink(Shard &s, const FileQueue *q)
{
	FileQueue **p = &s.queues;
	while (*p != q)
		p = &(*p)->next;
	*p = q->next;
}

// Takes the first request; nullptr: the queue was empty and is no more.
Request *take(Shard &s, FileQueue *q)
{
	Guard<Mutex> g(s.lock);
	Request *r = q->first;
	if (r != nullptr)
		q->first = r->next.load(std::memory_order_relaxed);
	else
		unlink(s, q);
	return r;
}

// Whether r is to be carried out: it may have been cancelled.
bool begin(Request *r)
{
	if (r->change(State::queued, State::running))
		return true;
	requests::release(r);
	return false;
}

// The next one to be carried out.
Request *take_live(Shard &s, FileQueue *q)
{
	Request *r = take(s, q);
	while (r != nullptr && !begin(r))
		r = take(s, q);
	return r;
}

} // namespace

bool submit(Request *r)
{
	auto *fresh = static_cast<FileQueue *>(malloc(sizeof(FileQueue)));
	if (fresh == nullptr) {
		errno = EAGAIN;
		return false;
	}
	// Started before the lock is taken: the send under the lock then takes no other lock.
	helper::get();
	BlockSignals blocked;
	Shard &s = shard_of(r->ino.load(std::memory_order_relaxed));
	bool used = false, ok = true;
	{
		Guard<Mutex> g(s.lock);
		if (FileQueue *q = find(s, r))
			append(q, r);
		else {
			*fresh = {s.queues,   r->dev.load(std::memory_order_relaxed), r->ino.load(std::memory_order_relaxed),
				  r->flags, r, nullptr, nullptr};
			ok = used = helper::to_worker(helper::What::file_queue, fresh, r);
			if (ok)
				s.queues = fresh;
		}
	}
	if (!used)
		free(fresh);
	return ok;
}

void serve(FileQueue *q, int fd)
{
	Shard &s = shard_of(q->ino);
	// Not from the list: the submitter may still have the lock.
	Request *r = begin(q->begin) ? q->begin : take_live(s, q);
	while (r != nullptr) {
		ssize_t result = fd < 0 ? -EMFILE : transfer::blocking(r, fd);
		Request *next = take_live(s, q);
		// Closed before the last end is told: who then looks finds the file released.
		if (next == nullptr && fd >= 0) {
			sys::close(fd);
			fd = -1;
		}
		stats::count(stats::threads_done);
		completion::finish(r, result);
		r = next;
	}
	if (fd >= 0)
		sys::close(fd);
	free(q);
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
