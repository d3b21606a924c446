// SPDX-License-Identifier: MIT
//
// Fsyncs that wait for what was before them.
#include "engine/driver_impl.hpp"

#include "base/memory_order.hpp"
#include "base/same_file.hpp"
#include "base/thread_id.hpp"
#include "runtime/copies.hpp"

namespace sigevec::driver {

void Driver::wait_for_others(Request *r)
{
	r->waits_at_driver = true;
	waiting_syncs_.push(r);
	r->waits_for.fetch_sub(1, mo::acq_rel);
}

// Whether r, an fsync that waits for one which is about to begin with sync, or for sync itself,
// needs no call of its own: it waits for nothing else, so all that was before it has ended. Each
// open file is told of an error once, so it has to be the same.
bool Driver::joins(const Request *r, const Request *sync)
{
	return r->waits_at_driver && r->op == sync->op && r->waits_for.load(mo::acquire) == 1 &&
	       same_file(thread_id(), sync->file, thread_id(), r->file) == Same::yes;
}

// Each waits for the one before it (request/order.hpp). What somebody waits for that has not ended
// is there.
void Driver::gather(Request *sync)
{
	for (Request *last = sync, *r;
	     (r = last->dependent.load(mo::acquire)) != nullptr && joins(r, sync); last = r) {
		last->dependent.store(nullptr, mo::release);
		r->waits_for.store(0, mo::relaxed);
		r->waits_at_driver = false;
		last->together = r;
	}
}

void Driver::start_sync(Request *r)
{
	if (r->get_state() == State::cancelled) {
		copies::close(r->file);
		requests::release(r);
	} else
		start_file(r);
}

void Driver::run_free_syncs()
{
	Queue<Request> free;
	waiting_syncs_.remove_if([&free](Request *r) {
		bool waits = r->waits_for.load(mo::acquire) != 0;
		r->waits_at_driver = waits;
		if (!waits)
			free.push(r);
		return !waits;
	});
	if (free.empty())
		return;
	for (Request *r = free.first(); r != nullptr; r = free.after(r))
		if (r->file >= 0 && !by_ring(r) && r->get_state() != State::cancelled)
			gather(r);
	waiting_syncs_.remove_if([](const Request *r) { return !r->waits_at_driver; });
	while (Request *r = free.pop())
		start_sync(r);
}

} // namespace sigevec::driver
