// SPDX-License-Identifier: MIT
#include "engine/kaio.hpp"

#include "aiocb.hpp"
#include "cancellation.h"
#include "completion/completion.hpp"
#include "completion/waiters.hpp"
#include "config.h"
#include "engine/select.hpp"
#include "engine/transfer.hpp"
#include "request/stream.hpp"
#include "runtime/config.hpp"
#include "runtime/helper.hpp"
#include "runtime/stats.hpp"
#include "runtime/thread_number.hpp"

#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>

#ifdef HAVE_LIBAIO

#include <libaio.h>

namespace sigevec::kaio {

namespace {

// The kernel's struct aio_ring, stable since 2.6.
struct Ring {
	uint32_t id, size;
	std::atomic<uint32_t> head, tail;
	uint32_t magic, compat, incompat, header_length;
	struct io_event events[];
};
constexpr uint32_t ring_magic = 0xa10a10a1;

struct alignas(64) Context {
	// nullptr until the first use; released last, when the rest is set up.
	std::atomic<Ring *> ring{nullptr};
	std::atomic<bool> failed{false};
	Mutex lock;
	// Identity of the thread that sleeps on the context: the address of a variable of its own.
	std::atomic<const void *> leader{nullptr};
	std::atomic<uint32_t> followers{0};
	std::atomic<uint32_t> needed{0};
	std::atomic<bool> background{false};
	// A submission is a release, taking an event an acquire: what the kernel's ring orders, in the language's terms.
	std::atomic<uint32_t> submissions{0};
};

Context all[contexts];
Mutex creation;
const char *why_not = nullptr;

thread_local char identity __attribute__((tls_model("initial-exec")));

constexpr int most_plugged = 64;
struct Plug {
	int depth;
	int count;
	Request *v[most_plugged];
};
thread_local Plug plugged __attribute__((tls_model("initial-exec")));

io_context_t handle(const Ring *r)
{
	return reinterpret_cast<io_context_t>(const_cast<Ring *>(r));
}

// The number of requests the system has for all (fs.aio-max-nr) may be short: a smaller context is better than none.
Ring *set_up_ring()
{
	io_context_t c = nullptr;
	int e = -EAGAIN;
	for (unsigned n = config::limits.ring.load(std::memory_order_relaxed); e == -EAGAIN && n >= 32; n /= 2)
		e = io_setup(static_cast<int>(n), &c);
	if (e != 0) {
		why_not = e == -EAGAIN ? "fs.aio-max-nr is used up" : "io_setup is refused";
		return nullptr;
	}
	auto *r = reinterpret_cast<Ring *>(c);
	if (r->magic != ring_magic || r->compat != 1 || r->incompat != 0) {
		why_not = "the kernel's ring has an unknown layout";
		io_destroy(c);
		return nullptr;
	}
	// A child of fork must not find it: taking events there would take them from the parent.
	madvise(r, sizeof(Ring) + r->size * sizeof(struct io_event), MADV_DONTFORK);
	return r;
}

// A wait on an empty ring that ends at once: seccomp filters know io_getevents, but not always io_pgetevents.
bool can_wait(Ring *r)
{
	timespec zero{};
	if (syscall(SYS_io_pgetevents, r, 1, 1, nullptr, &zero, nullptr) == 0)
		return true;
	why_not = "io_pgetevents is refused";
	return false;
}

Context *create(Context &c)
{
	Guard<Mutex> g(creation);
	if (c.ring.load(std::memory_order_relaxed) != nullptr)
		return &c;
	if (c.failed)
		return nullptr;
	Ring *r = set_up_ring();
	if (r != nullptr && !can_wait(r)) {
		io_destroy(handle(r));
		r = nullptr;
	}
	c.failed = r == nullptr;
	c.ring.store(r, std::memory_order_release);
	return r == nullptr ? nullptr : &c;
}

Context *own_context()
{
	Context &c = all[thread_number() % contexts];
	if (c.ring.load(std::memory_order_acquire) != nullptr)
		return &c;
	return c.failed ? nullptr : create(c);
}

bool has_events(const Ring *r)
{
	// Acquire pairs with the kernel's barrier between an event and the tail.
	return r->head.load(std::memory_order_relaxed) != r->tail.load(std::memory_order_acquire);
}

void drop_need(Context &c)
{
	c.needed.fetch_sub(1, std::memory_order_acq_rel);
}

void leave_context(Request *r)
{
	aiocb_layout::context(r->cb.load(std::memory_order_relaxed)).store(0, std::memory_order_release);
	if (r->background.exchange(2, std::memory_order_acq_rel) == 1)
		drop_need(all[r->context.load(std::memory_order_relaxed)]);
	r->context.store(-1, std::memory_order_relaxed);
}

// To the engines for what the descriptor really is.
bool reroute(Request *r, const Descriptor &d)
{
	select::forget(d.fd);
	r->kind = d.kind;
	r->flags = d.flags;
	r->size = d.size;
	r->dev.store(d.dev, std::memory_order_relaxed);
	r->ino.store(d.ino, std::memory_order_relaxed);
	r->set(State::queued);
	if (r->on_stream())
		stream::enter(stream::word_of({d.dev, d.ino, true}));
	return engines::threads.submit(r);
}

// A request that this engine could not, or not wholly, carry out goes on with the threads, by the descriptor's number: is
// that still the file? The data is the same through any descriptor of the same inode with the same flags.
bool pass_on(Request *r)
{
	Descriptor d;
	int fd = r->fd.load(std::memory_order_relaxed);
	if (!transfer::describe(fd, &d))
		return false;
	bool same = d.dev == r->dev.load(std::memory_order_relaxed) && d.ino == r->ino.load(std::memory_order_relaxed) &&
		    d.flags == r->flags;
	if (!same && r->in_call.load(std::memory_order_acquire) == r->state.load(std::memory_order_relaxed) >> 8) {
		// Within its own submission the number is right, and what was remembered of it was not.
		leave_context(r);
		return reroute(r, d);
	}
	// What was remembered did not say where the file ends.
	r->size = d.size;
	if (!same || (r->done > 0 && r->is_read() && r->offset + static_cast<off_t>(r->done) >= d.size))
		return false;
	leave_context(r);
	r->set(State::queued);
	// Straight to a worker: this may run in a signal handler, where nothing may be allocated.
	return helper::to_worker(helper::What::job, r, fd);
}

void handle_event(const struct io_event &e)
{
	auto *r = static_cast<Request *>(e.data);
	auto result = static_cast<ssize_t>(e.res);
	bool refused = result == -EAGAIN || result == -EOPNOTSUPP;
	if (refused)
		stats::count(stats::kaio_would_block);
	if ((refused || transfer::advance(r, result)) && pass_on(r))
		return;
	result = refused ? -EAGAIN : transfer::total(r, result);
	leave_context(r);
	stats::count(stats::kaio_done);
	completion::finish(r, result);
}

// Under the context's lock.
void take_events(Context &c)
{
	Ring *r = c.ring.load(std::memory_order_relaxed);
	while (has_events(r)) {
		uint32_t head = r->head.load(std::memory_order_relaxed);
		struct io_event e = r->events[head % r->size];
		// Release: the slot may be written again once the kernel sees this.
		r->head.store((head + 1) % r->size, std::memory_order_release);
		c.submissions.load(std::memory_order_acquire);
		handle_event(e);
	}
}

bool led_by_other(const Context &c)
{
	const void *l = c.leader.load(std::memory_order_acquire);
	return l != nullptr && l != &identity;
}

void stop_leading(Context &c)
{
	// seq_cst: a follower sets its bit, then looks at the leader; this clears the leader, then looks at the bits.
	c.leader.store(nullptr, std::memory_order_seq_cst);
	if (uint32_t f = c.followers.exchange(0, std::memory_order_seq_cst); f != 0)
		waiters::wake(f);
}

struct Leading {
	Context *c;
	bool nested;
	const sigset_t *mask;
};

void cancelled_while_leading(void *p)
{
	auto *l = static_cast<Leading *>(p);
	if (!l->nested)
		stop_leading(*l->c);
	pthread_sigmask(SIG_SETMASK, l->mask, nullptr);
}

// Sleeps until there is an event. The application's signals are let in by the kernel, for the length of the sleep only:
// between a look at the requests and the sleep no handler can run that would take the events away.
int sleep_on(Leading &l, const Deadline &deadline, bool cancellable)
{
	timespec rest;
	if (!deadline.never && !deadline.left(rest))
		return -ETIMEDOUT;
	struct {
		const sigset_t *mask;
		size_t size;
	} mask{l.mask, _NSIG / 8};
	long arg[6] = {reinterpret_cast<long>(l.c->ring.load(std::memory_order_relaxed)), 1, 1, 0,
		       deadline.never ? 0 : reinterpret_cast<long>(&rest), reinterpret_cast<long>(&mask)};
	if (cancellable)
		return static_cast<int>(
			sigevec_cancellable_syscall(cancelled_while_leading, &l, SYS_io_pgetevents, arg));
	long r = syscall(SYS_io_pgetevents, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
	return r < 0 ? -errno : static_cast<int>(r);
}

// The kernel never restarts io_pgetevents, but a wait without time-out goes on after a handler with SA_RESTART (POSIX, and
// glibc). Which handler ran is not told: the wait goes on only if no handler of the process is without SA_RESTART.
bool every_handler_restarts()
{
	for (int s = 1; s < _NSIG; s++) {
		struct sigaction a;
		if (sigaction(s, nullptr, &a) == 0 && a.sa_handler != SIG_DFL && a.sa_handler != SIG_IGN &&
		    (a.sa_flags & SA_RESTART) == 0)
			return false;
	}
	return true;
}

int sleep_until(Leading &l, bool (*done)(void *), void *arg, const Deadline &deadline, bool cancellable)
{
	for (;;) {
		{
			Guard<Mutex> g(l.c->lock);
			take_events(*l.c);
		}
		if (done(arg))
			return 0;
		int e = sleep_on(l, deadline, cancellable);
		if (e == 0 || e == -ETIMEDOUT)
			return has_events(l.c->ring.load(std::memory_order_relaxed)) ? EAGAIN : ETIMEDOUT;
		if (e == -EINTR && !done(arg) && !(deadline.never && every_handler_restarts()))
			return EINTR;
	}
}

} // namespace

int lead(int context, bool (*done)(void *), void *arg, const Deadline &deadline, bool cancellable)
{
	Context &c = all[context];
	BlockSignals blocked;
	Leading l{&c, false, &blocked.saved()};
	{
		Guard<Mutex> g(c.lock);
		if (led_by_other(c))
			return EBUSY;
		l.nested = c.leader.load(std::memory_order_relaxed) != nullptr;
		c.leader.store(&identity, std::memory_order_seq_cst);
	}
	int e = sleep_until(l, done, arg, deadline, cancellable);
	if (!l.nested)
		stop_leading(c);
	return e == EAGAIN ? 0 : e;
}

bool follow(int context, unsigned b)
{
	Context &c = all[context];
	c.followers.fetch_or(1u << b, std::memory_order_seq_cst);
	return c.leader.load(std::memory_order_seq_cst) != nullptr;
}

void poll(int context)
{
	Context &c = all[context];
	Ring *r = c.ring.load(std::memory_order_acquire);
	if (r == nullptr || !has_events(r) || led_by_other(c))
		return;
	BlockSignals blocked;
	Guard<Mutex> g(c.lock);
	if (!led_by_other(c))
		take_events(c);
}

bool exists(int context)
{
	return all[context].ring.load(std::memory_order_acquire) != nullptr;
}

namespace {

void add_need(Context &c)
{
	if (c.needed.fetch_add(1, std::memory_order_acq_rel) == 0)
		futex_wake(c.needed, 1);
}

void start_background(Context &c)
{
	if (!c.background.load(std::memory_order_acquire) && !c.background.exchange(true, std::memory_order_acq_rel) &&
	    start_thread(background_main, &c, "sigevec-kaio") != 0)
		c.background.store(false, std::memory_order_release);
}

bool nothing_needed(void *p)
{
	return static_cast<Context *>(p)->needed.load(std::memory_order_acquire) == 0;
}

} // namespace

void *background_main(void *p)
{
	auto *c = static_cast<Context *>(p);
	auto index = static_cast<int>(c - all);
	unsigned b = waiters::own_bucket();
	for (;;) {
		if (nothing_needed(c)) {
			futex_wait(c->needed, 0, nullptr);
			continue;
		}
		uint32_t seen = waiters::bucket[b].generation.load(std::memory_order_acquire);
		if (lead(index, nothing_needed, c, Deadline{}, false) != EBUSY)
			continue;
		waiters::bucket[b].sleepers.fetch_add(1, std::memory_order_seq_cst);
		if (follow(index, b))
			futex_wait(waiters::bucket[b].generation, seen, nullptr);
		waiters::bucket[b].sleepers.fetch_sub(1, std::memory_order_relaxed);
	}
}

bool need(int context)
{
	Context &c = all[context];
	add_need(c);
	if (c.background.load(std::memory_order_acquire) || c.background.exchange(true, std::memory_order_acq_rel))
		return true;
	if (helper::start_background(&c))
		return true;
	c.background.store(false, std::memory_order_release);
	return false;
}

void need_no_more(int context)
{
	drop_need(all[context]);
}

void end_in_background(Request *r)
{
	int context = r->context.load(std::memory_order_relaxed);
	if (context < 0)
		return;
	Context &c = all[context];
	add_need(c);
	uint8_t no = 0;
	if (!r->background.compare_exchange_strong(no, 1, std::memory_order_acq_rel))
		drop_need(c);
	start_background(c);
}

namespace {

void prepare(Request *r, struct iocb *i)
{
	memset(i, 0, sizeof *i);
	int fd = r->fd.load(std::memory_order_relaxed);
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
		stats::count(stats::kaio_full);
	if ((error == -EAGAIN || error == -EINVAL || error == -EOPNOTSUPP) && pass_on(r))
		return;
	leave_context(r);
	completion::finish(r, error);
}

// Whether an event that came after `from' is a refusal. They are only looked at: another thread may be taking them.
bool refusal_since(const Ring *r, uint32_t from)
{
	uint32_t tail = r->tail.load(std::memory_order_acquire);
	for (uint32_t i = from; i != tail; i = (i + 1) % r->size)
		if (auto result = static_cast<ssize_t>(r->events[i].res); result == -EAGAIN || result == -EOPNOTSUPP)
			return true;
	return false;
}

// Waits until the events before `to' have been taken and worked off, by this thread or by the one that leads.
void wait_until_taken(Context &c, uint32_t to)
{
	const Ring *r = c.ring.load(std::memory_order_relaxed);
	for (;;) {
		poll(static_cast<int>(&c - all));
		uint32_t tail = r->tail.load(std::memory_order_acquire);
		uint32_t left = (tail - r->head.load(std::memory_order_acquire) + r->size) % r->size;
		if (left <= (tail - to + r->size) % r->size)
			break;
		sched_yield();
	}
	// Who has taken an event holds the lock until it is worked off.
	BlockSignals blocked;
	Guard<Mutex> g(c.lock);
}

struct Submitted {
	Request *r;
	uint64_t generation;
};

void submit_iocbs(Context &c, Request **v, struct iocb **p, int n)
{
	c.submissions.fetch_add(1, std::memory_order_release);
	for (int i = 0; i < n;) {
		int done = io_submit(handle(c.ring.load(std::memory_order_relaxed)), n - i, p + i);
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
		prepare(v[i], &iocbs[i]);
		p[i] = &iocbs[i];
		s[i] = {v[i], v[i]->state.load(std::memory_order_relaxed) >> 8};
		v[i]->in_call.store(s[i].generation, std::memory_order_release);
	}
	const Ring *ring = c.ring.load(std::memory_order_relaxed);
	uint32_t before = ring->tail.load(std::memory_order_relaxed);
	submit_iocbs(c, v, p, n);
	// What the kernel would not start without blocking has ended already, and goes on elsewhere while the descriptor is
	// still the caller's.
	if (refusal_since(ring, before))
		wait_until_taken(c, ring->tail.load(std::memory_order_acquire));
	// They may have ended and become others meanwhile.
	for (int i = 0; i < n; i++)
		s[i].r->in_call.compare_exchange_strong(s[i].generation, 0, std::memory_order_release);
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
	*reason = ok ? "O_DIRECT on files and block devices" : why_not;
	return ok;
}

bool suitable(const Request *r)
{
	// Appending writes keep their order in a file queue; synchronous ones may wait inside io_submit.
	return !r->on_stream() && !r->is_sync() && (r->is_read() || (r->flags & (O_APPEND | O_SYNC | O_DSYNC)) == 0);
}

bool submit(Request *r)
{
	if (!suitable(r))
		return false;
	Context *c = own_context();
	if (c == nullptr) {
		stats::count(stats::kaio_full);
		return false;
	}
	// aio_cancel of another thread may have been quicker.
	if (!r->change(State::queued, State::running)) {
		requests::release(r);
		return true;
	}
	auto index = static_cast<int>(c - all);
	r->context.store(index, std::memory_order_relaxed);
	aiocb_layout::context(r->cb.load(std::memory_order_relaxed)).store(index + 1, std::memory_order_release);
	if (!r->notification.event.silent() || r->notification.batch != nullptr)
		end_in_background(r);
	if (plugged.depth == 0) {
		submit_all(*c, &r, 1);
		return true;
	}
	plugged.v[plugged.count++] = r;
	if (plugged.count == most_plugged)
		flush();
	return true;
}

} // namespace

void plug()
{
	plugged.depth++;
}

void unplug()
{
	if (--plugged.depth == 0)
		flush();
}

void after_fork()
{
	// Contexts belong to the parent's memory, and their rings are not in this one.
	creation.reset();
	for (Context &c : all) {
		c.ring.store(nullptr, std::memory_order_relaxed);
		c.failed = false;
		c.lock.reset();
		c.leader.store(nullptr, std::memory_order_relaxed);
		c.followers.store(0, std::memory_order_relaxed);
		c.needed.store(0, std::memory_order_relaxed);
		c.background.store(false, std::memory_order_relaxed);
	}
	plugged = Plug{};
}

} // namespace sigevec::kaio

const sigevec::Engine sigevec::engines::kaio = {"kaio", kaio::works, nullptr, kaio::submit};

#else // !HAVE_LIBAIO

namespace sigevec::kaio {

void poll(int) {}
int lead(int, bool (*)(void *), void *, const Deadline &, bool) { return EBUSY; }
bool follow(int, unsigned) { return false; }
bool need(int) { return true; }
void need_no_more(int) {}
void end_in_background(Request *) {}
bool exists(int) { return false; }
void plug() {}
void unplug() {}
void after_fork() {}

static bool works(const char **reason)
{
	*reason = "built without libaio";
	return false;
}

} // namespace sigevec::kaio

const sigevec::Engine sigevec::engines::kaio = {"kaio", kaio::works, nullptr, nullptr};

#endif
