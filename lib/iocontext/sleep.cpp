// SPDX-License-Identifier: MIT
#include "iocontext/sleep.hpp"

#include "base/memory_order.hpp"
#include "base/pending_signal.hpp"
#include "base/syscalls.hpp"
#include "base/thread_id.hpp"
#include "cancellation.h"
#include "engine/kaio.hpp"
#include "interrupt.h"

#include <cstring>
#include <poll.h>

namespace sigevec::io {

namespace {

constexpr size_t mask_size = 8;
constexpr uint64_t interruption = uint64_t{1} << (sigevec_interruption - 1);

void set_mask(uint64_t now, uint64_t *before)
{
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &now, before, mask_size);
}

// The sleeper has left the list: an interruption that is still to come would be the program's next
// system call's. One of pthread_cancel's goes on to where it was meant for. Whether one was still
// to come.
bool swallow_interruption()
{
	siginfo_t info;
	bool any = false;
	while (sys::take_signal(interruption, &info) == sigevec_interruption) {
		any = true;
		if (info.si_code == SI_TKILL) {
			syscall(SYS_tgkill, getpid(), thread_id(), sigevec_interruption);
			break;
		}
	}
	return any;
}

// Whether a sleeper can be interrupted. The sleeps of this file end by any handler, so it is enough
// that there was one when the first of them began.
bool can_be_interrupted()
{
	static std::atomic<bool> known{false};
	if (known.load(mo::relaxed))
		return true;
	bool can = sigevec_can_interrupt() != 0;
	if (can)
		known.store(true, mo::relaxed);
	return can;
}

// Without a time-out a handler with SA_RESTART would make the sleep go on, which the kernel's own
// does not.
constexpr timespec very_long{1000000000, 0};

} // namespace

void Sleepers::wake()
{
	arrivals.fetch_add(1, mo::seq_cst);
	if (asleep.load(mo::seq_cst) == 0)
		return;
	futex_wake(arrivals, INT_MAX);
	if (masked.load(mo::seq_cst) == nullptr)
		return;
	BlockSignals blocked;
	Guard<Mutex> g(lock);
	// Not asked for by each sleeper: it is seldom that one is interrupted.
	sigevec_can_interrupt();
	for (Masked *m = masked.load(mo::relaxed); m != nullptr; m = m->next)
		if (!m->woken) {
			m->woken = true;
			sigevec_interrupt(m->thread);
		}
}

int Sleepers::sleep(uint32_t seen, const Deadline &deadline, const sigset_t *mask, const Undo &undo)
{
	if (mask != nullptr)
		return sleep_masked(seen, deadline, mask);
	timespec rest = very_long;
	if (!deadline.never && !deadline.left(rest))
		return ETIMEDOUT;
	long arg[6] = {reinterpret_cast<long>(&arrivals),
		       FUTEX_WAIT_PRIVATE,
		       static_cast<long>(seen),
		       reinterpret_cast<long>(&rest),
		       0,
		       0};
	auto e = static_cast<int>(
		-sigevec_undone_syscall(undo.undo, undo.arg, undo.cancel_type, SYS_futex, arg));
	return e == EAGAIN || (e == ETIMEDOUT && deadline.never) ? 0 : e;
}

// With all signals blocked.
void Sleepers::enter(Masked *me)
{
	Guard<Mutex> g(lock);
	me->next = masked.load(mo::relaxed);
	masked.store(me, mo::seq_cst);
}

void Sleepers::leave(Masked *me)
{
	Guard<Mutex> g(lock);
	Masked *first = masked.load(mo::relaxed);
	if (first == me) {
		masked.store(me->next, mo::relaxed);
		return;
	}
	while (first->next != me)
		first = first->next;
	first->next = me->next;
}

namespace {

// How long to sleep at most; false: the time is over. Who cannot be interrupted looks itself.
bool time_to_sleep(const Deadline &deadline, bool interruptible, timespec *rest)
{
	timespec left;
	*rest = interruptible ? very_long : timespec{0, 1000000};
	if (deadline.never)
		return true;
	if (!deadline.left(left))
		return false;
	if (left.tv_sec < rest->tv_sec ||
	    (left.tv_sec == rest->tv_sec && left.tv_nsec < rest->tv_nsec))
		*rest = left;
	return true;
}

} // namespace

int Sleepers::sleep_masked(uint32_t seen, const Deadline &deadline, const sigset_t *mask)
{
	timespec rest;
	if (!time_to_sleep(deadline, can_be_interrupted(), &rest))
		return ETIMEDOUT;
	uint64_t inside, before;
	memcpy(&inside, mask, sizeof inside);
	inside &= ~interruption;
	Masked me{nullptr, thread_id(), false};
	set_mask(~uint64_t{0}, &before);
	enter(&me);
	int e = 0;
	if (arrivals.load(mo::seq_cst) == seen)
		e = sys::sleep_with_mask(rest, &inside) < 0 ? errno : 0;
	leave(&me);
	// What interrupted the sleep was a signal of the program's if the interruption is still to
	// come.
	bool ours = me.woken && !swallow_interruption();
	set_mask(before, nullptr);
	return e == EINTR && !ours ? EINTR : 0;
}

struct Sleepers::Inside {
	Sleepers *sleepers;
	Masked me;
	uint64_t before;
	const Undo *undo;
};

// A sleep_in() that does not return.
void Sleepers::left(void *p)
{
	auto *in = static_cast<Inside *>(p);
	set_mask(~uint64_t{0}, nullptr);
	in->sleepers->leave(&in->me);
	if (in->me.woken)
		swallow_interruption();
	set_mask(in->before, nullptr);
	in->undo->undo(in->undo->arg);
}

int Sleepers::sleep_in(int context, uint32_t seen, const Deadline &deadline, const sigset_t *mask,
		       const Undo &undo, void (*awake)(void *))
{
	if (!can_be_interrupted())
		return EBUSY;
	timespec rest;
	if (!time_to_sleep(deadline, true, &rest))
		return ETIMEDOUT;
	Inside in{this, {nullptr, thread_id(), false}, 0, &undo};
	set_mask(~uint64_t{0}, &in.before);
	uint64_t inside = in.before;
	if (mask != nullptr)
		memcpy(&inside, mask, sizeof inside);
	inside &= ~interruption;
	sigset_t let_in;
	memset(&let_in, 0, sizeof let_in);
	memcpy(&let_in, &inside, sizeof inside);
	enter(&in.me);
	int e = 0;
	if (arrivals.load(mo::seq_cst) == seen)
		e = -kaio::sleep_once(context, rest, &let_in, left, &in, undo.cancel_type);
	leave(&in.me);
	// Not asleep any more: what this thread takes need not wake it.
	asleep.fetch_sub(1, mo::seq_cst);
	kaio::poll_blocked(context);
	asleep.fetch_add(1, mo::seq_cst);
	awake(undo.arg);
	bool ours = in.me.woken && !swallow_interruption();
	set_mask(in.before, nullptr);
	if (e == EINTR)
		return ours ? 0 : EINTR;
	return e == EBUSY ? EBUSY : 0;
}

bool let_in(const sigset_t *mask)
{
	timespec none{};
	uint64_t inside;
	memcpy(&inside, mask, sizeof inside);
	return sys::sleep_with_mask(none, &inside) < 0 && errno == EINTR;
}

} // namespace sigevec::io
