// SPDX-License-Identifier: MIT
#include "source/timer.hpp"

#include "base/memory_order.hpp"
#include "base/pending_signal.hpp"
#include "base/sync.hpp"
#include "base/thread_id.hpp"
#include "channel/channel.hpp"
#include "libc.hpp"
#include "runtime/thread.hpp"

#include <cerrno>
#include <climits>

namespace sigevec::timer {

namespace {

using source::Wait;

// libc's own signal for cancellation and for the timers of SIGEV_THREAD. Nobody sends it to the
// process, so that the thread, which alone has it blocked and waits for it, takes nothing that is
// meant for the program.
constexpr int signal_number = 32;
constexpr uint64_t signal_set = uint64_t{1} << (signal_number - 1);

// The thread, or 0. Once it is there it stays.
std::atomic<uint32_t> thread_id{0};
// Held while the thread is started; no timer needs it in order to expire.
Mutex starting;
// Waits with a timer, so that programs without pay nothing for timer_delete and timer_getoverrun.
std::atomic<uint32_t> timers{0};
// These waits by the timers' numbers. timer_getoverrun may be called in signal handlers: locked
// with all signals blocked.
Mutex lock;
Chains<Wait, &Wait::of_key> by_number;

bool describe(Wait *w, event_data_t *d)
{
	bool goes_on = source::rearm(w);
	// After rearm: what expires from now on is either counted here, or pushes another event.
	uint64_t n = w->count.exchange(0, mo::acq_rel);
	if (!goes_on || n == 0) {
		channel::return_credit(w->channel);
		return false;
	}
	w->overrun.store(n - 1 > INT_MAX ? INT_MAX : static_cast<int>(n - 1), mo::relaxed);
	d->ev_type = event_type_timer;
	d->ev_un.ev_obj = w->timer.load(mo::relaxed);
	d->ev_result = static_cast<ssize_t>(n);
	return true;
}

// The channel ends. The timer stays until timer_delete.
bool cancel(Wait *w, bool)
{
	return source::end(w);
}

constexpr source::Kind kind = {describe, nullptr, cancel, nullptr, nullptr, false};

void expired(uint64_t handle, uint64_t times)
{
	Wait *w = source::find(handle);
	if (w == nullptr)
		return;
	if (w->kind == &kind) {
		w->count.fetch_add(times, mo::acq_rel);
		source::push_again(w);
	}
	source::release(w);
}

void *main(void *)
{
	// Not by libc's function, which leaves this signal out.
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, &signal_set, nullptr, sizeof signal_set);
	thread_id.store(static_cast<uint32_t>(sigevec::thread_id()), mo::release);
	futex_wake(thread_id, INT_MAX);
	for (;;) {
		siginfo_t info;
		int n = sys::wait_for_signal(signal_set, &info);
		if (n == signal_number && info.si_code == SI_TIMER)
			expired(reinterpret_cast<uint64_t>(info.si_value.sival_ptr),
				uint64_t{1} + static_cast<unsigned>(info.si_overrun));
	}
}

// 0: there is none.
uint32_t start()
{
	uint32_t id = thread_id.load(mo::acquire);
	if (id != 0)
		return id;
	Guard<Mutex> g(starting);
	if (thread_id.load(mo::relaxed) == 0 && start_thread(main, nullptr, "sigevec-timer") != 0)
		return 0;
	while ((id = thread_id.load(mo::acquire)) == 0)
		futex_wait(thread_id, 0, nullptr);
	return id;
}

uint64_t hash_of_number(timer_t id)
{
	return hash_of(id, nullptr);
}

// No handler of this thread's may meet the lock: it may call, too.
class Locked {
	BlockSignals blocked_;
	Guard<Mutex> guard_{lock};
};

// With the lock held.
Wait *look_up(timer_t id)
{
	Wait *w = by_number.first(hash_of_number(id));
	while (w != nullptr && w->timer.load(mo::relaxed) != id)
		w = by_number.next(w);
	return w;
}

// With a reference, or nullptr.
Wait *of(timer_t id)
{
	if (timers.load(mo::acquire) == 0)
		return nullptr;
	Locked locked;
	Wait *w = look_up(id);
	if (w != nullptr)
		source::hold(w);
	return w;
}

// With the reference of whoever will tell its end, or nullptr. The number may be another timer's
// after timer_delete.
Wait *take_out(timer_t id)
{
	if (timers.load(mo::acquire) == 0)
		return nullptr;
	Locked locked;
	Wait *w = look_up(id);
	if (w == nullptr)
		return nullptr;
	by_number.remove(w);
	timers.fetch_sub(1, mo::relaxed);
	return w;
}

void enter(Wait *w, timer_t id)
{
	w->timer.store(id, mo::relaxed);
	Locked locked;
	by_number.add(w, hash_of_number(id));
	timers.fetch_add(1, mo::release);
}

// 0 or the errno of the call.
int start_timer(clockid_t clock, Wait *w, timer_t *id)
{
	uint32_t thread = start();
	if (thread == 0)
		return EAGAIN;
	struct sigevent signal = {};
	signal.sigev_notify = SIGEV_THREAD_ID;
	signal.sigev_signo = signal_number;
	signal.sigev_value.sival_ptr = reinterpret_cast<void *>(source::handle(w));
	signal._sigev_un._tid = static_cast<pid_t>(thread);
	if (libc::functions().timer_create(clock, &signal, id) != 0)
		return errno;
	enter(w, *id);
	return 0;
}

} // namespace

int create(clockid_t clock, const struct sigevent &e, timer_t *id)
{
	return source::submit(&kind, e.sigev_ec, e.sigev_value,
			      [=](Wait *w) { return start_timer(clock, w, id); });
}

int remove(timer_t id)
{
	Wait *w = take_out(id);
	if (w == nullptr)
		return -1;
	int error = libc::functions().timer_delete(id) == 0 ? 0 : errno;
	source::end(w);
	source::release(w);
	return error;
}

int overrun(timer_t id)
{
	Wait *w = of(id);
	if (w == nullptr)
		return -1;
	int n = w->overrun.load(mo::relaxed);
	source::release(w);
	return n;
}

void after_fork()
{
	thread_id.store(0, mo::relaxed);
	timers.store(0, mo::relaxed);
	starting.reset();
	lock.reset();
	by_number.forget();
}

} // namespace sigevec::timer
