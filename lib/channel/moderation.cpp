// SPDX-License-Identifier: MIT
//
// The clock's list: who starts it for a channel pushes that one onto `started', then counts
// `wakes', then looks whether the thread sleeps; the thread says that it sleeps, then looks at
// `wakes' once more (in futex_wait). All of that is seq_cst, so no start is slept over. A channel
// is in one list at most: `clock' says whether it is.
#include "channel/moderation.hpp"

#include "base/memory_order.hpp"
#include "base/owned_fd.hpp"
#include "base/syscalls.hpp"
#include "channel/own_epoll.hpp"
#include "channel/queue.hpp"
#include "channel/wakeup.hpp"
#include "runtime/thread.hpp"

#include <cerrno>
#include <sys/epoll.h>
#include <sys/prctl.h>

namespace sigevec::moderation {

namespace {

constexpr uint32_t longest_for_ring = 1000; // microseconds
constexpr int64_t second = 1000000000;

// Held while a thread is started.
Mutex starting;
std::atomic<bool> clock_runs{false};
std::atomic<Channel *> started{nullptr};
std::atomic<uint32_t> wakes{0};
std::atomic<bool> asleep{false};
// What the second thread listens to, in the program's table; -1: there is no such thread. The
// program may have closed it.
std::atomic<int> instance{-1};
std::atomic<uint64_t> instance_mark{0};

// What that thread is told by the kernel was written by the library; but a child of fork may have
// the instance, too, so it is looked at like a stranger's: an index with a number that nobody else
// knows.
std::atomic<uint32_t> secret{0};

int64_t now()
{
	timespec t = monotonic_now();
	return t.tv_sec * second + t.tv_nsec;
}

int64_t end_of(const Channel *c)
{
	uint32_t time = c->moderate_time.load(mo::relaxed);
	if (!on(c))
		return 0;
	return time == 0 ? INT64_MAX : c->first_came.load(mo::relaxed) + int64_t{time} * 1000;
}

// Takes over what has been started.
void collect(Channel **running)
{
	Channel *c = started.exchange(nullptr, mo::seq_cst);
	while (c != nullptr) {
		Channel *next = c->next_clock;
		c->next_clock = *running;
		*running = c;
		c = next;
	}
}

// Stops the clocks whose time is up. Returns when the next one is.
int64_t stop_clocks(Channel **running)
{
	int64_t nearest = INT64_MAX, t = now();
	for (Channel **at = running; *at != nullptr;) {
		Channel *c = *at;
		int64_t end = end_of(c);
		if (end > t && c->open.load(mo::relaxed)) {
			nearest = end < nearest ? end : nearest;
			at = &c->next_clock;
			continue;
		}
		*at = c->next_clock;
		// Either who comes now starts it again, or what has come is seen by
		// moderation_expired().
		c->clock.store(false, mo::seq_cst);
		channel::moderation_expired(c);
		channel::release(c);
	}
	return nearest;
}

void wake_clock()
{
	wakes.fetch_add(1, mo::seq_cst);
	if (asleep.load(mo::seq_cst))
		futex_wake(wakes, 1);
}

void *run_clock(void *)
{
	prctl(PR_SET_TIMERSLACK, 1ul);
	for (Channel *running = nullptr;;) {
		uint32_t seen = wakes.load(mo::seq_cst);
		collect(&running);
		int64_t end = stop_clocks(&running);
		int64_t left = end - (end == INT64_MAX ? 0 : now());
		if (left <= 0)
			continue;
		timespec rest{left / second, left % second};
		asleep.store(true, mo::seq_cst);
		futex_wait(wakes, seen, end == INT64_MAX ? nullptr : &rest);
		asleep.store(false, mo::relaxed);
	}
}

void heard(uint64_t data)
{
	bool ours = data >> 32 == secret.load(mo::relaxed);
	Channel *c = ours ? channel::at(static_cast<uint32_t>(data)) : nullptr;
	// It may be another channel by now, which is told once too often then.
	if (c == nullptr || !channel::keep(c))
		return;
	if (!c->ring_signalled.exchange(true, mo::seq_cst))
		c->first_came.store(now(), mo::relaxed);
	start_clock(c);
	channel::release(c);
}

void *hear_rings(void *p)
{
	auto fd = static_cast<int>(reinterpret_cast<intptr_t>(p));
	uint64_t mark = instance_mark.load(mo::acquire);
	// A program that has closed everything may have an instance of its own under this number.
	while (own_epoll::is(fd, mark)) {
		struct epoll_event v[64];
		int n = sys::epoll_wait(fd, v, 64, -1);
		if (n < 0 && errno != EINTR)
			return nullptr;
		for (int i = 0; i < n; i++)
			heard(v[i].data.u64);
	}
	return nullptr;
}

// With `starting' held.
bool start_second()
{
	own_epoll::Mark mark;
	int fd = own_epoll::make(true, &mark);
	if (fd < 0)
		return false;
	if (secret.load(mo::relaxed) == 0)
		secret.store(static_cast<uint32_t>(own_epoll::draw()), mo::relaxed);
	instance_mark.store(mark, mo::release);
	if (start_thread(hear_rings, reinterpret_cast<void *>(static_cast<intptr_t>(fd)),
			 "sigevec-ringpoll") != 0) {
		sys::close(fd);
		return false;
	}
	instance.store(fd, mo::release);
	return true;
}

bool run_threads(bool second_too)
{
	Guard<Mutex> g(starting);
	if (!clock_runs.load(mo::relaxed)) {
		if (start_thread(run_clock, nullptr, "sigevec-clock") != 0)
			return false;
		clock_runs.store(true, mo::relaxed);
	}
	return !second_too ||
	       own_epoll::is(instance.load(mo::relaxed), instance_mark.load(mo::relaxed)) ||
	       start_second();
}

} // namespace

bool due(const Channel *c)
{
	if (!on(c) || c->overflow.load(mo::seq_cst) != 0)
		return true;
	uint32_t events = c->moderate_events.load(mo::relaxed);
	uint32_t there =
		c->pushed.load(mo::seq_cst) - static_cast<uint32_t>(c->delivered.load(mo::seq_cst));
	// A channel that is full takes no more, so who submits may wait for its reader.
	if (events != 0 && (there >= events || (there != 0 && channel::full(c))))
		return true;
	int64_t end = end_of(c);
	return end != INT64_MAX && now() >= end;
}

void note_first(Channel *c)
{
	c->first_came.store(now(), mo::relaxed);
}

Deadline limit(const Channel *c, const Deadline &deadline)
{
	int64_t end = end_of(c);
	bool earlier = deadline.at.tv_sec < end / second ||
		       (deadline.at.tv_sec == end / second && deadline.at.tv_nsec < end % second);
	if (end == INT64_MAX || (!deadline.never && earlier))
		return deadline;
	Deadline d;
	d.never = false;
	d.at = {end / second, end % second};
	return d;
}

void start_clock(Channel *c)
{
	if (c->moderate_time.load(mo::relaxed) == 0 || c->clock.exchange(true, mo::seq_cst))
		return;
	if (!channel::keep(c))
		return;
	Channel *head = started.load(mo::relaxed);
	do
		c->next_clock = head;
	while (!started.compare_exchange_weak(head, c, mo::seq_cst));
	wake_clock();
}

void stop(const Channel *c)
{
	if (c->clock.load(mo::seq_cst))
		wake_clock();
}

bool fits_ring(uint32_t events, uint32_t microseconds)
{
	return events == 0 || (microseconds != 0 && microseconds <= longest_for_ring);
}

int listen(Channel *c)
{
	if (!own_epoll::is(instance.load(mo::acquire), instance_mark.load(mo::acquire)))
		return -1;
	OwnedFd fd(wakeup::make());
	struct epoll_event e = {};
	e.events = EPOLLIN | EPOLLET;
	e.data.u64 = uint64_t{secret.load(mo::relaxed)} << 32 | channel::place_of(c);
	if (fd >= 0 && epoll_ctl(instance.load(mo::acquire), EPOLL_CTL_ADD, fd, &e) == 0)
		return fd.release();
	return -1;
}

void stop_listening(int coalesce_fd)
{
	int fd = instance.load(mo::acquire);
	if (coalesce_fd < 0 || !own_epoll::is(fd, instance_mark.load(mo::acquire)))
		return;
	int saved = errno;
	struct epoll_event e = {};
	if (epoll_ctl(fd, EPOLL_CTL_ADD, coalesce_fd, &e) != 0)
		coalesce_fd = errno == EEXIST ? coalesce_fd : -1;
	else {
		epoll_ctl(fd, EPOLL_CTL_DEL, coalesce_fd, nullptr);
		coalesce_fd = -1;
	}
	if (coalesce_fd >= 0)
		sys::close(coalesce_fd);
	errno = saved;
}

int set(Channel *c, uint32_t events, uint32_t microseconds)
{
	bool wanted = events > 1 || (events == 0 && microseconds != 0);
	bool single = (c->flags & EC_SINGLE) != 0;
	if (wanted && !run_threads(single && fits_ring(events, microseconds)))
		return EAGAIN;
	c->moderate_events.store(events, mo::relaxed);
	c->moderate_time.store(microseconds, mo::relaxed);
	c->moderated.store(wanted, mo::seq_cst);
	if (single)
		channel::ring_ops.moderate(c);
	// What waits by the old rule goes by the new one.
	channel::moderation_expired(c);
	channel::wake_all(c);
	if (c->clock.load(mo::seq_cst))
		wake_clock();
	return 0;
}

void after_fork()
{
	starting.reset();
	clock_runs.store(false, mo::relaxed);
	asleep.store(false, mo::relaxed);
	started.store(nullptr, mo::relaxed);
	close_in_child();
}

void close_in_child()
{
	own_epoll::close(instance.exchange(-1, mo::relaxed), instance_mark.load(mo::relaxed));
}

} // namespace sigevec::moderation
