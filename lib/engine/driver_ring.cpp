// SPDX-License-Identifier: MIT
//
// What the driver's ring says, and the cancellation of what is in it or in a stream.
#include "engine/driver_impl.hpp"

#include "base/memory_order.hpp"
#include "completion/completion.hpp"
#include "engine/held_files.hpp"
#include "engine/to_helper.hpp"
#include "engine/transfer.hpp"
#include "request/stats_detail.hpp"

#include <cerrno>

namespace sigevec::driver {

void Driver::answer(CancelReply *reply, int a)
{
	while (reply != nullptr) {
		CancelReply *next = reply->next;
		reply->give(1 + static_cast<uint32_t>(a));
		reply = next;
	}
}

void Driver::answer(RegionReply *reply)
{
	if (has_ring() && reply->keep)
		ring_.keep(reply->region);
	else if (has_ring())
		ring_.let_go(reply->region);
	reply->give(1);
}

void Driver::answer_request(Request *r, int a)
{
	if (r->cancel_reply != nullptr)
		answer(static_cast<CancelReply *>(r->cancel_reply), a);
	r->cancel_reply = nullptr;
}

void Driver::cancel(CancelReply *reply)
{
	Request *r = reply->request;
	uint64_t word = r->state.load(mo::acquire);
	auto now = static_cast<State>(word & 0xff);
	bool same = word >> 8 == reply->word >> 8;
	if (same && (now == State::queued || now == State::trying)) {
		answer(reply, CancelReply::look_again); // it waits in another way now
		return;
	}
	if (!same || (now != State::in_ring && now != State::running)) {
		answer(reply, AIO_ALLDONE);
		return;
	}
	if (r->has_begun() && now == State::in_ring && stop_waiting(r, reply))
		return;
	if (now == State::running || r->has_begun()) {
		answer(reply, AIO_NOTCANCELED);
		return;
	}
	reply->next = static_cast<CancelReply *>(r->cancel_reply);
	r->cancel_reply = reply;
	if (reply->next == nullptr)
		stop(r);
}

// A receive that waits with a part ends with that.
bool Driver::stop_waiting(Request *r, CancelReply *reply)
{
	Stream *s = r->stream;
	if (!r->on_stream() || !r->is_read() || s->requests.first() != r || !s->armed)
		return false;
	s->armed = false;
	end_first(s, static_cast<ssize_t>(r->done));
	answer(reply, AIO_ALLDONE);
	step(s);
	return true;
}

void Driver::file_from_ring(Request *r, ssize_t n)
{
	bool cancelled = was_cancelled(r, n);
	auto *reply = static_cast<CancelReply *>(r->cancel_reply);
	r->cancel_reply = nullptr;
	// Only the plain call says that a file has ended, or that it has no offset; and a worker,
	// what is to be done about O_DIRECT.
	bool doubtful = n == -ESPIPE || n == -EOPNOTSUPP ||
			(n == -EINVAL && transfer::submitted_buffered(r)) ||
			(n == 0 && r->is_read() && r->done == 0);
	if (!cancelled && (doubtful || n == -EAGAIN || n == -EINTR || n == -ECANCELED ||
			   transfer::advance(r, n))) {
		// A worker finishes what the ring could not, or only in part.
		r->set(State::running);
		if (reply != nullptr)
			answer(reply, AIO_NOTCANCELED);
		helper::job_from_inside(helper_, r);
		return;
	}
	held_files::let_go(r);
	stats_detail::done_by(r, stats_detail::By::uring);
	completion::finish(r, cancelled ? -ECANCELED : transfer::total(r, n));
	if (reply != nullptr)
		answer(reply, cancelled ? AIO_CANCELED : AIO_ALLDONE);
}

// What the ring says of a cancellation. When it was found, its own completion tells how it ended.
void Driver::cancellation_from_ring(Request *r, ssize_t result)
{
	if (result >= 0 || r->get_state() != State::in_ring || r->cancel_reply == nullptr)
		return;
	// A file's transfer is under way: a thread of the kernel's is at it, or the file's own
	// driver, where the ring does not find it. On a stream, -EALREADY: a thread of the kernel's
	// is at it, and has been interrupted, or it is just being woken, and may well wait again
	// after that. -ENOENT: not found where it waits, for the same reason. Asked once more, it
	// is found, or has ended.
	if (!r->on_stream())
		answer_request(r, AIO_NOTCANCELED);
	else
		ring_.cancel(r);
}

void Driver::from_ring(const Ring::Completion &c)
{
	switch (c.type) {
	case Ring::CompletionType::request:
		if (c.request->on_stream())
			stream_from_ring(c.request, c.result);
		else
			file_from_ring(c.request, c.result);
		break;
	case Ring::CompletionType::cancellation:
		cancellation_from_ring(c.request, c.result);
		break;
	case Ring::CompletionType::readiness:
		take_ready(0);
		break;
	case Ring::CompletionType::wakeup:
		break;
	}
}

} // namespace sigevec::driver
