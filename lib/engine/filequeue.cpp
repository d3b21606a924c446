// SPDX-License-Identifier: MIT
#include "engine/filequeue.hpp"

#include "base/inbox.hpp"
#include "base/memory_order.hpp"
#include "base/same_file.hpp"
#include "base/spin.hpp"
#include "base/sync.hpp"
#include "base/syscalls.hpp"
#include "base/thread_id.hpp"
#include "completion/completion.hpp"
#include "engine/to_helper.hpp"
#include "engine/transfer.hpp"
#include "runtime/copies.hpp"
#include "runtime/helper.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <new>

namespace sigevec {

struct FileQueue {
	FileQueue *next;
	uint64_t dev, ino;
	int flags;
	int file;                      // in the helper's table
	Request *begin;                // the one that made the queue: the worker starts with it
	std::atomic<Request *> behind; // the others, the newest first; ended(): the worker has left
};

namespace filequeue {

namespace {

struct alignas(64) Shard {
	Mutex lock;
	FileQueue *queues = nullptr;
	std::atomic<bool> used{false}; // it has ever had one
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

// Whether what r asks for may be done through q's file. While q has not ended, its file is open.
Same fits(const FileQueue *q, const Request *r)
{
	if (q->ino != r->ino.load(mo::relaxed) || q->dev != r->dev.load(mo::relaxed))
		return Same::no;
	// Another open file of the same inode, with the same flags, writes alike; but appends must
	// be in the order of their own.
	if (r->exact_inode && q->flags == r->flags && (r->flags & O_APPEND) == 0 && !r->is_sync())
		return Same::yes;
	return same_file(thread_id(), r->fd.load(mo::relaxed), helper::get()->thread, q->file);
}

// False: the queue has ended.
bool push(FileQueue *q, Request *r)
{
	// Acquire: what the worker did with the queue is over before it is freed.
	Request *newest = q->behind.load(mo::acquire);
	do {
		if (newest == ended())
			return false;
		r->next.store(newest, mo::relaxed);
	} while (!q->behind.compare_exchange_weak(newest, r, mo::acq_rel, mo::acquire));
	return true;
}

bool over(const FileQueue *q)
{
	return q->behind.load(mo::acquire) == ended();
}

// 0: it stands in it; no_queue: it does not; or -errno.
constexpr int no_queue = 1;

// Where the kernel does not compare files (Same::unknown) all of an inode are in one queue, each
// with its own file, so that the order is kept whichever it is.
int join_with_file(FileQueue *q, Request *r)
{
	if (r->is_sync())
		return no_queue;
	int file = helper::hold(r->fd.load(mo::relaxed));
	if (file < 0)
		return -helper::refusal(file);
	r->file = file;
	if (push(q, r))
		return 0;
	r->file = -1;
	helper::close_inside(file);
	return no_queue;
}

// Puts r into its file's queue, if there is one. Frees those that have ended.
int join(Shard &s, Request *r)
{
	FileQueue **p = &s.queues;
	while (FileQueue *q = *p) {
		if (over(q)) {
			*p = q->next;
			free(q);
			continue;
		}
		Same same = fits(q, r);
		if (same == Same::yes && push(q, r))
			return 0;
		if (same == Same::unknown)
			if (int e = join_with_file(q, r); e != no_queue)
				return e;
		p = &q->next;
	}
	return no_queue;
}

// Where a worker copies beside the program the next write is about to come; and each queue that
// ends costs its successor a hand-over.
constexpr long next_comes_ns = 20000;

void look_for_next(const FileQueue *q)
{
	Spin spin(next_comes_ns);
	spin.until([q] { return q->behind.load(mo::relaxed) != nullptr; });
}

// Takes the next request, by way of `list', what has been taken and not yet served; nullptr: there
// is none, and q has ended. fed: one is expected.
Request *take(FileQueue *q, Request *&list, bool fed)
{
	while (list == nullptr) {
		if (fed)
			look_for_next(q);
		Request *none = nullptr;
		if (q->behind.compare_exchange_strong(none, ended(), mo::acq_rel))
			return nullptr;
		list = reversed(q->behind.exchange(nullptr, mo::acquire));
	}
	Request *r = list;
	list = r->next.load(mo::relaxed);
	return r;
}

// Whether r is to be carried out: it may have been cancelled. A sync may be later, too.
bool begin(Request *r)
{
	if (r->is_sync() || r->change(State::queued, State::running))
		return true;
	if (r->file >= 0)
		copies::close(r->file);
	requests::release(r);
	return false;
}

// The next one to be carried out.
Request *take_live(FileQueue *q, Request *&list, bool fed = false)
{
	Request *r = take(q, list, fed);
	while (r != nullptr && !begin(r))
		r = take(q, list, fed);
	return r;
}

// What was queued before it here has ended.
void synchronize(Request *r, int fd)
{
	// Its submitter's share is all that is left; otherwise something else is before it, which
	// the driver waits for.
	bool free = r->waits_for.load(mo::acquire) == 1;
	if (!free) {
		helper::request_from_inside(helper::own_helper(), r, fd);
		copies::close(fd);
		return;
	}
	bool mine = r->change(State::queued, State::running);
	ssize_t result = mine ? transfer::blocking(r, fd) : 0;
	copies::close(fd);
	completion::finish_by_thread(r, mine, result);
}

} // namespace

int submit(Request *r)
{
	// Started before the lock is taken: the hand-over under the lock then takes no other lock.
	if (helper::get() == nullptr)
		return -EAGAIN;
	Shard &s = shard_of(r->ino.load(mo::relaxed));
	Guard<Mutex> g(s.lock);
	if (int e = join(s, r); e != no_queue)
		return e;
	auto *q = static_cast<FileQueue *>(malloc(sizeof(FileQueue)));
	if (q == nullptr)
		return -EAGAIN;
	new (q) FileQueue{
		s.queues, r->dev.load(mo::relaxed), r->ino.load(mo::relaxed), r->flags, -1, r,
		nullptr};
	r->post.object = q;
	// The worker does not look at the number here; who does has the lock.
	if (int e = helper::to_worker(helper::MessageType::file_queue, r, &q->file); e != 0) {
		free(q);
		return e;
	}
	// It may have ended already; whoever holds the lock next sees that.
	s.queues = q;
	s.used.store(true, mo::relaxed);
	return 0;
}

bool empty(uint64_t dev, uint64_t ino)
{
	Shard &s = shard_of(ino);
	if (!s.used.load(mo::relaxed))
		return true;
	Guard<Mutex> g(s.lock);
	for (const FileQueue *q = s.queues; q != nullptr; q = q->next)
		if (q->ino == ino && q->dev == dev && !over(q))
			return false;
	return true;
}

bool submit_behind(Request *sync)
{
	if (helper::get() == nullptr)
		return false;
	Shard &s = shard_of(sync->ino.load(mo::relaxed));
	Guard<Mutex> g(s.lock);
	return join(s, sync) == 0;
}

Request *first(const FileQueue *q)
{
	return q->begin;
}

namespace {

// The sync's turn: what is queued behind it need not wait for it, nor it for that. False: nothing
// is, and it has been carried out.
bool pass_sync(Request *r, int fd, Request *next)
{
	if (next == nullptr)
		synchronize(r, fd);
	else
		helper::request_from_inside(helper::own_helper(), r, fd);
	return next != nullptr;
}

ssize_t write_through(Request *r, int fd)
{
	ssize_t result = transfer::blocking(r, r->file >= 0 ? r->file : fd);
	if (r->file >= 0)
		copies::close(r->file);
	return result;
}

} // namespace

void serve(FileQueue *q, int fd)
{
	Request *list = nullptr;
	q->begin->file = -1; // it is the queue's
	Request *r = begin(q->begin) ? q->begin : take_live(q, list);
	while (r != nullptr) {
		if (r->is_sync()) {
			Request *next = take_live(q, list);
			if (!pass_sync(r, fd, next))
				return;
			r = next;
			continue;
		}
		ssize_t result = write_through(r, fd);
		// The file is held no longer than a request is outstanding: this one is.
		Request *next = take_live(q, list, r->beside);
		// Closed before the last end is told: who then looks finds the file released.
		if (next == nullptr)
			copies::close(fd);
		completion::finish_by_thread(r, true, result);
		if (next == nullptr)
			return;
		r = next;
	}
	copies::close(fd);
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
