// SPDX-License-Identifier: MIT
#include "engine/kaio_context.hpp"

#include "engine/to_helper.hpp"

#ifdef HAVE_LIBAIO

#include "aiocb.hpp"
#include "base/memory_order.hpp"
#include "base/thread_number.hpp"
#include "completion/completion.hpp"
#include "completion/waiters.hpp"
#include "engine/attempts.hpp"
#include "engine/transfer.hpp"
#include "notify/batch.hpp"
#include "request/pace.hpp"
#include "request/stats_detail.hpp"
#include "request/stream.hpp"
#include "runtime/config.hpp"
#include "runtime/helper.hpp"
#include "runtime/probes.hpp"

#include <sys/mman.h>

namespace sigevec::kaio {

Context all[contexts];
thread_local char identity __attribute__((tls_model("initial-exec")));

namespace {

Mutex creation;
const char *reason = nullptr;

// The number of requests the system has for all (fs.aio-max-nr) may be short: a smaller context is
// better than none.
Ring *set_up_ring()
{
	io_context_t c = nullptr;
	int e = -EAGAIN;
	for (unsigned n = config::limits.ring.load(mo::relaxed); e == -EAGAIN && n >= 32; n /= 2)
		e = static_cast<int>(call_kernel(SYS_io_setup, n, reinterpret_cast<long>(&c), 0));
	if (e != 0) {
		reason = e == -EAGAIN ? "fs.aio-max-nr is used up" : "io_setup is refused";
		return nullptr;
	}
	auto *r = reinterpret_cast<Ring *>(c);
	if (r->magic != aio_ring_magic || r->compat != 1 || r->incompat != 0) {
		reason = "the kernel's ring has an unknown layout";
		call_kernel(SYS_io_destroy, reinterpret_cast<long>(c), 0, 0);
		return nullptr;
	}
	// A child of fork must not find it: taking events there would take them from the parent.
	madvise(r, sizeof(Ring) + r->size * sizeof(struct io_event), MADV_DONTFORK);
	return r;
}

// A wait on an empty ring that ends at once: seccomp filters know io_getevents, but not always
// io_pgetevents.
bool can_wait(Ring *r)
{
	timespec zero{};
	if (sigevec_raw_syscall(SYS_io_pgetevents, reinterpret_cast<long>(r), 1, 1, 0,
				reinterpret_cast<long>(&zero), 0) == 0)
		return true;
	reason = "io_pgetevents is refused";
	return false;
}

Context *create(Context &c)
{
	Guard<Mutex> g(creation);
	if (c.ring.load(mo::relaxed) != nullptr)
		return &c;
	if (c.failed)
		return nullptr;
	Ring *r = set_up_ring();
	if (r != nullptr && !can_wait(r)) {
		call_kernel(SYS_io_destroy, reinterpret_cast<long>(r), 0, 0);
		r = nullptr;
	}
	c.failed = r == nullptr;
	c.ring.store(r, mo::release);
	return r == nullptr ? nullptr : &c;
}

} // namespace

const char *why_not()
{
	return reason;
}

Context *own_context()
{
	Context &c = all[thread_number() % contexts];
	if (c.ring.load(mo::acquire) != nullptr)
		return &c;
	return c.failed ? nullptr : create(c);
}

void leave_context(Request *r)
{
	pace::left(r);
	if (struct aiocb *cb = r->cb.load(mo::relaxed); cb != nullptr)
		aiocb_layout::context(cb).store(0, mo::release);
	using Listener = Request::Listener;
	Listener l = r->listener.exchange(Listener::ended, mo::acq_rel);
	if (l == Listener::background || l == Listener::both)
		need_no_more(r->context.load(mo::relaxed));
	if (l == Listener::waiters || l == Listener::both) {
		group_of(r)->leave();
		all[r->context.load(mo::relaxed)].left_to_waiters.fetch_sub(1, mo::relaxed);
	}
	if (Batch *list = r->notification.batch; list != nullptr && list->waited)
		list->in_context.fetch_sub(1, mo::release);
	r->context.store(-1, mo::relaxed);
}

namespace {

// To the engines for what the descriptor really is.
bool reroute(Request *r, const Descriptor &d)
{
	requests::set_file(r, d);
	r->set(State::queued);
	if (r->on_stream())
		stream::enter(stream::word_of({d.dev, d.ino, true}));
	return engines::threads.submit(r) == 0;
}

// No worker can have the file, and what has been accepted is carried out.
void carry_out_here(Request *r, int fd)
{
	ssize_t n = -ECANCELED;
	if (r->change(State::queued, State::running)) {
		n = transfer::blocking(r, fd);
		stats_detail::done_by(r, stats_detail::By::threads);
	}
	completion::finish(r, n);
}

} // namespace

// The data is the same through any descriptor of the same file with the same flags.
bool pass_on(Request *r)
{
	// The program wants to hear that it would have had to wait.
	if ((r->op == Op::read || r->op == Op::write) && (r->call_flags & RWF_NOWAIT) != 0)
		return false;
	Descriptor d;
	int fd = r->fd.load(mo::relaxed);
	if (!transfer::describe(fd, &d))
		return false;
	bool same = transfer::is_file_of(r, d);
	bool in_call = r->in_call.load(mo::acquire) == r->state.load(mo::relaxed) >> 8;
	if (!same && in_call) {
		// Within its own submission the number is right, and what was remembered of it was
		// not.
		leave_context(r);
		return reroute(r, d);
	}
	// What was remembered did not say where the file ends.
	r->size = d.size;
	if (!same ||
	    (r->done > 0 && r->is_read() && r->offset + static_cast<off_t>(r->done) >= d.size))
		return false;
	leave_context(r);
	// The program may close the number, and use it again, before it is taken.
	r->by_number = !in_call;
	r->set(State::queued);
	// Straight to a worker: this may run in a signal handler, where nothing may be allocated.
	int e = helper::to_worker(helper::MessageType::job, r);
	if (e == -EAGAIN)
		carry_out_here(r, fd);
	return e == 0 || e == -EAGAIN;
}

namespace {

// The end of r, unless it goes on elsewhere.
void pass_on_or_end(Request *r, ssize_t result)
{
	bool refused = result == -EAGAIN || result == -EOPNOTSUPP;
	if ((refused || r->unfinished) && pass_on(r))
		return;
	result = refused ? -EAGAIN : transfer::total(r, result);
	leave_context(r);
	stats_detail::done_by(r, stats_detail::By::kaio);
	completion::finish(r, result);
}

// The number of the file means nothing to this thread. Who sleeps until r ends takes it on; so do
// its submission, if that has not returned, and the program's background thread.
void leave_to_program(Context &c, Request *r, ssize_t result)
{
	r->result = result;
	r->next.store(c.left.load(mo::relaxed), mo::relaxed);
	c.left.store(r, mo::release);
	struct aiocb *cb = r->cb.load(mo::relaxed);
	if (cb == nullptr)
		return; // the program's background thread takes it on
	int status = aiocb_layout::status(cb).load(mo::seq_cst);
	waiters::wake(static_cast<uint32_t>(status) >> aiocb_layout::bucket_shift);
}

void take_left(Context &c)
{
	if (c.left.load(mo::relaxed) == nullptr || helper::on_helper_thread())
		return;
	Request *r = c.left.exchange(nullptr, mo::relaxed);
	while (r != nullptr) {
		Request *next = r->next.load(mo::relaxed);
		pass_on_or_end(r, r->result);
		r = next;
	}
}

void handle_event(Context &c, const struct io_event &e)
{
	auto *r = static_cast<Request *>(e.data);
	auto result = static_cast<ssize_t>(e.res);
	bool refused = result == -EAGAIN || result == -EOPNOTSUPP;
	attempts::note(r->dev.load(mo::relaxed), r->ino.load(mo::relaxed),
		       r->is_read() ? attempts::Way::direct_read : attempts::Way::direct_write,
		       !refused);
	if (c.deserted && group_of(r) != nullptr)
		group_of(r)->deserted();
	if (refused)
		passed_on(stats::kaio_would_block, r->fd.load(mo::relaxed), r->begun);
	r->unfinished = !refused && transfer::advance(r, result);
	if ((refused || r->unfinished) && helper::on_helper_thread())
		leave_to_program(c, r, result);
	else
		pass_on_or_end(r, result);
}

} // namespace

void take_events(Context &c)
{
	take_left(c);
	Ring *r = c.ring.load(mo::relaxed);
	while (has_events(r)) {
		uint32_t head = r->head.load(mo::relaxed);
		struct io_event e = r->events[head % r->size];
		// Release: the slot may be written again once the kernel sees this.
		r->head.store((head + 1) % r->size, mo::release);
		c.submissions.load(mo::acquire);
		handle_event(c, e);
	}
}

namespace {

// Whether there is anything that this thread may take.
bool worth_a_look(const Context &c)
{
	const Ring *r = c.ring.load(mo::acquire);
	return r != nullptr &&
	       (c.left.load(mo::acquire) != nullptr || (has_events(r) && !led_by_other(c)));
}

void take(Context &c)
{
	Guard<Mutex> g(c.lock);
	if (led_by_other(c))
		take_left(c);
	else
		take_events(c);
}

} // namespace

void poll(int context)
{
	Context &c = all[context];
	if (!worth_a_look(c))
		return;
	BlockSignals blocked;
	take(c);
}

void poll_blocked(int context)
{
	if (worth_a_look(all[context]))
		take(all[context]);
}

bool exists(int context)
{
	return all[context].ring.load(mo::acquire) != nullptr;
}

int own_index()
{
	auto index = static_cast<int>(thread_number() % contexts);
	return exists(index) ? index : -1;
}

namespace {

void reset(Context &c)
{
	c.ring.store(nullptr, mo::relaxed);
	c.failed.store(false, mo::relaxed);
	c.lock.reset();
	c.leader.store(nullptr, mo::relaxed);
	c.followers.store(0, mo::relaxed);
	c.needed.store(0, mo::relaxed);
	c.left_to_waiters.store(0, mo::relaxed);
	c.looking.store(false, mo::relaxed);
	c.deserted = false;
	c.background.store(Background::none, mo::relaxed);
	c.left.store(nullptr, mo::relaxed);
}

} // namespace

void after_fork()
{
	// Contexts belong to the parent's memory, and their rings are not in this one.
	creation.reset();
	for (Context &c : all)
		reset(c);
	forget_plugged();
}

} // namespace sigevec::kaio

#endif
