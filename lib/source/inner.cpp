// SPDX-License-Identifier: MIT
#include "source/inner.hpp"

#include "channel/bell.hpp"
#include "channel/channel.hpp"
#include "channel/own_epoll.hpp"
#include "channel/queue.hpp"
#include "channel/single.hpp"
#include "runtime/sync.hpp"
#include "runtime/syscalls.hpp"

#include <cerrno>
#include <poll.h>
#include <sys/epoll.h>

namespace sigevec::inner {

namespace {

// Held while an instance is made; no event needs it.
Mutex making;

constexpr int at_once = 16;

// 0 or an errno.
int make(Channel *c)
{
	own_epoll::Mark mark;
	int fd = own_epoll::make(true, &mark);
	if (fd < 0)
		return -fd;
	struct epoll_event e = {};
	e.events = EPOLLIN;
	if (!own_epoll::is(c->fd, c->mark) || epoll_ctl(c->fd, EPOLL_CTL_ADD, fd, &e) != 0) {
		int error = errno;
		sys::close(fd);
		return error;
	}
	c->inner_mark.store(mark, std::memory_order_relaxed);
	c->inner.store(fd, std::memory_order_seq_cst);
	// Readers that sleep on the futex are to sleep on the descriptor.
	channel::wake_all(c);
	return 0;
}

} // namespace

int own(int fd)
{
	if (fd < 0 || bell::mark(fd))
		return fd;
	int error = errno;
	sys::close(fd);
	errno = error;
	return -1;
}

int add(source::Wait *w)
{
	Channel *c = w->channel;
	{
		Guard<Mutex> g(making);
		// The program may have closed it.
		bool there = own_epoll::is(c->inner.load(std::memory_order_relaxed), c->inner_mark.load(std::memory_order_relaxed));
		int error = there ? 0 : make(c);
		if (error != 0)
			return error;
	}
	struct epoll_event e = {};
	e.events = EPOLLIN;
	e.data.u64 = source::handle(w);
	if (epoll_ctl(c->inner.load(std::memory_order_relaxed), EPOLL_CTL_ADD, w->fd, &e) != 0)
		return errno;
	single::watch(c);
	// Either this sees the end of the channel, or the end sees the instance.
	if (c->open.load(std::memory_order_seq_cst))
		return 0;
	remove(c);
	return EBADF;
}

void forget(const source::Wait *w)
{
	int fd = w->channel->inner.load(std::memory_order_acquire);
	if (own_epoll::is(fd, w->channel->inner_mark.load(std::memory_order_relaxed)))
		epoll_ctl(fd, EPOLL_CTL_DEL, w->fd, nullptr);
}

namespace {

// What comes from the instance is only a number: the wait that it means may be over, or of another channel, or no descriptor's.
void tell(const Channel *c, uint64_t handle)
{
	source::Wait *w = source::find(handle);
	if (w == nullptr)
		return;
	if (w->channel == c && w->kind->ready != nullptr)
		w->kind->ready(w);
	source::release(w);
}

} // namespace

void collect(Channel *c)
{
	int fd = c->inner.load(std::memory_order_acquire);
	if (fd == none || !own_epoll::is(fd, c->inner_mark.load(std::memory_order_relaxed)))
		return;
	struct epoll_event v[at_once];
	int saved = errno;
	long n = syscall(SYS_epoll_pwait, fd, v, at_once, 0, nullptr, 0);
	for (long i = 0; i < n; i++)
		tell(c, v[i].data.u64);
	errno = saved;
}

namespace {

long wait_for(int fd, const struct timespec &rest, struct epoll_event *e)
{
	// epoll_wait, not poll: of several sleepers one is woken for one event.
	long n = syscall(SYS_epoll_pwait2, fd, e, 1, &rest, nullptr, 0);
	if (n >= 0 || errno != ENOSYS)
		return n;
	int64_t ms = rest.tv_sec > INT_MAX / 1000 - 1 ? INT_MAX : rest.tv_sec * 1000 + (rest.tv_nsec + 999999) / 1000000;
	return syscall(SYS_epoll_pwait, fd, e, 1, ms, nullptr, 0);
}

int sleep_on_descriptor(Channel *c, const struct timespec &rest)
{
	if (!own_epoll::is(c->fd, c->mark))
		return EBADF;
	struct epoll_event e = {};
	long n = wait_for(c->fd, rest, &e);
	// That was the edge: this reader takes the event, or rings again.
	if (n > 0 && bell::is_edge(e))
		c->rung.store(0, std::memory_order_seq_cst);
	return n > 0 ? 0 : n == 0 ? ETIMEDOUT : errno == EINTR ? EINTR : 0;
}

} // namespace

int sleep(Channel *c, const struct timespec &rest)
{
	c->inner_sleepers.fetch_add(1, std::memory_order_seq_cst);
	// Either this sees the end of the channel, or the end sees the sleeper.
	int error = c->ending.load(std::memory_order_seq_cst) ? 0 : sleep_on_descriptor(c, rest);
	c->inner_sleepers.fetch_sub(1, std::memory_order_seq_cst);
	if (c->ending.load(std::memory_order_seq_cst))
		futex_wake(c->inner_sleepers, INT_MAX);
	return error;
}

void wake(Channel *c)
{
	// Each edge wakes one.
	constexpr timespec moment{0, 1000000};
	while (uint32_t n = c->inner_sleepers.load(std::memory_order_seq_cst)) {
		if (!bell::ring_at_the_end(c))
			return; // the program has closed the bell, too: nobody can be woken
		futex_wait(c->inner_sleepers, n, &moment);
	}
}

void remove(Channel *c)
{
	own_epoll::close(c->inner.exchange(none, std::memory_order_acq_rel), c->inner_mark.load(std::memory_order_relaxed));
}

void close_in_child(Channel *c)
{
	remove(c);
}

void after_fork()
{
	making.reset();
}

} // namespace sigevec::inner
