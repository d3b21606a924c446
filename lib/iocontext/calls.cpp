// SPDX-License-Identifier: MIT
//
// The calls of interface.h.
#include "iocontext/interface.h"

#include "api/check.hpp"
#include "engine/kaio.hpp"
#include "iocontext/context.hpp"
#include "iocontext/submit.hpp"
#include "iocontext/user_memory.hpp"
#include "runtime/helper.hpp"
#include "runtime/process.hpp"

#include <cerrno>
#include <cstring>

using namespace sigevec;

namespace {

// A use of a context for the length of a call.
class Use {
public:
	explicit Use(const void *address) : context_(process::ready() ? io::acquire(address) : nullptr) {}
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

// Whatever is called in a call, the program's errno is not touched.
class KeepErrno {
public:
	~KeepErrno() { errno = saved_; }

private:
	int saved_ = errno;
};

} // namespace

SIGEVEC_EXPORT long sigevec_io_setup(unsigned nr, void **context)
{
	KeepErrno keep;
	if (!io::readable(context, sizeof *context))
		return -EFAULT;
	if (*context != nullptr || nr == 0)
		return -EINVAL;
	if (!process::ensure())
		return -ENOMEM;
	// Of a place that can only be read the content stays what it was.
	bool can_be_told = io::writable(context, sizeof *context);
	if (!can_be_told)
		return -EFAULT;
	*context = nullptr;
	io::Ring *ring;
	int e = io::create(nr, &ring);
	if (e == 0)
		*context = ring;
	return e;
}

SIGEVEC_EXPORT long sigevec_io_destroy(void *context)
{
	KeepErrno keep;
	Use use(context);
	if (!use)
		return SIGEVEC_IO_FOREIGN;
	io::Context *c = use.get();
	if (!io::remove(c))
		return -EINVAL;
	c->sleepers.wake();
	io::cancel_all(c);
	while (uint32_t n = c->outstanding.load(std::memory_order_acquire))
		futex_wait(c->outstanding, n, nullptr);
	// Others are leaving it: this call is to be the one that takes it away.
	while (c->users.load(std::memory_order_acquire) > 2) {
		c->sleepers.wake();
		sched_yield();
	}
	io::release(c); // the table's
	return 0;
}

namespace {

// With what its thread hands over collected: one list is one submission.
long submit_all(io::Context *c, long nr, struct iocb *const *iocbs)
{
	helper::Plug plug;
	kaio::plug();
	long done = 0;
	int e = 0;
	for (; done < nr && e == 0; done++) {
		e = io::readable(iocbs + done, sizeof *iocbs) ? io::submit_one(c, reinterpret_cast<uint64_t>(iocbs[done])) : -EFAULT;
		if (e != 0)
			break;
	}
	kaio::unplug();
	return done != 0 ? done : e;
}

} // namespace

SIGEVEC_EXPORT long sigevec_io_submit(void *context, long nr, struct iocb *const *iocbs)
{
	KeepErrno keep;
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
	KeepErrno keep;
	Use use(context);
	if (!use)
		return SIGEVEC_IO_FOREIGN;
	if (!io::readable(&iocb->aio_key, 8))
		return -EFAULT;
	if (iocb->aio_key != 0)
		return -EINVAL;
	for (uint32_t i = 0; i < io::operations(); i++) {
		io::Operation *o = io::operation_at(i);
		if (o->context.load(std::memory_order_acquire) == use.get() &&
		    o->object.load(std::memory_order_relaxed) == reinterpret_cast<uint64_t>(iocb))
			return io::cancel(o) ? -EINPROGRESS : -EINVAL;
	}
	return -EINVAL;
}

namespace {

// One look, and one sleep if it finds too little. True: `got' is what the call returns.
bool get_events(io::Context *c, long min_nr, long nr, struct io_event *events, const Deadline &deadline, const sigset_t *mask, long *got)
{
	uint32_t seen = c->sleepers.arrivals.load(std::memory_order_seq_cst);
	int n = io::take(c, events + *got, nr - *got);
	if (n < 0) {
		*got = *got != 0 ? *got : n;
		return true;
	}
	*got += n;
	if (*got >= min_nr)
		return true;
	int e = c->dead.load(std::memory_order_seq_cst) ? EINVAL : c->sleepers.sleep(seen, deadline, mask);
	if (e == 0)
		return false;
	// What came at the last moment.
	n = io::take(c, events + *got, nr - *got);
	*got += n > 0 ? n : 0;
	if (*got == 0 && e != ETIMEDOUT)
		*got = -e;
	return true;
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

} // namespace

SIGEVEC_EXPORT long sigevec_io_getevents(void *context, long min_nr, long nr, struct io_event *events, const struct timespec *timeout,
					 const struct sigevec_io_mask *masks)
{
	KeepErrno keep;
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
	Deadline deadline = Deadline::after(timeout);
	io::Context *c = use.get();
	long got = 0;
	c->sleepers.asleep.fetch_add(1, std::memory_order_seq_cst);
	while (!get_events(c, min_nr, nr, events, deadline, mask, &got))
		;
	c->sleepers.asleep.fetch_sub(1, std::memory_order_relaxed);
	return got;
}

SIGEVEC_EXPORT void sigevec_io_drain(void)
{
	if (!process::ready())
		return;
	for (uint32_t i = 0; i < io::contexts(); i++) {
		io::Context *c = io::acquire_at(i);
		if (c == nullptr)
			continue;
		while (uint32_t n = c->of_files.load(std::memory_order_acquire))
			futex_wait(c->of_files, n, nullptr);
		io::release(c);
	}
}
