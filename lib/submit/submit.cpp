// SPDX-License-Identifier: MIT
#include "submit/submit_impl.hpp"

#include "aiocb.hpp"
#include "base/descriptor.hpp"
#include "base/memory_order.hpp"
#include "base/shortage.hpp"
#include "base/syscalls.hpp"
#include "channel/wakeup.hpp"
#include "completion/completion.hpp"
#include "dma/request.hpp"
#include "engine/alone.hpp"
#include "engine/carrier.hpp"
#include "engine/guess.hpp"
#include "engine/known_sockets.hpp"
#include "engine/program_thread.hpp"
#include "engine/receive.hpp"
#include "engine/select.hpp"
#include "engine/to_helper.hpp"
#include "engine/transfer.hpp"
#include "notify/batch.hpp"
#include "notify/notifier.hpp"
#include "request/index.hpp"
#include "request/message.hpp"
#include "request/stats_detail.hpp"
#include "request/stream.hpp"
#include "runtime/helper.hpp"
#include "runtime/probes.hpp"
#include "runtime/process.hpp"

#include <climits>
#include <fcntl.h>

namespace sigevec::submit {

int refuse(const Call &c, int error)
{
	stats::count(stats::refused);
	if (c.event.channel != nullptr)
		channel::return_credit(c.event.channel);
	if (c.dma) {
		dma::Use use = c.dma;
		dma::ended(use, nullptr, -error);
	}
	if (c.cb == nullptr)
		return error;
	aiocb_layout::result(c.cb).store(-1, mo::relaxed);
	aiocb_layout::status(c.cb).store(error, mo::release);
	return error;
}

void note_submitted(Call &c)
{
	stats::count(stats::requests);
	c.begun = stats_detail::begin(stats_detail::in_call);
	stats_detail::submitted(c);
	SIGEVEC_PROBE4(submit, c.cb, static_cast<int>(c.op), c.fd, c.len);
}

void note_request(const Call &c, Request *r)
{
	requests::index::add(r);
	if (c.cb != nullptr)
		aiocb_layout::request(c.cb).store(r->index, mo::relaxed);
}

int unknown(int error)
{
	return error == EBADF ? EBADF : EAGAIN;
}

int prepare_event(Event &e)
{
	if (e.notify == SIGEV_THREAD)
		notifier::admit();
	return e.notify == SIGEV_EC ? channel::admit(e.signo, &e.channel) : 0;
}

int ended(const Call &c, Kind kind, stats_detail::By engine, Request *r, ssize_t result)
{
	if (r != nullptr && r->message != nullptr && result >= 0) {
		r->message->header.msg_namelen = c.message->msg_namelen;
		r->message->header.msg_controllen = c.message->msg_controllen;
		r->message->header.msg_flags = c.message->msg_flags;
		if (c.op == Op::recv)
			message::note_received(r->message);
	}
	if (r != nullptr) {
		r->engine.store(engine, mo::relaxed);
		completion::finish(r, result);
	} else {
		SIGEVEC_PROBE4(complete, c.cb, static_cast<int>(c.op), result,
			       static_cast<int>(engine));
		stats_detail::ended_in_call(c, kind, engine, result);
		completion::finish_call(c, result);
	}
	return 0;
}

namespace {

using stats_detail::By;

// A write of which `out' bytes went out within the call, or out < 0: none. 0 or -errno.
int hand_over(Request *r, ssize_t out)
{
	if (!r->on_stream())
		return select::submit(r);
	uint32_t word = r->stream_word();
	if (out >= 0) {
		r->front = true;
		r->done = static_cast<size_t>(out);
	}
	stream::enter(word);
	int e = select::submit(r);
	if (e == 0)
		return 0;
	alone::leave_stream(word);
	if (out >= 0 && stream::give_up_claim(word))
		helper::look_at_streams();
	return e;
}

// It cannot be handed over.
int not_queued(const Call &c, const Descriptor &d, Request *r, ssize_t out, int error)
{
	// Bytes that are out cannot be taken back: the request ends short, as a write that was
	// interrupted does.
	if (out > 0)
		return ended(c, d.kind, By::inline_, r, out);
	return r == nullptr || requests::abandon(r) ? refuse(c, error) : 0;
}

// accept(2) looks for a number first, and with the program's table full says so: 0, or -errno.
int look_for_free_number(int fd)
{
	int copy = sys::duplicate(fd, 0);
	if (copy < 0)
		return -shortage(errno, EMFILE);
	sys::close(copy);
	return 0;
}

// What must be there before r is handed over. 0; an errno of the call; or -errno, with which r is
// to end.
int prepare_transfer(const Call &c, const Descriptor &d, Request *r, ssize_t out)
{
	note_request(c, r);
	stats_detail::handed_over(r);
	if (c.event.channel != nullptr && !wakeup::install(c.event.channel))
		return EAGAIN;
	if (int e = c.op == Op::accept ? look_for_free_number(c.fd) : 0; e < 0)
		return e;
	if (carrier::needed(c, d, out)) {
		int e = carrier::attach(r);
		return e == -EAGAIN ? EAGAIN : e;
	}
	return transfer::makes_descriptors(c, d) && !program_thread::take(r) ? EAGAIN : 0;
}

// The helper's table is full, and no carrier may take descriptors that come; but what is there is
// received without.
bool received_at_once(const Call &c, const Descriptor &d, ssize_t *result)
{
	return c.op == Op::recv && transfer::makes_descriptors(c, d) &&
	       engines::inline_.attempt(c, d, result);
}

// out: what the attempt within the call has left (engine.hpp).
int queue_transfer(const Call &c, const Descriptor &d, Request *r, ssize_t out)
{
	helper::Undisturbed start;
	guess::handed_over(c);
	if (r == nullptr)
		r = requests::create(c, d);
	int error = r != nullptr ? prepare_transfer(c, d, r, out) : EAGAIN;
	if (error == 0) {
		r->polled = c.op == Op::connect && out >= 0;
		r->waited = out == -EAGAIN;
		error = -hand_over(r, out);
		if (error == 0)
			return 0;
	} else if (out >= 0 && stream::give_up_claim(stream::word_of({d.dev, d.ino, false})))
		helper::look_at_streams();
	ssize_t result;
	if (r != nullptr && error == EAGAIN && received_at_once(c, d, &result))
		return ended(c, d.kind, By::inline_, r, result);
	return error < 0 ? ended(c, d.kind, By::none, r, error) : not_queued(c, d, r, out, error);
}

// A receive that the socket's association serves.
int queue_on_association(const Call &c, const Descriptor &d, Request *r)
{
	if (r == nullptr && (r = requests::create(c, d)) == nullptr)
		return refuse(c, EAGAIN);
	note_request(c, r);
	stats_detail::handed_over(r);
	int error = dma::enqueue(r);
	if (error == EAGAIN) // what it would wait with is short
		return not_queued(c, d, r, -1, error);
	return error == 0 ? 0 : ended(c, d.kind, By::none, r, -error);
}

// cold: it has been tried as a read of a file that is in the cache.
int start_transfer(const Call &c, const Descriptor &d, Request *r, bool cold)
{
	if (c.dma.kind == dma::Use::Kind::wait)
		return queue_on_association(c, d, r);
	ssize_t result = -1;
	// A name is resolved in the call if anything can be done in it, and a connection begun.
	bool at_once = is_beside_the_stream(c, d) || (select::inline_allowed() && !cold) ||
		       carrier::names_unix(c) || c.op == Op::connect;
	if (at_once && engines::inline_.attempt(c, d, &result))
		return ended(c, d.kind, By::inline_, r, result);
	return queue_transfer(c, d, r, result);
}

} // namespace

int start(Call &c)
{
	if (!process::ensure())
		return refuse(c, EAGAIN);
	if (requests::full())
		return refuse(c, EAGAIN);
	if (int e = prepare_event(c.event); e != 0)
		return refuse(c, e);
	return start_with_credit(c);
}

namespace {

// What a look says of a call that cannot be begun: -errno, or 0.
ssize_t impossible(const Call &c, bool open, const Descriptor &d)
{
	if (!open || (d.flags & O_PATH) != 0)
		return -EBADF;
	if (is_socket_call(c.op) && d.kind != Kind::socket)
		return -ENOTSOCK;
	return transfer::impossible_length(c, d.flags);
}

// After a look, and an attempt by what had been remembered.
int start_known(const Call &c, const Descriptor &d, Request *r, const guess::Attempt &before)
{
	bool tried = before.answer == guess::Answer::doubt;
	// A device has no offset to read the same again from.
	if (tried && before.result > 0 && is_stream(d.kind))
		return ended(c, d.kind, By::inline_, r, before.result);
	bool cold = tried && !is_stream(d.kind) &&
		    (before.result == -EAGAIN || before.result == -EOPNOTSUPP ||
		     (before.result > 0 && c.offset + before.result < d.size));
	if (c.op == Op::read || c.op == Op::write)
		guess::remember(d);
	return start_transfer(c, d, r, cold);
}

// A send or receive that the attempt on the socket s has not ended; out: what it has left
// (engine.hpp). The number may be another file's by now: then what is out is all.
int go_on_with_socket(const Call &c, const Descriptor &s, Request *r, ssize_t out)
{
	Descriptor d{};
	bool open = transfer::describe(c.fd, &d);
	bool known = open || unknown(errno) == EBADF;
	if (open && r != nullptr)
		requests::set_file(r, d);
	if (open && d.dev == s.dev && d.ino == s.ino)
		return queue_transfer(c, d, r, out);
	if (out >= 0 && stream::give_up_claim(stream::word_of({s.dev, s.ino, false})))
		helper::look_at_streams();
	if (out > 0)
		return ended(c, s.kind, By::inline_, r, out);
	if (!known)
		return not_queued(c, d, r, -1, EAGAIN);
	if (ssize_t e = impossible(c, open, d); e != 0)
		return ended(c, d.kind, By::none, r, e);
	return start_transfer(c, d, r, false);
}

// Nothing but its socket counts, and it may end within the call.
bool may_end_on_socket(const Call &c)
{
	return (c.op == Op::send || c.op == Op::recv) && c.len <= SSIZE_MAX &&
	       c.dma.kind != dma::Use::Kind::wait && select::inline_allowed();
}

int start_on_socket(const Call &c, const Descriptor &s)
{
	Request *r = nullptr;
	if (c.event.needs_memory() && (r = requests::create(c, s)) == nullptr)
		return refuse(c, EAGAIN);
	ssize_t result = -1;
	if (engines::inline_.attempt(c, s, &result))
		return ended(c, s.kind, By::inline_, r, result);
	return go_on_with_socket(c, s, r, result);
}

} // namespace

int start_with_credit(Call &c)
{
	note_submitted(c);
	if (c.op == Op::recv && (c.call_flags & MSG_WAITALL) != 0)
		c.call_flags = transfer::flags_that_count(c.fd, c.call_flags);
	completion::begin(c.cb);
	if (c.dma.remote)
		return send_elsewhere(c);
	guess::Attempt a;
	if (select::inline_allowed()) {
		c.beside = guess::beside(c);
		a = guess::attempt(c);
	}
	if (a.answer == guess::Answer::ended)
		return ended(c, a.kind, By::inline_, nullptr, a.result);

	Descriptor d{};
	uint64_t cookie = 0;
	if (may_end_on_socket(c) && known_sockets::find(c.fd, &d, &cookie))
		return start_on_socket(c, d);
	bool open = transfer::describe(c.fd, &d);
	if (!open && unknown(errno) != EBADF)
		return refuse(c, EAGAIN);
	Request *r = nullptr;
	// Whoever completes it may not be able to allocate.
	if (c.event.needs_memory() && (r = requests::create(c, d)) == nullptr)
		return refuse(c, EAGAIN);
	if (ssize_t e = impossible(c, open, d); e != 0)
		return ended(c, d.kind, By::none, r, e);
	if (cookie != 0)
		known_sockets::remember(d, cookie);
	return start_known(c, d, r, a);
}

bool attempt(Call &c, const Descriptor &d)
{
	note_submitted(c);
	ssize_t result = -1;
	if (!select::inline_allowed() || !engines::inline_.attempt(c, d, &result))
		return false;
	ended(c, d.kind, By::inline_, nullptr, result);
	return true;
}

int start_described(Call &c, const Descriptor &d, bool tried)
{
	if (!tried) {
		note_submitted(c);
	}
	return start_transfer(c, d, nullptr, tried);
}

int park(Call &c, const Descriptor &d, Request **r)
{
	note_submitted(c);
	*r = requests::create(c, d);
	int error = *r != nullptr ? prepare_transfer(c, d, *r, -1) : EAGAIN;
	if (error == 0) {
		int file = helper::hold(c.fd);
		(*r)->file = file;
		error = file >= 0 ? 0 : file == -EBADF ? EBADF : EAGAIN;
	}
	if (error == 0)
		return 0;
	if (*r != nullptr)
		requests::abandon(*r);
	return error < 0 ? -error : error;
}

void begin_parked(Request *r)
{
	helper::job_from_inside(helper::running(), r);
}

int event(const Call &c, ssize_t result)
{
	Request *r = requests::create(c, Descriptor{});
	if (r == nullptr)
		return EAGAIN;
	r->result = result;
	// Nothing is to be carried out: only the event's own reference is left.
	requests::release(r);
	channel::push(r->notification);
	return 0;
}

} // namespace sigevec::submit
