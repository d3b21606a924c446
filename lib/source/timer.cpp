// SPDX-License-Identifier: MIT
#include "source/timer.hpp"

#include "channel/channel.hpp"
#include "libc.hpp"
#include "runtime/sync.hpp"

#include <cerrno>
#include <climits>

namespace sigevec::timer {

namespace {

using source::Wait;

// libc's own signal for cancellation and for the timers of SIGEV_THREAD. Nobody sends it to the process, so that the thread, which
// alone has it blocked and waits for it, takes nothing that is meant for the program.
constexpr int signal_number = 32;
constexpr uint64_t signal_set = uint64_t{1} << (signal_number - 1);

// The thread, or 0. Once it is there it stays.
std::atomic<uint32_t> thread_id{0};
// Held while the thread is started; no timer needs it in order to expire.
Mutex starting;
// Waits with a timer, so that programs without pay nothing for timer_delete and timer_getoverrun.
std::atomic<uint32_t> timers{0};

bool tell(Wait *w, event_data_t *d)
{
	bool goes_on = source::rearm(w);
	// After rearm: what expires from now on is either counted here, or pushes another event.
	uint64_t n = w->count.exchange(0, std::memory_order_acq_rel);
	if (!goes_on || n == 0) {
		channel::retract(w->channel);
		return false;
	}
	w->overrun.store(n - 1 > INT_MAX ? INT_MAX : static_cast<int>(n - 1), std::memory_order_relaxed);
	d->ev_type = event_type_timer;
	d->ev_un.ev_obj = w->timer.load(std::memory_order_relaxed);
	d->ev_result = static_cast<ssize_t>(n);
	return true;
}

// The channel ends. The timer stays until timer_delete.
bool cancel(Wait *w, bool)
{
	return source::end(w);
}

constexpr source::Kind kind = {tell, nullptr, cancel, nullptr, false};

void expired(uint64_t handle, uint64_t times)
{
	Wait *w = source::find(handle);
	if (w == nullptr)
		return;
	if (w->kind == &kind) {
		w->count.fetch_add(times, std::memory_order_acq_rel);
		source::push_again(w);
	}
	source::release(w);
}

void *main(void *)
{
	// Not by libc's function, which leaves this signal out.
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, &signal_set, nullptr, sizeof signal_set);
	thread_id.store(static_cast<uint32_t>(syscall(SYS_gettid)), std::memory_order_release);
	futex_wake(thread_id, INT_MAX);
	for (;;) {
		siginfo_t info;
		long n = syscall(SYS_rt_sigtimedwait, &signal_set, &info, nullptr, sizeof signal_set);
		if (n == signal_number && info.si_code == SI_TIMER)
			expired(reinterpret_cast<uint64_t>(info.si_value.sival_ptr),
				uint64_t{1} + static_cast<unsigned>(info.si_overrun));
	}
}

// 0: there is none.
uint32_t start()
{
	uint32_t id = thread_id.load(std::memory_order_acquire);
	if (id != 0)
		return id;
	Guard<Mutex> g(starting);
	if (thread_id.load(std::memory_order_relaxed) == 0 && start_thread(main, nullptr, "sigevec-timer") != 0)
		return 0;
	while ((id = thread_id.load(std::memory_order_acquire)) == 0)
		futex_wait(thread_id, 0, nullptr);
	return id;
}

// Of the timers the one with this number, with a reference; or nullptr.
Wait *of(timer_t id)
{
	if (timers.load(std::memory_order_acquire) == 0)
		return nullptr;
	for (uint32_t i = 0; i < source::size(); i++) {
		Wait *w = source::hold(i);
		if (w == nullptr)
			continue;
		if (w->kind == &kind && w->timer.load(std::memory_order_relaxed) == id)
			return w;
		source::release(w);
	}
	return nullptr;
}

// No kernel's number: that of a timer which is being made or deleted.
timer_t no_timer()
{
	return reinterpret_cast<timer_t>(INTPTR_MIN);
}

int create_with_room(clockid_t clock, const struct sigevent &e, Channel *c, timer_t *id)
{
	uint32_t thread = start();
	Wait *w = thread != 0 ? source::create(&kind, c, e.sigev_value) : nullptr;
	if (w == nullptr)
		return EAGAIN;
	w->timer.store(no_timer(), std::memory_order_relaxed);
	struct sigevent signal = {};
	signal.sigev_notify = SIGEV_THREAD_ID;
	signal.sigev_signo = signal_number;
	signal.sigev_value.sival_ptr = reinterpret_cast<void *>(source::handle(w));
	signal._sigev_un._tid = static_cast<pid_t>(thread);
	if (libc::functions().timer_create(clock, &signal, id) != 0) {
		int error = errno;
		source::release(w);
		return error;
	}
	w->timer.store(*id, std::memory_order_relaxed);
	timers.fetch_add(1, std::memory_order_release);
	return 0;
}

} // namespace

int create(clockid_t clock, const struct sigevent &e, timer_t *id)
{
	Channel *c = nullptr;
	int error = channel::admit(e.sigev_ec, &c);
	if (error == 0 && (error = create_with_room(clock, e, c, id)) != 0)
		channel::retract(c);
	return error;
}

int remove(timer_t id)
{
	Wait *w = of(id);
	if (w == nullptr)
		return -1;
	// First, so that a new timer with the same number is not taken for this one.
	timer_t own = id;
	int error = -1;
	if (w->timer.compare_exchange_strong(own, no_timer(), std::memory_order_relaxed)) {
		error = libc::functions().timer_delete(id) == 0 ? 0 : errno;
		timers.fetch_sub(1, std::memory_order_relaxed);
		source::end(w);
		source::release(w);
	}
	source::release(w);
	return error;
}

int overrun(timer_t id)
{
	Wait *w = of(id);
	if (w == nullptr)
		return -1;
	int n = w->overrun.load(std::memory_order_relaxed);
	source::release(w);
	return n;
}

void after_fork()
{
	thread_id.store(0, std::memory_order_relaxed);
	timers.store(0, std::memory_order_relaxed);
	starting.reset();
}

} // namespace sigevec::timer
