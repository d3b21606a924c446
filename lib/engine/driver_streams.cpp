// SPDX-License-Identifier: MIT
//
// The driver's streams: what can be started is started, one request of a stream at a time, by the ring, or by attempts that do
// not wait and epoll.
#include "engine/driver_impl.hpp"

#include "base/syscalls.hpp"
#include "completion/completion.hpp"
#include "dma/zero_copy.hpp"
#include "engine/carrier.hpp"
#include "engine/transfer.hpp"
#include "interrupt.h"
#include "request/stream.hpp"
#include "runtime/meter.hpp"
#include "runtime/program_thread.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/epoll.h>

namespace sigevec::driver {

// Starts what can be started: one request at a time.
void Driver::step(Stream *s)
{
	while (s->first != nullptr && !s->busy && !s->armed) {
		Request *r = s->first;
		if (stream::claimed(s->word))
			return; // a writer is at work within its call; it will say when it is done
		if (r->get_state() == State::cancelled) {
			drop_first(s);
			continue;
		}
		if (!start(s, r))
			return;
	}
	if (s->first == nullptr && !s->closed)
		streams_.close(s);
}

namespace {

// A connection of a multishot request needs room for its event before it is taken; without, the stream waits until there is.
bool ready_for_connection(Request *r)
{
	if (!r->multishot || r->connection != nullptr)
		return true;
	r->connection = requests::create_connection(r);
	return r->connection != nullptr;
}

void forget_connection(Request *r)
{
	requests::discard_connection(r->connection);
	r->connection = nullptr;
}

} // namespace

namespace {

// Before a stream that waits is looked at by the clock.
constexpr uint64_t millisecond = 1000000, first_pause = 5 * millisecond, longest_pause = 80 * millisecond;

// The kernel has woken the driver for what then did not go so often that there is something it goes on telling of, an error that
// is the program's to fetch.
constexpr uint8_t most_in_vain = 4;

// What waits for room on a socket does not wait in the ring. That sends an empty datagram once there is room for the whole (AF_UNIX; Linux 6.18),
// takes a peer that has shut down its writing side for a sign of room, then gives the send to a thread of the kernel's, where a cancellation does
// not find it, and swallows an error that comes after a part.
bool waits_by_readiness(const Request *r)
{
	return r->kind == Kind::socket && (r->op == Op::send || r->op == Op::write);
}

} // namespace

// Nobody wants it any more, and nothing of it has gone out. A receive that has something ends with that.
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
	if (r->done > 0 && waits_by_readiness(r) && transfer::is_broken(s->file)) {
		end_first(s, transfer::total(r, 0));
		return true;
	}
	if (!ready_for_connection(r))
		return false;
	bool connecting = r->op == Op::connect && r->polled;
	if (connecting)
		r->change(State::running, State::queued); // begun in the call: it can be cancelled now
	bool by_ring = waits_by_readiness(r) ? dma::zero_copy::possible(r) : !transfer::must_block(r) && !(r->kind == Kind::anonymous && r->op == Op::write);
	// The ring waits for data even where O_NONBLOCK says not to.
	if (!has_ring_ || connecting || !by_ring || r->nonblocking())
		return try_now(s, r);
	return start_in_ring(s, r);
}

// By a thread of its caller's. As in the ring, whether it can still be cancelled is to be asked there.
bool Driver::start_carried(Stream *s, Request *r)
{
	if (r->done == 0 && !r->change(State::queued, State::in_ring))
		return true;
	r->set(State::in_ring);
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
		r->stop.store(true, std::memory_order_release);
		if (pid_t worker = r->worker.load(std::memory_order_acquire); worker != 0)
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

bool Driver::start_in_ring(Stream *s, Request *r)
{
	if (r->done == 0 && !r->change(State::queued, State::in_ring))
		return true;
	// What cannot be read or written at all (an epoll descriptor, a pidfd, a write to a timerfd), the ring would wait for.
	if (ssize_t e = transfer::unable(r, s->file); e != 0) {
		r->set(State::running);
		end_first(s, e);
		return true;
	}
	r->set(State::in_ring);
	s->busy = true;
	r->polled = r->op == Op::poll || (r->in_program && r->op != Op::accept);
	if (r->polled)
		ring_.poll(r, s->file);
	else
		ring_.start(r, s->file);
	return false;
}

namespace {

bool ready(const Stream *s)
{
	struct pollfd p = {s->file, static_cast<short>(s->read ? POLLIN : POLLOUT), 0};
	return poll(&p, 1, 0) != 0;
}

bool listening(const Stream *s)
{
	int yes = 0;
	socklen_t n = sizeof yes;
	return getsockopt(s->file, SOL_SOCKET, SO_ACCEPTCONN, &yes, &n) == 0 && yes != 0;
}

// The attempt takes a call that may wait, though the descriptor is ready: somebody else may be quicker.
bool needs_worker(const Request *r)
{
	return r->op == Op::accept || transfer::must_block(r);
}

} // namespace

bool Driver::try_now(Stream *s, Request *r)
{
	bool begun = r->get_state() == State::running;
	if (!begun && !r->change(State::queued, State::trying))
		return true;
	ssize_t n = -EAGAIN;
	if (needs_worker(r)) {
		if (ready(s) || (r->op == Op::accept && !listening(s))) {
			give_to_worker(s, r);
			return false;
		}
	} else if (r->in_program) {
		if (ready(s))
			return give_to_program(s, r);
	} else if (r->op == Op::connect) {
		if (!r->polled) {
			begin_by_worker(s, r);
			return false;
		}
		n = transfer::end_of_connect(s->file, r->message->header);
	} else
		n = transfer::attempt(r, s->file);
	if (n == -EINTR)
		n = -EAGAIN;
	if (n == -EOPNOTSUPP && !is_socket_call(r->op)) {
		// A terminal, for one, cannot be asked without waiting; but what is ready does not wait.
		if (r->nonblocking() || ready(s)) {
			give_to_worker(s, r);
			return false;
		}
		// Whether it has to wait only the call itself says: what it refuses, it refuses at once.
		if (r->kind == Kind::anonymous && r->op == Op::write && !r->waited) {
			r->waited = r->briefly = true;
			give_to_worker(s, r);
			return false;
		}
		n = -EAGAIN;
	}
	if (n == -EAGAIN && !r->nonblocking()) {
		if (!begun)
			r->set(State::queued);
		return wait_until_ready(s, r);
	}
	transferred(s, r, n);
	return true;
}

// r is to wait for room. Not everything that ends the wait of a call is told by readiness: where it is not, the clock tells when to look.
void Driver::note_wait(Stream *s, Request *r)
{
	Clock &c = s->clock;
	r->waited = true;
	if (c.pause == 0)
		c.pause = first_pause;
	if (r->op == Op::write && r->deadline == 0)
		if (uint64_t limit = transfer::limit_of_write(s->file); limit != 0)
			r->deadline = monotonic_ns() + limit;
	c.alone = c.vain >= most_in_vain;
	uint64_t due = r->deadline;
	if (c.alone || !transfer::readiness_tells_all(s->file)) {
		uint64_t next = monotonic_ns() + c.pause;
		due = due == 0 || next < due ? next : due;
	}
	c.due = due;
	if (due != 0 && (next_look_ == 0 || due < next_look_))
		next_look_ = due;
}

void Driver::time_has_come(Stream *s, uint64_t now)
{
	Clock &c = s->clock;
	c.due = 0;
	c.alone = false;
	c.vain = 0;
	if (!s->armed || s->first == nullptr)
		return;
	Request *r = s->first;
	s->armed = false;
	c.pause = c.pause * 2 < longest_pause ? c.pause * 2 : longest_pause;
	if (r->deadline != 0 && now >= r->deadline && (r->get_state() == State::running || r->change(State::queued, State::running)))
		end_first(s, transfer::total(r, -EAGAIN));
	step(s);
}

// To look takes a hundredth of a processor at most.
void Driver::look_by_clock()
{
	uint64_t now = next_look_ != 0 ? monotonic_ns() : 0;
	if (now < next_look_ || next_look_ == 0)
		return;
	next_look_ = 0;
	streams_.each([this, now](Stream *s) {
		if (s->clock.due != 0 && s->clock.due <= now)
			time_has_come(s, now);
		else if (s->clock.due != 0 && (next_look_ == 0 || s->clock.due < next_look_))
			next_look_ = s->clock.due;
	});
	uint64_t end = monotonic_ns(), earliest = end + 100 * (end - now);
	if (next_look_ != 0 && next_look_ < earliest)
		next_look_ = earliest;
}

// The epoll instance, which a driver with a ring makes when something has to wait with it. False: there is none.
bool Driver::make_epoll()
{
	if (epoll_ < 0 && (epoll_ = epoll_create1(EPOLL_CLOEXEC)) >= 0)
		streams_.set_epoll(epoll_);
	return epoll_ >= 0;
}

// False: r waits. It is queued, or has begun.
bool Driver::wait_until_ready(Stream *s, Request *r)
{
	forget_connection(r);
	if (waits_by_readiness(r))
		note_wait(s, r);
	if (!has_ring_ || (waits_by_readiness(r) && make_epoll())) {
		arm(s);
		return false;
	}
	if (r->get_state() == State::queued && !r->change(State::queued, State::in_ring))
		return true;
	r->set(State::in_ring);
	s->busy = true;
	r->polled = true;
	ring_.poll(r, s->file);
	return false;
}

// True: r goes on.
bool Driver::transferred(Stream *s, Request *r, ssize_t n)
{
	if (r->op == Op::accept && n >= 0)
		return accepted(s, r, static_cast<int>(n));
	bool more = transfer::advance(r, n);
	s->clock.vain = 0;
	s->clock.pause = first_pause;
	if (more && r->deadline != 0 && transfer::limit_of_each_part(s->file))
		r->deadline = 0;
	if (more)
		r->set(State::running);
	else
		end_first(s, transfer::total(r, n));
	return more;
}

// As in the ring, whether it can still be cancelled is to be asked here, if nothing of it has been done.
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
	helper::job_from_inside(helper_, r);
}

// A connect, which waits for a moment even if it is only to begin.
void Driver::begin_by_worker(Stream *s, Request *r)
{
	// Whoever wants to cancel it meanwhile waits, too.
	r->set(transfer::begins_briefly(r->message->header) ? State::trying : State::in_ring);
	pass_to_worker(s, r);
}

// True: r is not the first any more.
bool Driver::give_to_program(Stream *s, Request *r)
{
	r->set(State::running);
	s->busy = true;
	if (program_thread::give(What::call, r, s->file))
		return false;
	s->busy = false;
	end_first(s, -ENOBUFS);
	return true;
}

// A worker or the program's thread has tried it.
void Driver::returned(Stream *s, Request *r)
{
	if (r->carrier != nullptr) {
		carried(s, r);
		return;
	}
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
	bool briefly = r->briefly;
	r->by_worker = r->briefly = false;
	r->stop.store(false, std::memory_order_relaxed);
	r->polled = r->op == Op::connect && r->result == -EINPROGRESS;
	bool again = r->polled || ((r->result == -EAGAIN || r->result == -EINTR) && !r->nonblocking() && (briefly || r->kind == Kind::socket));
	if (r->result == -ECANCELED || (again && !wanted && r->done == 0)) {
		r->set(State::running);
		end_first(s, -ECANCELED);
		return AIO_CANCELED;
	}
	if (again) {
		if (r->done == 0)
			r->set(State::queued);
		wait_until_ready(s, r);
		return AIO_NOTCANCELED;
	}
	if (r->in_program || (r->op == Op::accept && r->result >= 0))
		return transferred(s, r, r->result) ? AIO_NOTCANCELED : AIO_ALLDONE; // one attempt
	r->set(State::running);
	end_first(s, r->result); // the whole
	return AIO_ALLDONE;
}

// The new descriptor is given its number in the program's table, and with that the request, or the connection of a multishot
// one, has ended. True: r goes on.
bool Driver::accepted(Stream *s, Request *r, int fd)
{
	// Not read again below: the program's thread may have ended r by then.
	bool goes_on = r->multishot;
	Request *ends = goes_on ? r->connection : r;
	r->connection = nullptr;
	if (goes_on)
		r->set(State::queued);
	else {
		// It is not in the ring any more: who cancels it now is not to ask there, for it would never be found.
		r->set(State::running);
		take_first(s);
	}
	meter::done_by(ends, has_ring_ ? meter::By::uring : meter::By::threads);
	if (!program_thread::give(What::install, ends, fd)) {
		sys::close(fd);
		completion::finish(ends, -ENOBUFS);
	}
	return goes_on;
}

namespace {

// What is waited for: the words of poll and epoll are the same. Errors are told of in any case.
uint32_t readiness(const Stream *s)
{
	constexpr uint32_t always = EPOLLERR | EPOLLHUP;
	const Request *r = s->first;
	if (r->op == Op::poll)
		return (static_cast<uint32_t>(r->call_flags) & 0xffff) | always;
	return always | (s->read ? EPOLLIN | EPOLLRDHUP : EPOLLOUT);
}

} // namespace

// One registration serves all streams of a file: what it has been told to tell, it tells once.
bool Driver::watch(OpenFile *o, uint32_t events)
{
	struct epoll_event e = {};
	e.events = events | EPOLLONESHOT;
	e.data.ptr = o;
	if (epoll_ctl(epoll_, EPOLL_CTL_MOD, o->file, &e) != 0 && epoll_ctl(epoll_, EPOLL_CTL_ADD, o->file, &e) != 0)
		return false;
	o->told = events;
	return true;
}

void Driver::arm(Stream *s)
{
	s->armed = true;
	if (s->clock.alone)
		return;
	uint32_t all = s->open->told | readiness(s);
	if (all != s->open->told && !watch(s->open, all)) {
		// It cannot be waited for, so it never has to be: a worker asks it.
		s->armed = false;
		if (s->first->get_state() == State::running || s->first->change(State::queued, State::running))
			give_to_worker(s, s->first);
	}
}

void Driver::file_is_ready(OpenFile *o, uint32_t events)
{
	o->told = 0;
	streams_.keep(o);
	for (Stream *s = o->streams; s != nullptr;) {
		Stream *next = s->sibling;
		if (s->armed && !s->clock.alone && (readiness(s) & events) != 0) {
			s->armed = false;
			if (waits_by_readiness(s->first))
				s->clock.vain++;
			step(s);
		}
		s = next;
	}
	uint32_t rest = o->told;
	for (Stream *s = o->streams; s != nullptr; s = s->sibling)
		if (s->armed && !s->clock.alone)
			rest |= readiness(s);
	if (rest != o->told)
		watch(o, rest);
	streams_.let_go(o);
}

void Driver::drop_first(Stream *s)
{
	Request *r = pop(s);
	s->clock = {};
	forget_connection(r);
	stream::leave(s->word);
	requests::release(r);
}

Request *Driver::take_first(Stream *s)
{
	Request *r = pop(s);
	s->clock = {};
	uint32_t word = s->word;
	// The file is closed before the last end is told: who then looks finds it released.
	if (s->first == nullptr)
		streams_.close(s);
	stream::leave(word);
	return r;
}

void Driver::end_first(Stream *s, ssize_t result)
{
	Request *r = take_first(s);
	forget_connection(r);
	meter::done_by(r, has_ring_ ? meter::By::uring : meter::By::threads);
	completion::finish(r, result);
}

// What the ring says of r, which is the first of s. True: r goes on.
bool Driver::ended_by_ring(Stream *s, Request *r, ssize_t n, bool cancelled, bool stops)
{
	if (cancelled) {
		end_first(s, -ECANCELED);
		return false;
	}
	// The kernel has waited for all itself: a short receive is the end.
	if (r->op == Op::recv && n > 0) {
		r->done += static_cast<size_t>(n);
		end_first(s, static_cast<ssize_t>(r->done));
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
	if (!cancelled && r->polled && r->op != Op::poll && n >= 0) {
		r->polled = false;
		answer_request(r, AIO_NOTCANCELED);
		if (ready_for_connection(r)) {
			r->polled = r->op == Op::connect; // that has begun
			r->set(State::running);
			try_now(s, r);
		} else
			r->set(State::queued);
		step(s);
		return;
	}
	if (!cancelled && n == -EAGAIN && waits_by_readiness(r)) {
		answer_request(r, AIO_NOTCANCELED);
		r->set(r->done == 0 ? State::queued : State::running);
		if (wait_until_ready(s, r))
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
		answer(reply, cancelled || stops ? AIO_CANCELED : more ? AIO_NOTCANCELED : AIO_ALLDONE);
	step(s);
}

} // namespace sigevec::driver
