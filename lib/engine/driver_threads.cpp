// SPDX-License-Identifier: MIT
//
// Requests of the driver's streams that another thread carries out: a worker, a carrier, the
// program's thread. Each comes back with what it has come to.
#include "engine/driver_impl.hpp"

#include "base/memory_order.hpp"
#include "dma/zero_copy.hpp"
#include "engine/carrier.hpp"
#include "engine/program_thread.hpp"
#include "engine/receive.hpp"
#include "engine/to_helper.hpp"
#include "engine/transfer.hpp"
#include "interrupt.h"
#include "request/stats_detail.hpp"

#include <utility>

namespace sigevec::driver {

// By a thread of its caller's. As in the ring, whether it can still be cancelled is to be asked
// there.
bool Driver::start_carried(Stream *s, Request *r)
{
	// What is only begun there takes a moment: whoever wants to cancel it waits.
	bool begins = r->op == Op::connect && transfer::begins_briefly(r->message->header);
	State at_work = begins ? State::trying : State::in_ring;
	if (r->done == 0 && !r->change(State::queued, at_work))
		return true;
	r->set(at_work);
	s->busy = true;
	carrier::begin(r);
	return false;
}

void Driver::stop(Request *r)
{
	if (!r->is_by_thread()) {
		ring_.cancel(r);
		return;
	}
	if (r->carrier != nullptr)
		carrier::interrupt(r);
	else {
		r->stop.store(true, mo::release);
		if (pid_t worker = r->worker.load(mo::acquire); worker != 0)
			sigevec_interrupt(worker);
	}
	retry_ = true; // it may have been between two calls
}

// The carrier of the first of s is done.
void Driver::carried(Stream *s, Request *r)
{
	carrier::let_go(r);
	auto *reply = static_cast<CancelReply *>(r->cancel_reply);
	r->cancel_reply = nullptr;
	ssize_t result = r->result;
	end_first(s, result);
	if (reply != nullptr)
		answer(reply, result == -ECANCELED ? AIO_CANCELED : AIO_ALLDONE);
}

// As in the ring, whether it can still be cancelled is to be asked here, if nothing of it has been
// done.
void Driver::give_to_worker(Stream *s, Request *r)
{
	r->set(r->done == 0 ? State::in_ring : State::running);
	pass_to_worker(s, r);
}

void Driver::pass_to_worker(Stream *s, Request *r)
{
	r->file = s->file;
	r->by_worker = true;
	s->busy = true;
	if (r->may_wait)
		helper_->waiting.fetch_add(1, mo::relaxed);
	helper::job_from_inside(helper_, r);
}

// Whoever wants to cancel it meanwhile waits for that moment: afterwards nothing is taken any more.
void Driver::give_to_program(Stream *s, Request *r)
{
	r->set(r->done == 0 && r->is_read() ? State::trying : State::running);
	s->busy = true;
	program_thread::give(r, s->file);
}

// A worker or the program's thread has tried it; or a carrier has done it, or begun a connect,
// which goes on as that of any thread does.
void Driver::returned(Stream *s, Request *r)
{
	bool begun = r->op == Op::connect && r->result == -EINPROGRESS;
	if (r->carrier != nullptr && !begun) {
		carried(s, r);
		return;
	}
	carrier::let_go(r);
	auto *reply = static_cast<CancelReply *>(r->cancel_reply);
	r->cancel_reply = nullptr;
	bool wanted = reply == nullptr && !(r->is_unwanted() && r->done == 0);
	int a = end_of_call(s, r, wanted);
	if (reply != nullptr)
		answer(reply, a);
}

// What a worker or the program's thread has come to. The answer to who wants to cancel r.
int Driver::end_of_call(Stream *s, Request *r, bool wanted)
{
	bool briefly = r->briefly, later = briefly && r->may_wait;
	if (std::exchange(r->may_wait, false))
		helper_->waiting.fetch_sub(1, mo::relaxed);
	r->by_worker = r->briefly = false;
	r->stop.store(false, mo::relaxed);
	r->polled = r->op == Op::connect && r->result == -EINPROGRESS;
	bool again =
		r->polled || ((r->result == -EAGAIN || r->result == -EINTR) && !r->nonblocking() &&
			      (briefly || r->in_program != nullptr || r->kind == Kind::socket));
	if (r->result == -ECANCELED || (again && !wanted && r->done == 0)) {
		r->set(State::running);
		end_first(s, -ECANCELED);
		return AIO_CANCELED;
	}
	if (again) {
		if (r->done == 0)
			r->set(State::queued);
		if (later) {
			s->armed = true;
			look_soon(s);
		} else
			wait_until_ready(s, r);
		return AIO_NOTCANCELED;
	}
	if (r->in_program != nullptr)
		return transferred(s, r, r->result) ? AIO_NOTCANCELED : AIO_ALLDONE; // one attempt
	r->set(State::running);
	end_first(s, r->result == 0 ? transfer::ended_empty(r, s->file) : r->result); // the whole
	return AIO_ALLDONE;
}

// fd is the program's: whoever ends the request may have to close it there. A connection of a
// multishot one has been told of (program_thread.cpp). True: r goes on.
bool Driver::accepted(Stream *s, Request *r, int fd)
{
	if (r->multishot) {
		r->set(State::queued);
		return true;
	}
	// Not read again below: the program's thread may have ended r by then.
	TableThread *there = r->in_program;
	take_first(s);
	stats_detail::done_by(r, helper_->driver_is());
	program_thread::end(there, r, fd);
	return false;
}

} // namespace sigevec::driver
