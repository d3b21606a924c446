// SPDX-License-Identifier: MIT
//
// How the driver's streams wait: between attempts, in an epoll instance that tells of changes, and
// of each only once. A descriptor that is said to be ready and has nothing for the request (the
// other side has closed, an error lies in the error queue) is not looked at again before something
// changes.
//
// Why no change is missed: the instance is told of the descriptor, or looks at it anew, after an
// attempt in vain; what it has told while the stream was busy with an attempt elsewhere is noted,
// and leads to another one.
#include "engine/driver_impl.hpp"

#include "base/syscalls.hpp"
#include "completion/completion.hpp"
#include "dma/zero_copy.hpp"
#include "engine/receive.hpp"
#include "engine/transfer.hpp"

#include <climits>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>

namespace sigevec::driver {

namespace {

// Before a stream that waits is looked at by the clock.
constexpr uint64_t millisecond = 1000000, first_pause = 5 * millisecond,
		   longest_pause = 80 * millisecond;

// The kernel has woken the driver for what then did not go so often that there is something it goes
// on telling of, an error that is the program's to fetch.
constexpr uint8_t most_in_vain = 4;

// What is waited for: the words of poll and epoll are the same. Errors are told of in any case.
uint32_t readiness(const Stream *s)
{
	constexpr uint32_t always = EPOLLERR | EPOLLHUP;
	const Request *r = s->requests.first();
	if (r->op == Op::poll)
		return (static_cast<uint32_t>(r->call_flags) & 0xffff) | always;
	return always | (s->read ? EPOLLIN | EPOLLPRI | EPOLLRDHUP : EPOLLOUT);
}

bool has_data(const Stream *s)
{
	struct pollfd p = {s->file, POLLIN, 0};
	return s->requests.first()->op != Op::poll && sys::poll_now(&p) > 0 &&
	       (p.revents & POLLIN) != 0;
}

} // namespace

// What waits for room on a socket does not wait in the ring. That sends an empty datagram once
// there is room for the whole (AF_UNIX; Linux 6.18), takes a peer that has shut down its writing
// side for a sign of room, then gives the send to a thread of the kernel's, where a cancellation
// does not find it, and swallows an error that comes after a part.
bool Driver::waits_by_readiness(const Request *r)
{
	return r->kind == Kind::socket && (r->op == Op::send || r->op == Op::write);
}

bool Driver::differs_in_ring(const Request *r, int file)
{
	if (waits_by_readiness(r))
		return !dma::zero_copy::possible(r) || r->nonblocking();
	// The ring reports more than poll does, accepts without a number for the connection, waits
	// for data even where O_NONBLOCK says not to, and does not where an O_NONBLOCK socket's is
	// to be waited for.
	bool nonblocking_socket = r->op == Op::recv && (r->flags & O_NONBLOCK) != 0;
	// What it cannot ask without waiting it waits for by poll, which may never say so.
	bool doubtful = !is_socket_call(r->op) && r->kind >= Kind::device;
	return r->waited || doubtful || r->op == Op::poll || r->in_program != nullptr ||
	       r->nonblocking() || nonblocking_socket || transfer::must_block(r) ||
	       transfer::waits_its_own_way(r, file);
}

bool Driver::has_epoll()
{
	if (epoll_ >= 0)
		return true;
	epoll_ = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_ < 0)
		return false;
	streams_.set_epoll(epoll_);
	ring_.watch(epoll_);
	return true;
}

// One registration serves all streams of a file. 0 or an errno.
int Driver::watch(OpenFile *o, uint32_t events)
{
	struct epoll_event e = {};
	e.events = events | EPOLLET;
	e.data.u64 = o->mark;
	if (!has_epoll() || (epoll_ctl(epoll_, EPOLL_CTL_MOD, o->file, &e) != 0 &&
			     epoll_ctl(epoll_, EPOLL_CTL_ADD, o->file, &e) != 0))
		return errno;
	o->reported = events;
	return 0;
}

// True: r, which has found nothing, is to be tried again, or has ended. False: it waits; it is
// queued, or has begun.
bool Driver::wait_until_ready(Stream *s, Request *r)
{
	forget_connection(r);
	note_wait(s, r);
	if (r->done > 0 && r->is_read())
		r->set(State::in_ring);
	end_all_behind(s);
	return arm(s);
}

bool Driver::arm(Stream *s)
{
	if (s->missed) {
		s->missed = false;
		return true;
	}
	s->armed = true;
	if (s->clock.alone)
		return false;
	uint32_t all = s->open->reported | readiness(s);
	// What an AF_UNIX socket waits for when it sends changes with each look.
	bool asks = all != s->open->reported || !s->read;
	int error = asks ? watch(s->open, all) : 0;
	// What has been told of is not told of again, so an attempt that came back for another
	// reason than that there is nothing is not the last one.
	if (!asks && has_data(s))
		look_soon(s);
	return error != 0 && cannot_watch(s, error);
}

// What is not told of is looked at by the clock.
void Driver::look_soon(Stream *s)
{
	Clock &c = s->clock;
	if (c.pause == 0)
		c.pause = millisecond;
	uint64_t next = monotonic_ns() + c.pause;
	if (c.due == 0 || next < c.due)
		c.due = next;
	if (next_look_ == 0 || c.due < next_look_)
		next_look_ = c.due;
}

// As arm().
bool Driver::cannot_watch(Stream *s, int error)
{
	Request *r = s->requests.first();
	// What has no readiness has all of it: poll() waits for ever for what is no part of that.
	if (r->op == Op::poll && error == EPERM)
		return false;
	s->armed = false;
	// The kernel has no memory for it, or the user may watch no more.
	if (error != EPERM) {
		s->armed = true;
		look_soon(s);
		return false;
	}
	// It cannot be waited for, so it never has to be: a worker asks it.
	State now = r->get_state();
	r->may_wait = true;
	if (now == State::running || now == State::in_ring ||
	    r->change(State::queued, State::running))
		give_to_worker(s, r);
	return false;
}

void Driver::file_is_ready(OpenFile *o, uint32_t events)
{
	streams_.keep(o);
	bool wanted = false;
	for (Stream *s = o->streams.first(); s != nullptr;) {
		Stream *next = SiblingList::after(s);
		bool has_event = !s->clock.alone && (readiness(s) & events) != 0;
		wanted = wanted || has_event;
		if (has_event && s->armed) {
			s->armed = false;
			if (waits_by_readiness(s->requests.first()))
				s->clock.vain++;
			step(s);
		} else if (has_event)
			s->missed = true;
		s = next;
	}
	uint32_t still = 0;
	for (Stream *s = o->streams.first(); s != nullptr && !wanted; s = SiblingList::after(s))
		still |= s->clock.alone ? 0 : readiness(s);
	if (!wanted && still != 0 && still != o->reported)
		watch(o, still); // what nobody waits for any more
	streams_.let_go(o);
}

// Somebody else has the instance, and has changed what it says; or it has told of a file that has
// been closed since.
void Driver::watch_again()
{
	streams_.each([](Stream *s) { s->open->reported = 0; });
	streams_.each([this](Stream *s) {
		if (s->armed && s->requests.first() != nullptr) {
			s->armed = false;
			step(s);
		}
	});
}

void Driver::take_ready(int ms)
{
	constexpr timespec moment{0, 10000000};
	struct epoll_event v[64];
	int n = sys::epoll_wait(epoll_, v, 64, ms);
	int error = n < 0 ? errno : 0;
	helper_->wakeup.does_not_sleep();
	// The ring tells but once that there is something. Without a ring the clock goes on, and no
	// faster.
	if (n < 0) {
		streams_.each([this](Stream *s) {
			if (s->armed && s->requests.first() != nullptr)
				look_soon(s);
		});
		if (error != EINTR && ms != 0)
			nanosleep(&moment, nullptr);
	}
	for (; n > 0; n = n == 64 ? sys::epoll_wait(epoll_, v, 64, 0) : 0)
		for (int i = 0; i < n; i++)
			if (OpenFile *o = streams_.find_marked(v[i].data.u64))
				file_is_ready(o, v[i].events);
			else if (v[i].data.u64 != 0 && !helper_->private_table())
				watch_again();
}

// ---- by the clock ----

// r is about to wait for the first time.
void Driver::limit_time(Request *r, int64_t limit)
{
	if (limit >= 0)
		r->deadline = monotonic_ns() + static_cast<uint64_t>(limit);
}

bool Driver::time_is_up(const Request *r)
{
	return r->deadline != 0 && monotonic_ns() >= r->deadline;
}

void Driver::note_wait(Stream *s, Request *r)
{
	r->waited = true;
	if (waits_by_readiness(r))
		note_wait_for_room(s, r);
	else
		s->clock.due = r->deadline;
	uint64_t due = s->clock.due;
	if (due != 0 && (next_look_ == 0 || due < next_look_))
		next_look_ = due;
}

// Not everything that ends the wait of a call is told by readiness: where it is not, the clock
// tells when to look.
void Driver::note_wait_for_room(Stream *s, Request *r)
{
	Clock &c = s->clock;
	if (c.pause == 0)
		c.pause = first_pause;
	if (r->op == Op::write && r->deadline == 0)
		if (uint64_t limit = transfer::limit_of_write(s->file); limit != 0)
			r->deadline = monotonic_ns() + limit;
	c.alone = c.vain >= most_in_vain;
	uint64_t due = r->deadline;
	if (c.alone || !transfer::readiness_suffices(s->file)) {
		uint64_t next = monotonic_ns() + c.pause;
		due = due == 0 || next < due ? next : due;
	}
	c.due = due;
}

void Driver::time_has_come(Stream *s, uint64_t now)
{
	Clock &c = s->clock;
	c.due = 0;
	c.alone = false;
	c.vain = 0;
	if (!s->armed || s->requests.first() == nullptr)
		return;
	Request *r = s->requests.first();
	s->armed = false;
	c.pause = c.pause * 2 < longest_pause ? c.pause * 2 : longest_pause;
	if (!r->is_read() && r->deadline != 0 && now >= r->deadline &&
	    (r->get_state() == State::running || r->change(State::queued, State::running)))
		end_first(s, transfer::total(r, -EAGAIN));
	step(s); // which tries a read once more
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

} // namespace sigevec::driver
