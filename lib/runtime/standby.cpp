// SPDX-License-Identifier: MIT
#include "runtime/standby.hpp"

#include "engine/transfer.hpp"
#include "runtime/syscalls.hpp"

namespace sigevec::standby {

namespace {

using helper::Helper;
using helper::Packet;

enum class Answer : uint32_t { none, taken, refused };

struct Offer {
	Packet packet;
	const Request *request;
	bool same_table; // the submitter's table of descriptors is certainly that of the process's first thread
	std::atomic<Answer> answer{Answer::none};
};

// Not on the stack, which a signal handler may leave by a longjmp; the thread offers nothing any more then.
constinit thread_local Offer own_offer __attribute__((tls_model("initial-exec"))) = {};
constinit thread_local bool offering __attribute__((tls_model("initial-exec"))) = false;

// Helper::standby: nobody, a worker that looks, or the address of an Offer.
constexpr uintptr_t nobody = 0;
constexpr uintptr_t looking = 1;

// How often a submitter looks whether its offer has been taken up, before it withdraws it: a few microseconds.
constexpr int patience = 50;

// Files that could not be taken, until no worker stands by any more: it may have become forbidden, or the first thread has ended.
constexpr int most_trials = 16;

// Whether this is the process's first thread: 0 not known, 1 yes, 2 no. In a child of fork, the thread that was the first one of
// its parent still is.
thread_local uint8_t first_thread __attribute__((tls_model("initial-exec"))) = 0;

bool is_first_thread()
{
	if (first_thread == 0)
		first_thread = syscall(SYS_gettid) == getpid() ? 1 : 2;
	return first_thread == 1;
}

bool is_that_of(int fd, const Request *r)
{
	Descriptor d;
	return transfer::describe(fd, &d) && d.dev == r->dev.load(std::memory_order_relaxed) &&
	       d.ino == r->ino.load(std::memory_order_relaxed) && d.flags == r->flags;
}

// The descriptor in this thread's table, or -1.
int take_file(Helper *h, const Offer &o)
{
	int fd = static_cast<int>(syscall(SYS_pidfd_getfd, h->pidfd, o.request->fd.load(std::memory_order_relaxed), 0));
	// The pidfd names the table of the first thread. Another thread may have left that (CLONE_FILES).
	if (fd >= 0 && !o.same_table && !is_that_of(fd, o.request)) {
		sys::close(fd);
		fd = -1;
	}
	return fd;
}

} // namespace

void set_up(Helper *h)
{
#ifdef SYS_pidfd_getfd
	if (!h->private_table)
		return;
	h->pidfd = static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0));
	int probe = h->pidfd < 0 ? -1 : static_cast<int>(syscall(SYS_pidfd_getfd, h->pidfd, h->driver_tx, 0));
	if (probe < 0)
		return;
	sys::close(probe);
	h->trials.store(most_trials, std::memory_order_relaxed);
#endif
}

namespace {

// Whether the worker has taken o, which Helper::standby led to.
bool taken(Helper *h, Offer &o)
{
	auto answered = [&o] { return o.answer.load(std::memory_order_acquire) != Answer::none; };
	for (int i = 0; i < patience && !answered(); i++)
		relax();
	auto mine = reinterpret_cast<uintptr_t>(&o);
	if (!answered() && h->standby.compare_exchange_strong(mine, looking, std::memory_order_acq_rel))
		return false;
	// The worker is at it: its answer comes within a few system calls.
	for (int i = 0; !answered(); i++) {
		if (i < 1000)
			relax();
		else
			sched_yield();
	}
	return o.answer.load(std::memory_order_acquire) == Answer::taken;
}

} // namespace

bool offer(Helper *h, const Packet &p, const Request *r)
{
	if (h->standby.load(std::memory_order_relaxed) != looking || offering)
		return false;
	offering = true;
	Offer &o = own_offer;
	o.packet = p;
	o.request = r;
	o.same_table = is_first_thread();
	o.answer.store(Answer::none, std::memory_order_relaxed);
	uintptr_t seen = looking;
	// The release of everything the packet leads to; the worker's exchange acquires it.
	bool ok = h->standby.compare_exchange_strong(seen, reinterpret_cast<uintptr_t>(&o), std::memory_order_acq_rel) && taken(h, o);
	offering = false;
	return ok;
}

bool wait(Helper *h, Spin &spin, bool expected, Packet *p, int *fd)
{
	if (h->trials.load(std::memory_order_relaxed) <= 0 || (!expected && spin.skip()))
		return false;
	uintptr_t seen = nobody;
	if (!h->standby.compare_exchange_strong(seen, looking, std::memory_order_acq_rel))
		return false; // another one does
	bool offered = false;
	spin.until([&] {
		offered = h->standby.load(std::memory_order_relaxed) != looking;
		return offered || h->jobs.load(std::memory_order_relaxed) != 0;
	});
	uintptr_t word = h->standby.exchange(nobody, std::memory_order_acq_rel);
	if (word == looking)
		return false;
	auto *o = reinterpret_cast<Offer *>(word);
	*p = o->packet;
	*fd = take_file(h, *o);
	bool ok = *fd >= 0;
	if (!ok)
		h->trials.fetch_sub(1, std::memory_order_relaxed);
	o->answer.store(ok ? Answer::taken : Answer::refused, std::memory_order_release);
	return ok;
}

} // namespace sigevec::standby
