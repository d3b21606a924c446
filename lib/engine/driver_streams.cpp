// SPDX-License-Identifier: MIT
//
// The driver's streams: what can be started is started, one request of a stream at a time, by the
// ring, or by attempts that do not wait and epoll.
#include "base/syscalls.hpp"
#include "completion/completion.hpp"
#include "engine/alone.hpp"
#include "engine/driver_impl.hpp"
#include "engine/program_thread.hpp"
#include "engine/receive.hpp"
#include "engine/transfer.hpp"
#include "request/stats_detail.hpp"
#include "request/stream.hpp"

#include <poll.h>
#include <sys/socket.h>

namespace sigevec::driver {

namespace {

// One after the other, of one attempt. An attempt does not wait, so there is hardly one.
constexpr int most_interruptions = 100;

} // namespace

// Starts what can be started: one request at a time.
void Driver::step(Stream *s)
{
	while (s->requests.first() != nullptr && !s->busy && !s->armed) {
		Request *r = s->requests.first();
		if (stream::claimed(s->word))
			return; // a writer is at work within its call; it will say when it is done
		if (r->get_state() == State::cancelled) {
			drop(s, r);
			continue;
		}
		if (!start(s, r))
			return;
	}
	if (s->requests.first() == nullptr && !s->closed)
		streams_.close(s);
}

namespace {

// A connection of a multishot request needs room for its event before it is taken; without, the
// stream waits until there is. Only where there is one: others may need the room.
bool ready_for_connection(Request *r)
{
	if (!r->multishot || r->connection != nullptr)
		return true;
	r->connection = requests::create_connection(r);
	return r->connection != nullptr;
}

} // namespace

void Driver::forget_connection(Request *r)
{
	requests::discard_connection(r->connection);
	r->connection = nullptr;
}

// Nobody wants it any more, and nothing of it has gone out. A receive that has something ends with
// that.
bool Driver::may_be_stopped(const Request *r)
{
	return r->is_unwanted() && (r->done == 0 || r->is_read());
}

// True: the first request is not r any more, or r must be started again.
bool Driver::start(Stream *s, Request *r)
{
	if (may_be_stopped(r)) {
		r->change(State::queued, State::running);
		end_first(s, transfer::total(r, -ECANCELED));
		return true;
	}
	if (r->carrier != nullptr)
		return start_carried(s, r);
	if (r->of_nothing() && r->kind >= Kind::device)
		return start_plain(s, r);
	if (r->done > 0 && waits_by_readiness(r) && transfer::is_broken(s->file)) {
		end_first(s, transfer::total(r, 0));
		return true;
	}
	bool connecting = r->op == Op::connect && r->polled;
	if (connecting)
		r->change(State::running,
			  State::queued); // begun in the call: it can be cancelled now
	if (!has_ring() || connecting || differs_in_ring(r, s->file))
		return try_now(s, r);
	return start_in_ring(s, r);
}

// What only the call itself says.
bool Driver::start_plain(Stream *s, Request *r)
{
	if (!r->change(State::queued, State::in_ring))
		return true;
	r->may_wait = true;
	give_to_worker(s, r);
	return false;
}

bool Driver::start_in_ring(Stream *s, Request *r)
{
	if (r->done == 0 && !r->change(State::queued, State::in_ring))
		return true;
	r->set(State::in_ring);
	s->busy = true;
	ring_.start(r, s->file);
	return false;
}

namespace {

bool ready(const Stream *s)
{
	struct pollfd p = {s->file, static_cast<short>(s->read ? POLLIN : POLLOUT), 0};
	return sys::poll_now(&p) != 0;
}

bool listening(const Stream *s)
{
	int yes = 0;
	socklen_t n = sizeof yes;
	return getsockopt(s->file, SOL_SOCKET, SO_ACCEPTCONN, &yes, &n) == 0 && yes != 0;
}

} // namespace

// Of a file that cannot be asked without waiting (a terminal, for one). Whether its call waits, its
// readiness tells only where that is known to be true: /dev/kmsg takes every write and never says
// so. Then a worker makes the call, for as long as that takes. What is ready does not wait, nor
// does a terminal that is set so.
bool Driver::asks_worker(Stream *s, Request *r)
{
	bool known = r->nonblocking() || transfer::tells_readiness(r->kind, s->file);
	r->may_wait = !known;
	if (r->nonblocking() || !known || ready(s))
		return true;
	int64_t limit = r->waited ? -1 : transfer::time_limit(r, s->file);
	if (limit > 0)
		limit_time(r, limit);
	return limit == 0;
}

// The result, or -errno; -EAGAIN: nothing yet. *given: somebody else is at it now.
ssize_t Driver::attempt(Stream *s, Request *r, bool *given)
{
	*given = false;
	if (r->op == Op::connect)
		return transfer::end_of_connect(s->file, r->message->header);
	// An attempt that was interrupted has found nothing out, and no change would be told of.
	ssize_t n = -EINTR;
	for (int i = 0; i < most_interruptions && n == -EINTR; i++)
		n = transfer::attempt(r, s->file);
	if (n == 0)
		return transfer::ended_empty(r, s->file);
	if (n != -EOPNOTSUPP || is_socket_call(r->op))
		return n == -EINTR ? -EAGAIN : n;
	*given = asks_worker(s, r);
	if (*given)
		give_to_worker(s, r);
	else if (!r->waited && r->kind == Kind::anonymous)
		*given = ask_briefly(s, r);
	return -EAGAIN;
}

// Whether what cannot be asked has to wait only the call itself says: what it refuses, it refuses
// at once. True.
bool Driver::ask_briefly(Stream *s, Request *r)
{
	r->waited = r->briefly = true;
	give_to_worker(s, r);
	return true;
}

bool Driver::try_now(Stream *s, Request *r)
{
	bool begun = r->get_state() == State::running || r->done > 0;
	if (!begun && !r->change(State::queued, State::trying))
		return true;
	ssize_t n = -EAGAIN;
	bool given = false;
	if (transfer::must_block(r) && ready(s)) {
		give_to_worker(s, r);
		return false;
	}
	if (r->in_program != nullptr) {
		if (ready(s) || (r->op == Op::accept && !listening(s))) {
			if (ready_for_connection(r))
				give_to_program(s, r);
			else
				r->set(State::queued);
			return false;
		}
	} else if (!transfer::must_block(r))
		n = attempt(s, r, &given);
	if (given)
		return false;
	if (n == -EAGAIN && !r->nonblocking() && time_is_up(r))
		n = transfer::timed_out(r);
	else if (n == -EAGAIN && !r->nonblocking()) {
		if (!r->waited && r->kind == Kind::socket && r->is_read())
			limit_time(r, transfer::time_limit(r, s->file));
		if (!begun)
			r->set(State::queued);
		return wait_until_ready(s, r);
	}
	transferred(s, r, n);
	return true;
}

// True: r goes on.
bool Driver::transferred(Stream *s, Request *r, ssize_t n)
{
	if (r->op == Op::accept && n >= 0)
		return accepted(s, r, static_cast<int>(n));
	bool more = transfer::advance(r, n);
	s->clock.vain = 0;
	s->clock.pause = 0;
	if (more && r->deadline != 0 && transfer::limit_of_each_part(s->file))
		r->deadline = 0;
	// A read that waits with a part can still be ended: that is to be asked here.
	if (more)
		r->set(r->is_read() ? State::in_ring : State::running);
	else
		end_first(s, transfer::total(r, n));
	if (more)
		end_all_behind(s);
	return more;
}

// r was cancelled, and nobody is at work on it.
void Driver::drop(Stream *s, Request *r)
{
	if (s->requests.first() == r) {
		s->clock = {};
		s->armed = false;
	}
	take_out(s, r);
	forget_connection(r);
	alone::leave_stream(s->word);
	requests::release(r);
}

// True: r has ended, with EAGAIN rather than wait for its turn.
bool Driver::end_behind(Stream *s, Request *r)
{
	if (s->requests.first() == r || !is_hasty(r) || ready(s) ||
	    !r->change(State::queued, State::running))
		return false;
	take_out(s, r);
	alone::leave_stream(s->word);
	end(r, -EAGAIN);
	return true;
}

// The first request waits, maybe once more.
void Driver::end_all_behind(Stream *s)
{
	for (Request *r = s->requests.first(); r != nullptr && s->hasty != 0;) {
		Request *next = RequestList::after(r);
		end_behind(s, r);
		r = next;
	}
}

// Somebody wants r to end, or has cancelled it. If it stands first, its stream waits for it in
// vain.
void Driver::end_unwanted(Stream *s, Request *r)
{
	bool first = s->requests.first() == r;
	if (r->get_state() == State::cancelled && !(first && s->busy))
		drop(s, r);
	else if (first && s->armed && may_be_stopped(r))
		s->armed = false;
	step(s);
}

Request *Driver::take_first(Stream *s)
{
	Request *r = s->requests.first();
	take_out(s, r);
	s->clock = {};
	uint32_t word = s->word;
	// The file is closed before the last end is told: who then looks finds it released.
	if (s->requests.first() == nullptr)
		streams_.close(s);
	alone::leave_stream(word);
	return r;
}

void Driver::end_first(Stream *s, ssize_t result)
{
	end(take_first(s), result);
}

void Driver::end(Request *r, ssize_t result) const
{
	forget_connection(r);
	stats_detail::done_by(r, helper_->driver_is());
	// Descriptors that have come are the program's: if nobody wants them any more, they are
	// closed there.
	if (r->message != nullptr && r->message->received != nullptr)
		program_thread::end(r->in_program, r, result);
	else
		completion::finish(r, result);
}

// What the ring says of r, which is the first of s. True: r goes on.
bool Driver::ended_by_ring(Stream *s, Request *r, ssize_t n, bool cancelled, bool stops)
{
	if (cancelled) {
		end_first(s, -ECANCELED);
		return false;
	}
	bool more = transferred(s, r, n);
	if (more && stops) {
		// One more connection came before the cancellation: it is the last one.
		r->set(State::running);
		end_first(s, -ECANCELED);
		more = false;
	}
	return more;
}

void Driver::stream_from_ring(Request *r, ssize_t n)
{
	Stream *s = r->stream;
	s->busy = false;
	bool cancelled = was_cancelled(r, n);
	if (!cancelled && n == -ECANCELED && !has_ring()) {
		// The ring was left.
		answer_request(r, AIO_NOTCANCELED);
		r->set(r->done == 0 ? State::queued : State::running);
		step(s);
		return;
	}
	if (!cancelled && n == -EAGAIN && waits_by_readiness(r)) {
		answer_request(r, AIO_NOTCANCELED);
		r->set(r->done == 0 ? State::queued : State::running);
		wait_until_ready(s, r);
		step(s);
		return;
	}
	if (!cancelled && (n == -EINTR || n == -ECANCELED || (n == -EAGAIN && !r->nonblocking()))) {
		// Not its end: the ring has no way to wait for this descriptor, or was disturbed.
		answer_request(r, AIO_NOTCANCELED);
		give_to_worker(s, r);
		return;
	}
	auto *reply = static_cast<CancelReply *>(r->cancel_reply);
	bool stops = reply != nullptr && r->multishot;
	r->cancel_reply = nullptr;
	bool more = ended_by_ring(s, r, n, cancelled, stops);
	if (reply != nullptr)
		answer(reply, cancelled || stops ? AIO_CANCELED
			      : more             ? AIO_NOTCANCELED
						 : AIO_ALLDONE);
	step(s);
}

} // namespace sigevec::driver
