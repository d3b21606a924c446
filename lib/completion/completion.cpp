// SPDX-License-Identifier: MIT
#include "completion/completion.hpp"

#include "aiocb.hpp"
#include "base/memory_order.hpp"
#include "base/thread_number.hpp"
#include "completion/completed_table.hpp"
#include "completion/waiters.hpp"
#include "notify/batch.hpp"
#include "notify/notify.hpp"
#include "request/index.hpp"
#include "request/message.hpp"
#include "request/order.hpp"
#include "request/stats_detail.hpp"
#include "runtime/probes.hpp"

namespace sigevec::completion {

namespace {
// Submissions by this thread, and its calls of aio_return.
thread_local uint32_t lives __attribute__((tls_model("initial-exec"))) = 0;
thread_local uint32_t returns __attribute__((tls_model("initial-exec"))) = 0;
} // namespace

void begin(struct aiocb *cb)
{
	if (cb == nullptr)
		return;
	// The address may have served before, without an aio_return.
	completed_table::remove(cb);
	aiocb_layout::context(cb).store(0, mo::relaxed);
	// Released with the status, for whoever still waits for the last life. What stood there
	// before may be anything, and is not read.
	aiocb_layout::life(cb).store(static_cast<int>(thread_number() << 20 ^ ++lives),
				     mo::relaxed);
	aiocb_layout::result(cb).store(0, mo::relaxed);
	aiocb_layout::status(cb).store(EINPROGRESS, mo::release);
}

void note_return()
{
	returns++;
}

int unreturned()
{
	return static_cast<int>(lives - returns);
}

void publish(struct aiocb *cb, ssize_t result)
{
	stats::count(stats::completions);
	if (cb == nullptr)
		return; // a one-call request: its event is all that tells
	completed_table::add(cb);
	aiocb_layout::result(cb).store(result < 0 ? -1 : result, mo::relaxed);
	int error = result < 0 ? static_cast<int>(-result) : 0;
	int old = aiocb_layout::status(cb).exchange(error, mo::seq_cst);
	if (auto mask = static_cast<uint32_t>(old) >> aiocb_layout::bucket_shift; mask != 0)
		waiters::wake(mask);
	waiters::wake_any();
}

namespace {

// The kernel has no room for the signal of a call that has no memory of its own. LIO_WAIT does not
// wait for it.
bool signal_later(const Call &c)
{
	Batch *carrier = c.event.notify == SIGEV_SIGNAL ? batches::create(c.event) : nullptr;
	if (carrier == nullptr)
		return false;
	bool counts = c.batch != nullptr && !c.batch->waited;
	carrier->notification.batch = counts ? c.batch : nullptr;
	batches::finished_one(carrier);
	return counts || c.batch == nullptr;
}

} // namespace

void finish_call(const Call &c, ssize_t result)
{
	if (c.dma) {
		dma::Use use = c.dma;
		dma::use_ops.ended(use, c.cb, result);
	}
	publish(c.cb, result);
	if (result < 0 && c.batch != nullptr)
		batches::note_failure(c.batch);
	if (c.event.notify == notify_owner)
		c.event.on_end(c.event.value.sival_ptr, result);
	else if (!notify::send_now(c.event) && signal_later(c))
		return;
	if (c.batch != nullptr)
		batches::finished_one(c.batch);
}

namespace {

void notify_end(Request *r)
{
	Batch *list = r->notification.batch;
	if (r->result < 0 && list != nullptr)
		batches::note_failure(list);
	// An fsync that has been cancelled is still in the way of the next one: for what was before
	// both of them. requests::release ends that.
	if (!r->is_sync() || r->get_state() != State::cancelled)
		order::ended(r);
	// LIO_WAIT does not wait for the notification.
	if (list != nullptr && list->waited) {
		r->notification.batch = nullptr;
		batches::finished_one(list);
	}
	// With the notifier's reference, which is dropped once the notification is delivered.
	const Event &event = r->notification.event;
	if (event.notify == notify_owner) {
		event.on_end(event.value.sival_ptr, r->result);
		notify::delivered(r->notification);
	} else
		notify::send(r->notification);
}

} // namespace

void finish(Request *r, ssize_t result)
{
	// A request that never began may have been cancelled meanwhile, and told.
	State s = r->get_state();
	if (s == State::cancelled ||
	    (s == State::queued && !r->change(State::queued, State::running))) {
		requests::release(r);
		return;
	}
	requests::index::remove(r);
	r->set(State::ending);
	r->result = result;
	SIGEVEC_PROBE4(complete, r->cb.load(mo::relaxed), static_cast<int>(r->op), result,
		       static_cast<int>(r->engine.load(mo::relaxed)));
	if (result >= 0 && r->message != nullptr)
		message::fill_caller(r->message);
	// The pieces of a region belong to the program again with the status.
	stats_detail::ended(r, result);
	if (r->dma)
		dma::use_ops.ended(r->dma, r->cb.load(mo::relaxed), result);
	publish(r->cb.load(mo::relaxed), result);
	// Not before: an fsync that finds it done does not wait for it.
	r->set(State::done);
	notify_end(r);
	requests::release(r);
}

void finish_by_thread(Request *r, bool mine, ssize_t result)
{
	if (!mine) {
		requests::release(r);
		return;
	}
	stats_detail::done_by(r, stats_detail::By::threads);
	finish(r, result);
}

void finish_cancelled(Request *r)
{
	stats::count(stats::cancelled);
	requests::index::remove(r);
	requests::linger();
	r->result = -ECANCELED;
	SIGEVEC_PROBE4(complete, r->cb.load(mo::relaxed), static_cast<int>(r->op), r->result,
		       static_cast<int>(r->engine.load(mo::relaxed)));
	stats_detail::ended(r, -ECANCELED);
	if (r->dma)
		dma::use_ops.ended(r->dma, r->cb.load(mo::relaxed), -ECANCELED);
	publish(r->cb.load(mo::relaxed), -ECANCELED);
	notify_end(r);
}

} // namespace sigevec::completion
