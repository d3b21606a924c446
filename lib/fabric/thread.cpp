// SPDX-License-Identifier: MIT
#include "fabric/thread.hpp"

#include "base/syscalls.hpp"
#include "base/thread_id.hpp"
#include "base/thread_signal.hpp"

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <new>
#include <sys/epoll.h>

namespace sigevec::fabric::thread {

namespace {

Mutex starting;
std::atomic<uint32_t> running{0}; // its number; 0: there is none
std::atomic<uint32_t> work{0}, asleep{0};
ThreadSignal signal;
Mutex commands_lock;
List<Command> commands;
std::atomic<Endpoint *> endpoints{nullptr};

// The thread's own.
int epoll = -1, alarm = -1;
// In what epoll says, of a provider's: that it has something is seen when its queue is read.
char of_provider;
// ofi_rxm looks at connections that begin at most every 10 ms, when its queue is read, and does not
// tell again of one that it has passed over: after each word of a provider's its queue is read a
// few times more, each after so long. They are counted, since on a busy machine any time may pass
// before the second.
constexpr int attentive_reads = 5, attentive_ms = 12;
constexpr uint64_t most_at_exit = 6000000000; // ns, for what is under way, with its good-bye
int attentive = 0;                            // how many of them are left

bool add(int fd, uint32_t events, void *data)
{
	struct epoll_event x = {};
	x.events = events;
	x.data.ptr = data;
	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &x) == 0;
}

bool prepare()
{
	epoll = epoll_create1(EPOLL_CLOEXEC);
	alarm = ThreadSignal::descriptor();
	return epoll >= 0 && alarm >= 0 && add(alarm, EPOLLIN | EPOLLET, nullptr);
}

bool is_alive(const Endpoint *e)
{
	uint32_t s = e->state.load(mo::acquire);
	return s == Endpoint::open || s == Endpoint::closing;
}

template <class F> void each(F f)
{
	for (Endpoint *e = endpoints.load(mo::acquire); e != nullptr; e = e->next)
		if (is_alive(e))
			f(e);
}

void run_commands()
{
	List<Command> all;
	{
		Guard<Mutex> g(commands_lock);
		all = commands.take_all();
	}
	while (Command *c = all.pop()) {
		int error = c->run(c);
		if (error < 0)
			continue;
		c->error = error;
		c->done.store(1, mo::release);
		futex_wake(c->done, 1);
	}
}

Round go_round()
{
	Round all = {};
	each([&all](Endpoint *e) {
		Round r = step(e);
		all = {all.more || r.more, all.told || r.told};
		if (e->over)
			close(e);
	});
	return all;
}

// Whether all providers agree to a sleep; what they have to tell they tell by their descriptors
// then.
bool may_sleep(int *ms)
{
	bool may = true;
	*ms = -1;
	each([&may, ms](Endpoint *e) {
		struct fid *queue = &e->provider.cq->fid;
		may = may && fi_trywait(e->provider.fabric, &queue, 1) == 0;
		int most = longest_sleep(e);
		if (most >= 0 && (*ms < 0 || most < *ms))
			*ms = most;
	});
	return may;
}

// The program's end of a descriptor has been closed.
void hung_up(Endpoint *e)
{
	epoll_ctl(epoll, EPOLL_CTL_DEL, e->inner, nullptr);
	uint32_t s = Endpoint::open;
	e->state.compare_exchange_strong(s, Endpoint::closing, mo::acq_rel);
}

void sleep(uint32_t seen)
{
	int ms;
	signal.take();
	asleep.store(1, mo::seq_cst);
	struct epoll_event v[64];
	int n = 0;
	if (work.load(mo::seq_cst) == seen && may_sleep(&ms)) {
		bool short_one = attentive > 0 && (ms < 0 || ms > attentive_ms);
		n = sys::epoll_wait(epoll, v, 64, short_one ? attentive_ms : ms);
		attentive -= short_one && n == 0;
	}
	asleep.store(0, mo::seq_cst);
	for (int i = 0; i < n; i++) {
		if (v[i].data.ptr == &of_provider) {
			attentive = attentive_reads;
		} else if (v[i].data.ptr != nullptr) {
			auto *e = static_cast<Endpoint *>(v[i].data.ptr);
			if (is_alive(e))
				hung_up(e);
		}
	}
}

// Whether to look for a caller's next work before sleeping. Who has been told of something often
// wants more at once, and to be woken for it costs more than to look so long; who does not is
// hardly looked for any more.
class Habit {
public:
	// True: there is some.
	bool look(uint32_t seen)
	{
		if (credit_ == 0 && ++passed_ % seldom != 0)
			return false;
		sched_yield(); // to who has been told, where that one waits for this processor
		uint64_t end = monotonic_ns() + long_enough;
		bool came;
		while (!(came = work.load(mo::seq_cst) != seen) && monotonic_ns() < end)
			relax();
		if (came)
			credit_ = credit_ < most_credit ? credit_ + 1 : credit_;
		else
			credit_ = credit_ > 0 ? credit_ - 1 : 0;
		return came;
	}

private:
	static constexpr uint64_t long_enough = 20000; // ns
	static constexpr uint32_t most_credit = 8, seldom = 32;
	uint32_t credit_ = most_credit, passed_ = 0;
} habit;

void *main(void *)
{
	host->enter();
	bool ready = prepare();
	running.store(ready ? static_cast<uint32_t>(ask_thread_id()) : UINT32_MAX, mo::release);
	futex_wake(running, INT_MAX);
	while (ready) {
		uint32_t seen = work.load(mo::seq_cst);
		run_commands();
		Round r = go_round();
		if (r.more || work.load(mo::seq_cst) != seen || (r.told && habit.look(seen)))
			continue;
		sleep(seen);
	}
	return nullptr;
}

} // namespace

int ensure()
{
	if (uint32_t t = running.load(mo::acquire); t != 0)
		return t != UINT32_MAX ? 0 : EMFILE;
	Guard<Mutex> g(starting);
	if (running.load(mo::acquire) == 0) {
		if (int e = host->start_thread(main, "sigevec-fabric"); e != 0)
			return e;
		while (running.load(mo::acquire) == 0)
			futex_wait(running, 0, nullptr);
	}
	bool failed = running.load(mo::acquire) == UINT32_MAX;
	if (failed)
		running.store(0, mo::release); // another attempt may find room
	return failed ? EMFILE : 0;
}

void wake()
{
	work.fetch_add(1, mo::seq_cst);
	if (asleep.exchange(0, mo::seq_cst) != 0)
		signal.send(getpid(), static_cast<pid_t>(running.load(mo::relaxed)));
}

int run(Command *c)
{
	// It is on the caller's stack: no handler may leave it by a longjmp meanwhile.
	BlockSignals blocked;
	{
		Guard<Mutex> g(commands_lock);
		commands.push(c);
	}
	wake();
	while (c->done.load(mo::acquire) == 0)
		futex_wait(c->done, 0, nullptr);
	return c->error;
}

Endpoint *make()
{
	Endpoint *e = endpoints.load(mo::relaxed);
	while (e != nullptr && (e->state.load(mo::acquire) != Endpoint::unused || e->region >= 0))
		e = e->next;
	Endpoint *next = e != nullptr ? e->next : endpoints.load(mo::relaxed);
	bool old = e != nullptr;
	void *m = old ? e : malloc(sizeof(Endpoint));
	if (m == nullptr)
		return nullptr;
	// Who still waits for the former's messages is to see that it is no more.
	uint32_t came = old ? e->receivers.came.load(mo::relaxed) + 1 : 0;
	e = new (m) Endpoint{};
	e->receivers.came.store(came, mo::relaxed);
	e->next = next;
	e->inner = e->region = -1;
	e->largest = largest_message;
	e->state.store(Endpoint::opening, mo::relaxed);
	if (!old)
		endpoints.store(e, mo::release);
	return e;
}

int watch(Endpoint *e)
{
	if (!add(e->provider.wait_fd, EPOLLIN, &of_provider) || !add(e->inner, 0, e))
		return errno == ENOSPC ? EMFILE : errno;
	e->state.store(Endpoint::open, mo::release);
	return 0;
}

bool some_closed()
{
	bool some = false;
	each([&some](Endpoint *e) {
		struct pollfd p = {e->inner, 0, 0};
		if (e->state.load(mo::acquire) == Endpoint::open && sys::poll_now(&p) > 0)
			hung_up(e);
		some = some || e->state.load(mo::acquire) == Endpoint::closing;
	});
	return some;
}

void wait_for_closing()
{
	uint64_t limit = monotonic_ns() + most_at_exit;
	for (Endpoint *e = endpoints.load(mo::acquire); e != nullptr; e = e->next)
		for (;;) {
			uint32_t seen = e->changes.load(mo::acquire);
			if (e->state.load(mo::acquire) != Endpoint::closing ||
			    monotonic_ns() >= limit)
				break;
			constexpr timespec moment{0, 10000000};
			wait_for_change(e, seen, &moment);
		}
}

void finish_all()
{
	if (running.load(mo::acquire) == 0)
		return;
	for (Endpoint *e = endpoints.load(mo::acquire); e != nullptr; e = e->next) {
		uint32_t s = Endpoint::open;
		e->state.compare_exchange_strong(s, Endpoint::closing, mo::acq_rel);
	}
	wake();
	wait_for_closing();
}

void after_fork()
{
	starting.reset();
	commands_lock.reset();
	commands = {};
	running.store(0, mo::relaxed);
	asleep.store(0, mo::relaxed);
	signal.reset();
	epoll = alarm = -1;
	for (Endpoint *e = endpoints.load(mo::relaxed); e != nullptr; e = e->next) {
		e->lock.reset();
		e->provider = {};
		e->inner = e->region = -1;
		e->state.store(Endpoint::unused, mo::relaxed);
	}
}

} // namespace sigevec::fabric::thread
