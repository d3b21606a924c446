// SPDX-License-Identifier: MIT
//
// The calls of interface.h.
#include "base/memory_order.hpp"
#include "base/spin.hpp"
#include "engine/kaio.hpp"
#include "engine/to_helper.hpp"
#include "iocontext/context.hpp"
#include "iocontext/interface.h"
#include "iocontext/submit.hpp"
#include "iocontext/user_memory.hpp"
#include "runtime/helper.hpp"
#include "runtime/process.hpp"
#include "submit/check.hpp"

#include <cerrno>
#include <cstring>

using namespace sigevec;

namespace {

// A use of a context for the length of a call.
class Use {
public:
	explicit Use(void *address) : context_(process::ready() ? io::acquire(address) : nullptr) {}
	~Use()
	{
		if (context_ != nullptr)
			io::release(context_);
	}
	Use(const Use &) = delete;
	Use &operator=(const Use &) = delete;
	explicit operator bool() const { return context_ != nullptr; }
	io::Context *get() const { return context_; }

private:
	io::Context *context_;
};

// Whatever is called in a call, the program's errno is not touched, and the thread is not
// cancelled, as in no system call of these.
class KeepCaller {
public:
	KeepCaller() { pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type_); }
	~KeepCaller()
	{
		errno = saved_;
		if (type_ != PTHREAD_CANCEL_DEFERRED)
			pthread_setcanceltype(type_, nullptr);
	}
	KeepCaller(const KeepCaller &) = delete;
	KeepCaller &operator=(const KeepCaller &) = delete;
	int type() const { return type_; }

private:
	int saved_ = errno, type_ = 0;
};

} // namespace

SIGEVEC_EXPORT long sigevec_io_setup(unsigned nr, void **context)
{
	KeepCaller keep;
	if (!io::readable(context, sizeof *context))
		return -EFAULT;
	if (*context != nullptr || nr == 0)
		return -EINVAL;
	if (!process::ensure())
		return -ENOMEM;
	// Of a place that can only be read the content stays what it was.
	bool is_writable = io::writable(context, sizeof *context);
	if (!is_writable)
		return -EFAULT;
	*context = nullptr;
	void *ring;
	int e = io::create(nr, &ring);
	if (e == 0)
		*context = ring;
	return e;
}

SIGEVEC_EXPORT long sigevec_io_destroy(void *context)
{
	KeepCaller keep;
	Use use(context);
	if (!use)
		return SIGEVEC_IO_FOREIGN;
	io::Context *c = use.get();
	if (!io::remove(c))
		return -EINVAL;
	c->sleepers.wake();
	io::deliver(c);
	// Again from time to time: one may have been on its way to where it can be cancelled.
	constexpr timespec while_waiting{0, 10000000};
	bool all;
	int in_kernel = c->group.context(0, &all);
	if (in_kernel >= 0)
		kaio::need(in_kernel);
	while (uint32_t n = c->outstanding.load(mo::seq_cst)) {
		io::cancel_all(c);
		futex_wait(c->outstanding, n, &while_waiting);
	}
	if (in_kernel >= 0)
		kaio::need_no_more(in_kernel);
	// Of the others that use it none moves data. The last one takes it away.
	io::release(c); // the table's
	return 0;
}

namespace {

long submit_each(io::Context *c, long nr, struct iocb *const *iocbs)
{
	io::Pages pages;
	long done = 0;
	int e = 0;
	for (; done < nr && e == 0; done++) {
		bool there = pages.readable(iocbs + done, sizeof *iocbs);
		e = there ? io::submit_one(c, reinterpret_cast<uint64_t>(iocbs[done]), &pages)
			  : -EFAULT;
		if (e != 0)
			break;
	}
	return done != 0 ? done : e;
}

// With what its thread hands over collected: one list is one submission. What is alone is not
// collected: it may share its file with those that come after it.
long submit_all(io::Context *c, long nr, struct iocb *const *iocbs)
{
	if (nr <= 1)
		return submit_each(c, nr, iocbs);
	helper::Plug plug;
	kaio::plug();
	long done = submit_each(c, nr, iocbs);
	kaio::unplug();
	return done;
}

} // namespace

SIGEVEC_EXPORT long sigevec_io_submit(void *context, long nr, struct iocb *const *iocbs)
{
	KeepCaller keep;
	Use use(context);
	if (!use)
		return SIGEVEC_IO_FOREIGN;
	if (nr < 0)
		return -EINVAL;
	auto most = static_cast<long>(use.get()->size);
	return submit_all(use.get(), nr < most ? nr : most, iocbs);
}

SIGEVEC_EXPORT long sigevec_io_cancel(void *context, struct iocb *iocb, struct io_event *)
{
	KeepCaller keep;
	Use use(context);
	if (!use)
		return SIGEVEC_IO_FOREIGN;
	if (!io::readable(&iocb->aio_key, 8))
		return -EFAULT;
	if (iocb->aio_key != 0)
		return -EINVAL;
	for (uint32_t i = 0; i < io::operations(); i++) {
		io::Operation *o = io::operation_at(i);
		// Several may have been made from one iocb.
		if (o->context.load(mo::acquire) == use.get() &&
		    o->object.load(mo::relaxed) == reinterpret_cast<uint64_t>(iocb) &&
		    io::cancel(o))
			return -EINPROGRESS;
	}
	return -EINVAL;
}

namespace {

// What io_getevents does, with a use of the context.
struct Getting {
	io::Context *c;
	long min_nr, nr;
	struct io_event *events;
	long got; // how many of them are there
	Deadline deadline;
	const sigset_t *mask;
	int cancel_type;
	bool has_time; // a time-out that is not 0
	// Of the call's present turn: the kernel-AIO context that waiters listen to, or -1; whether
	// all that is outstanding will be reported there; whether it has been asked to be listened
	// to.
	int context;
	bool alone, listened_to;
};

void begin_turn(Getting &g)
{
	io::Context *c = g.c;
	g.context = c->group.context(c->outstanding.load(mo::acquire), &g.alone);
	g.listened_to = false;
	if (g.context >= 0)
		kaio::poll(g.context);
	// Not before: what this thread has just taken need not wake it.
	c->sleepers.asleep.fetch_add(1, mo::seq_cst);
}

void end_turn(Getting &g)
{
	if (g.listened_to)
		kaio::need_no_more(g.context);
	g.c->sleepers.asleep.fetch_sub(1, mo::relaxed);
}

// The call does not return.
void stop_getting(void *p)
{
	auto *g = static_cast<Getting *>(p);
	end_turn(*g);
	io::release(g->c);
}

// Nothing need be waited for (min_nr is 0), but there is time, and a buffered transfer is under
// way: with the kernel it had ended when io_submit returned, and programs rely on that.
bool waits_for_none(const Getting &g)
{
	return g.nr > 0 && !g.deadline.never && g.has_time && g.c->buffered.load(mo::acquire) != 0;
}

// By who has slept in a kernel-AIO context, with its signals blocked. What cannot be told is tried
// again, and its error found, when they are let in.
void take_on_waking(void *p)
{
	auto *g = static_cast<Getting *>(p);
	int n = io::take_blocked(g->c, g->events + g->got, g->nr - g->got);
	g->got += n > 0 ? n : 0;
}

// Where all that is outstanding will be, or else where ends are told.
int sleep(Getting &g, uint32_t seen)
{
	io::Sleepers &s = g.c->sleepers;
	io::Sleepers::Undo undo{stop_getting, &g, g.cancel_type};
	if (g.c->dead.load(mo::seq_cst))
		return EINVAL;
	if (g.context >= 0 && g.alone)
		if (int e = s.sleep_in(g.context, seen, g.deadline, g.mask, undo, take_on_waking);
		    e != EBUSY) {
			g.c->group.led();
			return e;
		}
	if (g.context >= 0) {
		kaio::need(g.context);
		g.listened_to = true;
	}
	g.c->group.slept();
	return s.sleep(seen, g.deadline, g.mask, undo);
}

// Takes what there is. False: it cannot be told, which is the result where nothing has been.
bool take(Getting &g)
{
	int n = io::take(g.c, g.events + g.got, g.nr - g.got);
	if (n >= 0)
		g.got += n;
	else if (g.got == 0)
		g.got = n;
	return n >= 0;
}

// What came at the last moment, before the call returns for this reason.
void end_with(Getting &g, int error)
{
	if (g.context >= 0)
		kaio::poll(g.context);
	if (take(g) && g.got == 0 && error != ETIMEDOUT)
		g.got = -error;
}

thread_local Spin spin __attribute__((tls_model("initial-exec")));

// Looks for an end for a moment, where a thread of the helper's may be about to bring it.
bool comes_soon(const Getting &g, uint32_t seen)
{
	const auto &arrivals = g.c->sleepers.arrivals;
	return g.context < 0 && g.mask == nullptr && g.deadline.never && !spin.skip() &&
	       spin.until([&] { return arrivals.load(mo::acquire) != seen; });
}

// One look, and one sleep if it finds too little. True: `got' is what the call returns.
bool get_events(Getting &g)
{
	uint32_t seen = g.c->sleepers.arrivals.load(mo::seq_cst);
	// Not after it: what ended between the two would be neither taken nor waited for.
	bool waits = waits_for_none(g);
	if (!take(g) || (g.got >= g.min_nr && !(g.got == 0 && waits)))
		return true;
	if (comes_soon(g, seen))
		return false;
	if (int e = sleep(g, seen); e != 0) {
		end_with(g, e);
		return true;
	}
	return false;
}

bool turn(Getting &g)
{
	begin_turn(g);
	bool over = get_events(g);
	end_turn(g);
	return over;
}

int read_mask(const struct sigevec_io_mask *from, const sigset_t **mask)
{
	*mask = nullptr;
	if (from == nullptr)
		return 0;
	if (!io::readable(from, sizeof *from))
		return -EFAULT;
	if (from->mask == nullptr)
		return 0;
	constexpr size_t mask_size = 8;
	if (from->size != mask_size)
		return -EINVAL;
	if (!io::readable(from->mask, mask_size))
		return -EFAULT;
	*mask = from->mask;
	return 0;
}

// As the kernel reckons: a sum of seconds and nanoseconds, whatever they are, which never comes if
// it is negative.
Deadline deadline_of(const struct timespec *timeout)
{
	constexpr int64_t second = 1000000000;
	if (timeout == nullptr || timeout->tv_sec >= INT64_MAX / second)
		return Deadline::after(nullptr);
	auto sum = static_cast<int64_t>(static_cast<uint64_t>(timeout->tv_sec) * second +
					static_cast<uint64_t>(timeout->tv_nsec));
	struct timespec clean = {sum / second, sum % second};
	return sum < 0 ? Deadline::after(nullptr) : Deadline::after(&clean);
}

} // namespace

SIGEVEC_EXPORT long sigevec_io_getevents(void *context, long min_nr, long nr,
					 struct io_event *events, const struct timespec *timeout,
					 const struct sigevec_io_mask *masks)
{
	KeepCaller keep;
	Use use(context);
	if (!use)
		return SIGEVEC_IO_FOREIGN;
	if (timeout != nullptr && !io::readable(timeout, sizeof *timeout))
		return -EFAULT;
	const sigset_t *mask;
	if (int e = read_mask(masks, &mask); e != 0)
		return e;
	if (min_nr > nr || min_nr < 0)
		return -EINVAL;
	io::Context *c = use.get();
	Getting g{c,
		  min_nr,
		  nr,
		  events,
		  0,
		  deadline_of(timeout),
		  mask,
		  keep.type(),
		  timeout != nullptr && (timeout->tv_sec | timeout->tv_nsec) != 0,
		  -1,
		  false,
		  false};
	while (!turn(g))
		;
	// What the mask lets in runs in any case.
	if (mask != nullptr && io::let_in(mask) && g.got == 0)
		return -EINTR;
	return g.got;
}

SIGEVEC_EXPORT void sigevec_io_drain(void)
{
	if (process::ready())
		io::drain();
}
