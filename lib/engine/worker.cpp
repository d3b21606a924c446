// SPDX-License-Identifier: MIT
#include "engine/worker.hpp"

#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "base/syscalls.hpp"
#include "base/thread_id.hpp"
#include "completion/completion.hpp"
#include "engine/driver.hpp"
#include "engine/filequeue.hpp"
#include "engine/held_files.hpp"
#include "engine/to_helper.hpp"
#include "engine/transfer.hpp"
#include "interrupt.h"
#include "runtime/config.hpp"
#include "runtime/copies.hpp"
#include "runtime/thread.hpp"

namespace sigevec::worker {

namespace {

using helper::Helper;
using helper::MessageType;
using helper::Post;

// Of a file that has been taken by a number, after the call that gave the number.
bool is_what_was_meant(const Request *r)
{
	Descriptor d;
	return !r->by_number || (transfer::describe(r->file, &d) && transfer::is_file_of(r, d));
}

// An fsync, and those for which its call does, too (driver_syncs.cpp).
void synchronize(Request *r)
{
	bool wanted = false;
	for (Request *s = r; s != nullptr; s = s->together) {
		s->change(State::queued, State::running);
		wanted |= s->get_state() == State::running;
	}
	ssize_t result = wanted ? transfer::blocking(r, r->file) : 0;
	for (Request *s = r, *next; s != nullptr; s = next) {
		next = s->together;
		bool mine = s->get_state() == State::running;
		held_files::let_go(s);
		completion::finish_by_thread(s, mine, result);
	}
}

void carry_out(Helper *h, Request *r)
{
	if (r->on_stream()) {
		// The driver keeps the stream's file and its order.
		sigevec_can_interrupt();
		r->worker.store(thread_id(), mo::release);
		// The driver itself serves where there is no thread, and has others to serve: it
		// looks again later.
		r->briefly = r->briefly || (r->may_wait && driver::on_driver_thread());
		r->result = transfer::blocking(r, r->file);
		r->worker.store(0, mo::release);
		helper::returned_from_inside(h, r);
		return;
	}
	int file = r->file;
	if (r->is_sync() && file >= 0)
		return synchronize(r);
	bool mine = r->get_state() == State::running || r->change(State::queued, State::running);
	ssize_t result = !mine                  ? -ECANCELED
			 : file < 0             ? file
			 : is_what_was_meant(r) ? transfer::blocking(r, file)
						: transfer::total(r, -EAGAIN);
	// Closed before the end is told: who then looks finds the file released.
	held_files::let_go(r);
	completion::finish_by_thread(r, mine, result);
}

void serve(Helper *h, MessageType type, Request *r)
{
	if (type == MessageType::file_queue)
		filequeue::serve(static_cast<FileQueue *>(r->post.object), r->file);
	else
		carry_out(h, r);
}

// A request with its file, or the offer of some, of which this worker keeps the first.
void serve(Helper *h, Post *p)
{
	if (p->type != MessageType::hand_over) {
		MessageType type = p->type;
		Request *r = type == MessageType::file_queue
				     ? filequeue::first(static_cast<FileQueue *>(p->object))
				     : static_cast<Request *>(p->object);
		if (type == MessageType::job_put)
			helper::take_put(h, r);
		serve(h, type, r);
		return;
	}
	helper::Taken t;
	helper::take(&h->files, static_cast<helper::HandOver *>(p->object), &t);
	if (t.files[0] < 0)
		return; // its submitter has been told
	auto *r = static_cast<Request *>(t.objects[0]);
	r->file = t.files[0];
	serve(h, t.type, r);
}

uint32_t limit(const Helper *h)
{
	return config::limits.threads.load(mo::relaxed) + h->extra.load(mo::relaxed) +
	       h->waiting.load(mo::relaxed);
}

bool may_end(Helper *h, bool timed_out)
{
	uint32_t n = h->workers.load(mo::relaxed);
	uint32_t least = timed_out ? 1 : limit(h);
	do {
		if (n <= least)
			return false;
	} while (!h->workers.compare_exchange_weak(n, n - 1, mo::relaxed));
	// There was nothing to do: fewer will do next time.
	uint32_t extra = h->extra.load(mo::relaxed);
	while (extra != 0 && !h->extra.compare_exchange_weak(extra, extra - 1, mo::relaxed))
		;
	return true;
}

void *worker_main(void *p)
{
	auto *h = static_cast<Helper *>(p);
	helper::enter_helper_thread(h);
	Spin spin;
	bool expected = false;
	for (;;) {
		timespec most{static_cast<time_t>(config::limits.idle.load(mo::relaxed)) + 1, 0};
		Post *job = h->jobs.take(spin, expected, most);
		if (job != nullptr) {
			h->taken.fetch_add(1, mo::relaxed);
			// This one may take long; others may have come meanwhile.
			add_if_needed(h);
			uint32_t before = Spin::met.load(mo::relaxed);
			serve(h, job);
			expected = Spin::looking.load(mo::relaxed) != 0 ||
				   Spin::met.load(mo::relaxed) != before;
		}
		if (may_end(h, job == nullptr))
			return nullptr;
	}
}

} // namespace

void add_if_needed(Helper *h)
{
	// seq_cst: see watch().
	if (h->jobs.short_of_workers() && !h->worker_asked.load(mo::seq_cst) &&
	    !h->worker_asked.exchange(true, mo::seq_cst))
		helper::ask_for_worker(h);
}

namespace {

void begin_watch(Helper *h)
{
	h->watched = true;
	h->watch_taken = h->taken.load(mo::relaxed);
	h->watch_since = monotonic_now();
}

void launch(Helper *h)
{
	h->workers.fetch_add(1, mo::relaxed);
	if (start_thread(worker_main, h, "sigevec-worker") == 0)
		return;
	// With no thread at all, the driver does what there is to do itself.
	Post *job;
	while (h->workers.load(mo::relaxed) == 1 && (job = h->jobs.take_now()) != nullptr)
		serve(h, job);
	h->workers.fetch_sub(1, mo::relaxed);
}

} // namespace

void start(Helper *h)
{
	// While it is watched, nobody need ask.
	if (h->jobs.short_of_workers() && h->workers.load(mo::relaxed) >= limit(h)) {
		h->worker_asked.store(true, mo::relaxed);
		return begin_watch(h);
	}
	h->worker_asked.store(false, mo::seq_cst);
	if (h->jobs.short_of_workers())
		launch(h);
}

bool watch(Helper *h)
{
	if (!h->watched)
		return false;
	if (!h->jobs.short_of_workers()) {
		// Whoever adds a job after this asks; one that was added before is seen here.
		h->worker_asked.store(false, mo::seq_cst);
		h->watched = false;
		add_if_needed(h);
		return false;
	}
	// The limit has been raised since, or no thread could be made: one is started at once, and
	// those that take a job ask for the next again.
	if (h->workers.load(mo::relaxed) < limit(h)) {
		h->worker_asked.store(false, mo::seq_cst);
		launch(h);
		begin_watch(h);
		return true;
	}
	uint32_t taken = h->taken.load(mo::relaxed);
	if (taken != h->watch_taken) {
		begin_watch(h);
		return true;
	}
	timespec now = monotonic_now();
	if (now.tv_sec - h->watch_since.tv_sec > 1 ||
	    (now.tv_sec > h->watch_since.tv_sec && now.tv_nsec >= h->watch_since.tv_nsec)) {
		// More may be stuck than the limit allows, if it has been lowered: the new one is
		// to stay all the same.
		uint32_t least = h->workers.load(mo::relaxed) + 1, allowed = limit(h);
		if (least > allowed)
			h->extra.fetch_add(least - allowed, mo::relaxed);
		launch(h);
		begin_watch(h);
	}
	return true;
}

} // namespace sigevec::worker
