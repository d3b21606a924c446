// SPDX-License-Identifier: MIT
#include "engine/alone.hpp"

#include "base/memory_order.hpp"
#include "base/same_file.hpp"
#include "base/sync.hpp"
#include "completion/completion.hpp"
#include "engine/carrier_impl.hpp"
#include "engine/filequeue.hpp"
#include "engine/to_helper.hpp"
#include "engine/transfer.hpp"
#include "request/stream.hpp"
#include "runtime/helper.hpp"

#include <aio.h>
#include <cerrno>
#include <climits>
#include <fcntl.h>

namespace sigevec::alone {

namespace {

using helper::CancelReply;

Mutex lock;

Links<OwnThread> &links_of(OwnThread *c)
{
	return c->turn;
}

List<OwnThread, links_of> turns; // in their order
std::atomic<uint32_t> count{0};

// A copy of the table is no place for descriptors that come.
bool possible(const Request *r)
{
	return !r->in_program && r->op != Op::event;
}

// ---- whose turn it is; with `lock' held

bool appends(const Request *r)
{
	return r->op == Op::write && !r->on_stream() && (r->flags & O_APPEND) != 0;
}

// Whether the two are of one order if their file is the same.
bool alike(const Request *a, const Request *b)
{
	if (a->has_no_turn() || b->has_no_turn())
		return false;
	bool in_order = a->on_stream() ? b->on_stream() && a->is_read() == b->is_read()
				       : appends(a) && appends(b);
	return in_order && a->ino.load(mo::relaxed) == b->ino.load(mo::relaxed) &&
	       a->dev.load(mo::relaxed) == b->dev.load(mo::relaxed);
}

bool stands_before(const OwnThread *a, const OwnThread *b)
{
	return alike(a->request, b->request) &&
	       same_file(a->thread.load(mo::relaxed), a->file, b->thread.load(mo::relaxed),
			 b->file) != Same::no;
}

unsigned here(uint32_t word)
{
	unsigned n = 0;
	for (const OwnThread *o = turns.first(); o != nullptr; o = turns.after(o))
		n += o->request->on_stream() && o->request->stream_word() == word;
	return n;
}

bool may_begin(const OwnThread *c)
{
	const Request *r = c->request;
	if (!r->is_sync() && r->has_no_turn())
		return true;
	if (r->is_sync())
		return r->waits_for.load(mo::acquire) == 0;
	// The rest of a write that has begun within its call comes before all others. Whatever else
	// the driver has of the stream was before this: what comes after it is here.
	if (r->on_stream() && !r->front &&
	    (stream::claimed(r->stream_word()) ||
	     stream::entered(r->stream_word()) != here(r->stream_word())))
		return false;
	for (const OwnThread *o = turns.first(); o != c; o = turns.after(o))
		if (stands_before(o, c))
			return false;
	return true;
}

// What is in a file queue of the same open file is joined there without a descriptor, if files can
// be compared.
bool may_overtake(const OwnThread *c)
{
	const Request *r = c->request;
	pid_t thread = c->thread.load(mo::relaxed);
	return appends(r) && same_file(thread, c->file, thread, c->file) != Same::yes &&
	       !filequeue::empty(r->dev.load(mo::relaxed), r->ino.load(mo::relaxed));
}

void add(OwnThread *c, bool in_front)
{
	if (in_front)
		turns.push_front(c);
	else
		turns.push(c);
	count.fetch_add(1, mo::seq_cst);
}

void take_out(OwnThread *c)
{
	turns.remove(c);
	count.fetch_sub(1, mo::relaxed);
}

// ---- the thread

bool is_cancelled(const Request *r)
{
	return r->get_state() == State::cancelled;
}

void wait_for_turn(const OwnThread *c)
{
	for (;;) {
		EventCount::Key key = helper::order_changes.key();
		{
			Guard<Mutex> g(lock);
			if (is_cancelled(c->request) || may_begin(c))
				return;
		}
		helper::order_changes.sleep(key, nullptr);
	}
}

ssize_t carry_out(OwnThread *c, Request *r)
{
	if (r->op == Op::connect) {
		ssize_t n = r->polled ? -EINPROGRESS : carrier::carry_out(c, r);
		return n == -EINPROGRESS ? carrier::end_connect(c, r) : n;
	}
	// Only of a write does the kernel ask who makes it.
	bool as_caller = r->op == Op::write && !c->settled;
	return as_caller || is_socket_call(r->op) || r->op == Op::poll
		       ? carrier::carry_out(c, r)
		       : transfer::blocking(r, c->file);
}

// Whoever asks from now on hears of the state. Those who have asked.
CancelReply *leave(OwnThread *c, bool mine)
{
	Guard<Mutex> g(lock);
	if (mine)
		c->request->set(State::running);
	take_out(c);
	return c->asked;
}

void answer(CancelReply *asked, int a)
{
	while (asked != nullptr) {
		CancelReply *next = asked->next;
		asked->give(1 + static_cast<uint32_t>(a));
		asked = next;
	}
}

void end(Request *r, bool mine, ssize_t result)
{
	if (r->on_stream())
		stream::leave(r->stream_word());
	completion::finish_by_thread(r, mine, result);
}

} // namespace

void run(OwnThread *c)
{
	Request *r = c->request;
	wait_for_turn(c);
	// A wait for data or room can be cancelled as long as nothing of it has been done.
	State now = r->on_stream() && r->done == 0 ? State::in_ring : State::running;
	bool mine = r->get_state() == State::running || r->change(State::queued, now);
	// What the call has begun of a connect is no part of it.
	if (mine && r->op == Op::connect)
		r->set(now);
	ssize_t result = mine ? carry_out(c, r) : -ECANCELED;
	carrier::close_files(c);
	CancelReply *asked = leave(c, mine);
	end(r, mine, result);
	helper::order_changes.notify(INT_MAX);
	answer(asked, result == -ECANCELED ? AIO_CANCELED : AIO_ALLDONE);
}

// ---- from the program's threads

bool any()
{
	return count.load(mo::seq_cst) != 0;
}

void leave_stream(uint32_t word)
{
	stream::leave(word);
	if (any())
		helper::order_changes.notify(INT_MAX);
}

bool stands_behind(const Request *r)
{
	if (!any())
		return false;
	BlockSignals blocked;
	Guard<Mutex> g(lock);
	const OwnThread *o = turns.first();
	while (o != nullptr && !alike(o->request, r))
		o = turns.after(o);
	return o != nullptr;
}

int submit(Request *r)
{
	BlockSignals blocked;
	bool attached = possible(r) && (r->carrier != nullptr || carrier::attach(r) == 0);
	if (!attached)
		return -EAGAIN;
	Guard<Mutex> g(lock);
	auto *c = static_cast<OwnThread *>(r->carrier);
	if (may_overtake(c)) {
		carrier::let_go(r);
		return -EAGAIN;
	}
	r->carrier = nullptr;
	// Its submitter's share: whoever takes the last one tells of it.
	if (r->is_sync())
		r->waits_for.fetch_sub(1, mo::acq_rel);
	add(c, r->front);
	if (r->front) {
		r->change(State::queued, State::running);
		stream::take_over_claim(r->stream_word());
	}
	// Until now it may have been the driver's to those that wait.
	helper::order_changes.notify(INT_MAX);
	carrier::begin_alone(c);
	return 0;
}

namespace {

// With `lock' held; nullptr: it has left.
OwnThread *find(const Request *r)
{
	OwnThread *c = turns.first();
	while (c != nullptr && c->request != r)
		c = turns.after(c);
	return c;
}

bool ask_carrier(CancelReply *reply)
{
	Guard<Mutex> g(lock);
	OwnThread *c = find(reply->request);
	if (c == nullptr || reply->request->state.load(mo::acquire) != reply->word)
		return false;
	reply->next = c->asked;
	c->asked = reply;
	return true;
}

// Once more: it may have been between two calls. Whoever asks in vain is answered.
void interrupt(const CancelReply *reply)
{
	Guard<Mutex> g(lock);
	OwnThread *c = find(reply->request);
	if (c == nullptr || c->asked == nullptr)
		return;
	if (c->request->has_begun()) {
		answer(c->asked, AIO_NOTCANCELED);
		c->asked = nullptr;
		return;
	}
	c->request->stop.store(true, mo::release);
	carrier::interrupt(c);
}

} // namespace

int cancel(Request *r, uint64_t word)
{
	constexpr timespec moment{0, 2000000};
	CancelReply reply(r, word);
	// The reply is on this stack: no handler may leave it by a longjmp meanwhile.
	BlockSignals blocked;
	if (!any() || !ask_carrier(&reply))
		return not_here;
	uint32_t a;
	while ((a = reply.answer.load(mo::acquire)) == 0) {
		interrupt(&reply);
		futex_wait(reply.answer, 0, &moment);
	}
	return static_cast<int>(a) - 1;
}

bool is_elsewhere(const Request *r, pid_t thread, int fd)
{
	BlockSignals blocked;
	Guard<Mutex> g(lock);
	const OwnThread *c = find(r);
	return c != nullptr &&
	       same_file(c->thread.load(mo::relaxed), c->file, thread, fd) == Same::no;
}

void after_fork()
{
	lock.reset();
	turns = {};
	count.store(0, mo::relaxed);
}

} // namespace sigevec::alone
