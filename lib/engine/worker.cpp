// SPDX-License-Identifier: MIT
#include "engine/worker.hpp"

#include "completion/completion.hpp"
#include "engine/driver.hpp"
#include "engine/transfer.hpp"
#include "request/filequeue.hpp"
#include "runtime/config.hpp"
#include "runtime/standby.hpp"
#include "runtime/meter.hpp"
#include "runtime/sync.hpp"
#include "runtime/syscalls.hpp"

#include <sys/socket.h>

namespace sigevec::worker {

namespace {

using helper::Helper;
using helper::Packet;
using helper::What;

void carry_out(Helper *h, Request *r, int fd)
{
	if (fd >= 0)
		r->file = fd;
	if (r->on_stream()) {
		// The driver keeps the stream's file and its order.
		r->result = transfer::blocking(r, r->file);
		helper::returned_from_inside(h, r);
		return;
	}
	int file = r->file;
	ssize_t result = -EBADF;
	bool mine = r->get_state() == State::running || r->change(State::queued, State::running);
	if (mine && file >= 0)
		result = transfer::blocking(r, file);
	else if (mine)
		result = -EMFILE; // the helper's table was full when the file arrived
	// Closed before the end is told: who then looks finds the file released.
	if (file >= 0)
		sys::close(file);
	if (!mine) {
		requests::release(r);
		return;
	}
	meter::done_by(r, meter::By::threads);
	completion::finish(r, result);
}

void serve(Helper *h, const Packet &p, int fd)
{
	if (p.what == What::file_queue)
		filequeue::serve(static_cast<FileQueue *>(p.object), fd);
	else
		carry_out(h, static_cast<Request *>(p.object), fd);
}

uint32_t limit(const Helper *h)
{
	return config::limits.threads.load(std::memory_order_relaxed) + h->extra.load(std::memory_order_relaxed);
}

bool may_end(Helper *h, bool timed_out)
{
	uint32_t n = h->workers.load(std::memory_order_relaxed);
	uint32_t least = timed_out ? 1 : limit(h);
	do {
		if (n <= least)
			return false;
	} while (!h->workers.compare_exchange_weak(n, n - 1, std::memory_order_relaxed));
	// There was nothing to do: fewer will do next time.
	uint32_t extra = h->extra.load(std::memory_order_relaxed);
	while (extra != 0 && !h->extra.compare_exchange_weak(extra, extra - 1, std::memory_order_relaxed))
		;
	return true;
}

// Jobs that nobody is there to take. seq_cst on both: either the worker that goes to sleep sees the job, or it is not counted
// as idle here.
bool short_of_workers(const Helper *h)
{
	return h->jobs.load(std::memory_order_seq_cst) > h->idle_workers.load(std::memory_order_seq_cst);
}

void *worker_main(void *p)
{
	auto *h = static_cast<Helper *>(p);
	helper::enter_helper_thread(h);
	Spin spin;
	bool expected = false;
	for (;;) {
		Packet packet;
		int fd;
		h->idle_workers.fetch_add(1, std::memory_order_seq_cst);
		bool given = standby::wait(h, spin, expected, &packet, &fd);
		bool got = given || helper::receive(h->worker_rx, &packet, &fd, 1, true) != 0;
		h->idle_workers.fetch_sub(1, std::memory_order_seq_cst);
		if (got) {
			h->taken.fetch_add(1, std::memory_order_relaxed);
			if (!given)
				h->jobs.fetch_sub(1, std::memory_order_seq_cst);
			// This one may take long; others may have come meanwhile.
			add_if_needed(h);
			uint32_t before = Spin::met.load(std::memory_order_relaxed);
			serve(h, packet, fd);
			expected = Spin::looking.load(std::memory_order_relaxed) != 0 ||
				   Spin::met.load(std::memory_order_relaxed) != before;
		}
		bool broken = !got && errno != EAGAIN && errno != EINTR;
		if (broken)
			h->workers.fetch_sub(1, std::memory_order_relaxed);
		if (broken || may_end(h, !got && errno == EAGAIN))
			return nullptr;
	}
}

} // namespace

void add_if_needed(Helper *h)
{
	// seq_cst: see watch().
	if (short_of_workers(h) && !h->worker_asked.load(std::memory_order_seq_cst) &&
	    !h->worker_asked.exchange(true, std::memory_order_seq_cst))
		driver::ask_for_worker();
}

namespace {

void begin_watch(Helper *h)
{
	h->watched = true;
	h->watch_taken = h->taken.load(std::memory_order_relaxed);
	h->watch_since = monotonic_now();
}

void launch(Helper *h)
{
	timeval idle{static_cast<time_t>(config::limits.idle.load(std::memory_order_relaxed)) + 1, 0};
	setsockopt(h->worker_rx, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof idle);
	h->workers.fetch_add(1, std::memory_order_relaxed);
	if (start_thread(worker_main, h, "sigevec-worker") == 0)
		return;
	// With no thread at all, the driver does what there is to do itself.
	Packet packet;
	int fd;
	while (h->workers.load(std::memory_order_relaxed) == 1 && helper::receive(h->worker_rx, &packet, &fd, 1, false) != 0) {
		h->jobs.fetch_sub(1, std::memory_order_seq_cst);
		serve(h, packet, fd);
	}
	h->workers.fetch_sub(1, std::memory_order_relaxed);
}

} // namespace

void start(Helper *h)
{
	// While it is watched, nobody need ask.
	if (short_of_workers(h) && h->workers.load(std::memory_order_relaxed) >= limit(h)) {
		h->worker_asked.store(true, std::memory_order_relaxed);
		return begin_watch(h);
	}
	h->worker_asked.store(false, std::memory_order_seq_cst);
	if (short_of_workers(h))
		launch(h);
}

bool watch(Helper *h)
{
	if (!h->watched)
		return false;
	if (!short_of_workers(h)) {
		// Whoever adds a job after this asks; one that was added before is seen here.
		h->worker_asked.store(false, std::memory_order_seq_cst);
		h->watched = false;
		add_if_needed(h);
		return false;
	}
	uint32_t taken = h->taken.load(std::memory_order_relaxed);
	if (taken != h->watch_taken) {
		begin_watch(h);
		return true;
	}
	timespec now = monotonic_now();
	if (now.tv_sec - h->watch_since.tv_sec > 1 || (now.tv_sec > h->watch_since.tv_sec && now.tv_nsec >= h->watch_since.tv_nsec)) {
		// More may be stuck than the limit allows, if it has been lowered: the new one is to stay all the same.
		uint32_t least = h->workers.load(std::memory_order_relaxed) + 1, allowed = limit(h);
		if (least > allowed)
			h->extra.fetch_add(least - allowed, std::memory_order_relaxed);
		launch(h);
		begin_watch(h);
	}
	return true;
}

} // namespace sigevec::worker
