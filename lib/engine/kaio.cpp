// SPDX-License-Identifier: MIT
#include "engine/kaio.hpp"

#include "base/memory_order.hpp"
#include "engine/engine.hpp"
#include "engine/kaio_context.hpp"

#ifdef HAVE_LIBAIO

#include "aiocb.hpp"
#include "completion/completion.hpp"
#include "engine/transfer.hpp"
#include "notify/batch.hpp"
#include "runtime/probes.hpp"

#include <cstring>
#include <fcntl.h>

namespace sigevec::kaio {

namespace {

constexpr int most_plugged = 64;
struct Plug {
	int depth;
	int count;
	Request *v[most_plugged];
};
thread_local Plug plugged __attribute__((tls_model("initial-exec")));

void prepare_iocb(Request *r, struct iocb *i)
{
	memset(i, 0, sizeof *i);
	int fd = r->fd.load(mo::relaxed);
	if (r->vector != nullptr) {
		i->aio_lio_opcode = r->is_read() ? IO_CMD_PREADV : IO_CMD_PWRITEV;
		i->u.v.vec = r->vector->v;
		i->u.v.nr = r->vector->count;
		i->u.v.offset = r->offset;
	} else {
		i->aio_lio_opcode = r->is_read() ? IO_CMD_PREAD : IO_CMD_PWRITE;
		i->u.c.buf = r->buf;
		i->u.c.nbytes = r->len;
		i->u.c.offset = r->offset;
	}
	i->aio_fildes = static_cast<uint32_t>(fd);
	// What would block at submission fails instead, and goes on with another engine.
	i->aio_rw_flags = RWF_NOWAIT;
	i->data = r;
}

// The first of a submission was refused by the kernel.
void refused(Context &c, Request *r, int error)
{
	take_events(c);
	if (error == -EAGAIN)
		passed_on(stats::kaio_full, r->fd.load(mo::relaxed), r->begun);
	// Whatever the reason, a filter's refusal among them: the plain call says whether it is the
	// request's.
	if (pass_on(r))
		return;
	leave_context(r);
	completion::finish(r, error);
}

// Whether an event that came after `from' is a refusal. They are only looked at: another thread may
// be taking them.
bool refusal_since(const Ring *r, uint32_t from)
{
	uint32_t tail = r->tail.load(mo::acquire);
	for (uint32_t i = from; i != tail; i = (i + 1) % r->size)
		if (auto result = static_cast<ssize_t>(r->events[i].res);
		    result == -EAGAIN || result == -EOPNOTSUPP)
			return true;
	return false;
}

// Waits until the events before `to' have been taken and worked off, by this thread or by the one
// that leads.
void wait_until_taken(Context &c, uint32_t to)
{
	const Ring *r = c.ring.load(mo::relaxed);
	for (;;) {
		poll(static_cast<int>(&c - all));
		uint32_t tail = r->tail.load(mo::acquire);
		uint32_t left = (tail - r->head.load(mo::acquire) + r->size) % r->size;
		if (left <= (tail - to + r->size) % r->size)
			break;
		sched_yield();
	}
	// Who has taken an event holds the lock until it is worked off, or left to this thread.
	{
		BlockSignals blocked;
		Guard<Mutex> g(c.lock);
	}
	poll(static_cast<int>(&c - all));
}

struct Submitted {
	Request *r;
	uint64_t generation;
};

void submit_iocbs(Context &c, Request **v, struct iocb **p, int n)
{
	c.submissions.fetch_add(1, mo::release);
	for (int i = 0; i < n;) {
		auto done = static_cast<int>(
			call_kernel(SYS_io_submit, reinterpret_cast<long>(c.ring.load(mo::relaxed)),
				    n - i, reinterpret_cast<long>(p + i)));
		if (done > 0) {
			i += done;
			continue;
		}
		BlockSignals blocked;
		Guard<Mutex> g(c.lock);
		refused(c, v[i++], done);
	}
}

void submit_all(Context &c, Request **v, int n)
{
	struct iocb iocbs[most_plugged], *p[most_plugged];
	Submitted s[most_plugged];
	for (int i = 0; i < n; i++) {
		prepare_iocb(v[i], &iocbs[i]);
		p[i] = &iocbs[i];
		s[i] = {v[i], v[i]->state.load(mo::relaxed) >> 8};
		v[i]->in_call.store(s[i].generation, mo::release);
	}
	const Ring *ring = c.ring.load(mo::relaxed);
	uint32_t before = ring->tail.load(mo::relaxed);
	submit_iocbs(c, v, p, n);
	// What the kernel would not start without blocking has ended already, and goes on elsewhere
	// while the descriptor is still the caller's.
	if (refusal_since(ring, before))
		wait_until_taken(c, ring->tail.load(mo::acquire));
	// They may have ended and become others meanwhile.
	for (int i = 0; i < n; i++)
		s[i].r->in_call.compare_exchange_strong(s[i].generation, 0, mo::release);
}

void flush()
{
	int n = plugged.count;
	plugged.count = 0;
	if (n != 0)
		submit_all(*own_context(), plugged.v, n);
}

bool works(const char **reason)
{
	// Only an attempt tells; the context stays for the thread that asked.
	bool ok = own_context() != nullptr;
	*reason = ok ? "O_DIRECT on files and block devices" : why_not();
	return ok;
}

bool suitable(const Request *r)
{
	// Appending writes keep their order in a file queue; synchronous ones may wait inside
	// io_submit.
	return !r->on_stream() && !r->is_sync() &&
	       (r->is_read() || (r->flags & (O_APPEND | O_SYNC | O_DSYNC)) == 0);
}

// r is told of though nobody waits for r itself.
void have_listened_to(Request *r, Context &c)
{
	Group *g = group_of(r);
	if (g == nullptr || !g->join(r->context.load(mo::relaxed))) {
		end_in_background(r);
		return;
	}
	auto none = Request::Listener::none;
	if (r->listener.compare_exchange_strong(none, Request::Listener::waiters, mo::acq_rel))
		leave_to_waiters(c);
	else
		g->leave(); // an fsync has been quicker
}

int submit(Request *r)
{
	if (!suitable(r))
		return -ENOTSUP;
	Context *c = own_context();
	if (c == nullptr) {
		passed_on(stats::kaio_full, r->fd.load(mo::relaxed), r->begun);
		return -ENOTSUP;
	}
	auto index = static_cast<int>(c - all);
	Batch *list = r->notification.batch;
	bool notifies = !r->notification.event.silent() || (list != nullptr && !list->waited);
	// Who is to be told must be told though nobody waits: without a thread to listen others
	// have to do it, or refuse.
	if (notifies && !start_listening(index)) {
		passed_on(stats::kaio_full, r->fd.load(mo::relaxed), r->begun);
		return -ENOTSUP;
	}
	// aio_cancel of another thread may have been quicker.
	if (!r->change(State::queued, State::running)) {
		requests::release(r);
		return 0;
	}
	r->generation = transfer::generation_of_newborn(r, r->fd.load(mo::relaxed));
	r->context.store(index, mo::relaxed);
	if (list != nullptr && list->waited)
		list->in_context.fetch_add(1, mo::relaxed);
	if (struct aiocb *cb = r->cb.load(mo::relaxed); cb != nullptr)
		aiocb_layout::context(cb).store(index + 1, mo::release);
	if (notifies)
		have_listened_to(r, *c);
	if (plugged.depth == 0) {
		submit_all(*c, &r, 1);
		return 0;
	}
	plugged.v[plugged.count++] = r;
	if (plugged.count == most_plugged)
		flush();
	return 0;
}

} // namespace

int verdict(int fd, bool read, int flags)
{
	Context *c = own_context();
	if (c == nullptr)
		return 0;
	struct iocb i = {}, *p = &i;
	i.aio_lio_opcode = read ? IO_CMD_PREADV : IO_CMD_PWRITEV;
	i.aio_fildes = fd;
	i.aio_rw_flags = flags;
	// The vector: the call always fails, and the last thing that it fails for is this.
	i.u.v.vec = reinterpret_cast<struct iovec *>(not_of_user_space);
	i.u.v.nr = 1;
	long e = call_kernel(SYS_io_submit, reinterpret_cast<long>(c->ring.load(mo::relaxed)), 1,
			     reinterpret_cast<long>(&p));
	return e == -EFAULT || e == -EAGAIN ? 0 : static_cast<int>(e);
}

void plug()
{
	plugged.depth++;
}

void unplug()
{
	if (--plugged.depth == 0)
		flush();
}

void forget_plugged()
{
	plugged = Plug{};
}

} // namespace sigevec::kaio

const sigevec::Engine sigevec::engines::kaio = {"kaio", kaio::works, nullptr, kaio::submit};

#else // !HAVE_LIBAIO

namespace sigevec::kaio {

void poll(int)
{
}
void poll_blocked(int)
{
}
int lead(int, bool (*)(void *), void *, const Deadline &, bool)
{
	return EBUSY;
}
int sleep_once(int, const timespec &, const sigset_t *, void (*)(void *), void *, int)
{
	return -EBUSY;
}
bool follow(int, unsigned)
{
	return false;
}
int Group::context(uint32_t, bool *) const
{
	return -1;
}
void Group::slept()
{
}
void Group::led()
{
}
void Group::reset()
{
}
bool need(int)
{
	return true;
}
void need_no_more(int)
{
}
bool start_listening(int)
{
	return true;
}
void end_in_background(Request *)
{
}
bool exists(int)
{
	return false;
}
int own_index()
{
	return -1;
}
void plug()
{
}
void unplug()
{
}
int verdict(int, bool, int)
{
	return 0;
}
void start_for_helper(helper::Helper *, void *)
{
}
void after_fork()
{
}

static bool works(const char **reason)
{
	*reason = "built without libaio";
	return false;
}

} // namespace sigevec::kaio

const sigevec::Engine sigevec::engines::kaio = {"kaio", kaio::works, nullptr, nullptr};

#endif
