// SPDX-License-Identifier: MIT
#include "channel/reader_fds.hpp"

#include "base/memory_order.hpp"
#include "base/shortage.hpp"
#include "base/sync.hpp"
#include "base/syscalls.hpp"
#include "channel/channel.hpp"
#include "channel/own_epoll.hpp"
#include "channel/queue.hpp"
#include "channel/wakeup.hpp"
#include "runtime/helper.hpp"
#include "runtime/table.hpp"

#include <cerrno>
#include <poll.h>
#include <sys/epoll.h>

namespace sigevec::reader_fds {

namespace {

// Held while an instance is made; no event needs it.
Mutex making;

constexpr int at_once = 64;

// In the handle of a socket, beside its place.
constexpr uint32_t socket_mark = 1u << 31;

uint64_t handle_of_socket(uint32_t index, uint32_t life)
{
	return uint64_t{life} << 32 | socket_mark | index;
}

// A child that no handler has heard of has the channel's instance, and can take out of it what is
// to wake who sleeps on it: a sleeper looks by itself after so long.
constexpr timespec longest_sleep{1, 0};

// epoll_ctl with numbers of the helper's.
struct Control : helper::Errand {
	Control(Channel *c, int o, int f, uint64_t h)
	    : Errand(run_it), channel(c), operation(o), fd(f), handle(h)
	{
	}
	static void run_it(Errand *e);
	Channel *channel;
	int operation;
	int fd;
	uint64_t handle;
	int error = 0;
};

void Control::run_it(Errand *e)
{
	auto *control = static_cast<Control *>(e);
	struct epoll_event wanted = {};
	wanted.events = EPOLLIN;
	wanted.data.u64 = control->handle;
	// Closed by this thread, after it has been taken from the channel.
	int instance = control->channel->inner_copy.load(mo::seq_cst);
	if (instance < 0 || epoll_ctl(instance, control->operation, control->fd, &wanted) != 0)
		control->error = instance < 0 ? EBADF : errno;
}

int control(Channel *c, int operation, int fd, uint64_t handle)
{
	Control e(c, operation, fd, handle);
	return helper::run_inside(&e) ? e.error : EAGAIN;
}

// 0 or an errno. With `making' held.
int make(Channel *c)
{
	own_epoll::Mark mark;
	int fd = own_epoll::make(true, &mark);
	if (fd < 0)
		return -fd;
	struct epoll_event e = {};
	e.events = EPOLLIN;
	int copy = -EBADF;
	if (channel::has_number(c))
		copy = epoll_ctl(c->fd, EPOLL_CTL_ADD, fd, &e) == 0 ? helper::hold(fd) : -errno;
	if (copy < 0) {
		sys::close(fd);
		return -copy;
	}
	c->inner_mark.store(mark, mo::relaxed);
	c->inner.store(fd, mo::release);
	c->inner_copy.store(copy, mo::seq_cst);
	// Readers that sleep on the futex are to sleep on the descriptor.
	channel::wake_all(c);
	return 0;
}

// 0 or an errno: there is an instance.
int ensure(Channel *c)
{
	Guard<Mutex> g(making);
	return used(c) ? 0 : make(c);
}

bool instance_has_number(const Channel *c)
{
	return own_epoll::is(c->inner.load(mo::acquire), c->inner_mark.load(mo::relaxed));
}

// A new number for the same instance. With `making' held.
void reopen(Channel *c)
{
	int fd = table::bring(c->inner_copy.load(mo::acquire));
	if (fd < 0 || (fd = own_epoll::above_standard(fd, true)) < 0)
		return;
	own_epoll::mark_again(fd, c->inner_mark.load(mo::relaxed));
	c->inner.store(fd, mo::release);
}

} // namespace

bool used(const Channel *c)
{
	return c->inner_copy.load(mo::seq_cst) >= 0;
}

int number_of(Channel *c)
{
	if (!used(c))
		return -1;
	if (instance_has_number(c))
		return c->inner.load(mo::acquire);
	{
		Guard<Mutex> g(making);
		int saved = errno;
		if (used(c) && !instance_has_number(c))
			reopen(c);
		errno = saved;
	}
	return instance_has_number(c) ? c->inner.load(mo::acquire) : -1;
}

namespace {

// 0 or the errno of a call: the instance watches a number of the helper's.
int watch(Channel *c, int held, uint64_t handle)
{
	int error = control(c, EPOLL_CTL_ADD, held, handle);
	if (error != 0)
		return shortage(error, EAGAIN);
	// Either this sees the end of the channel, or the end sees the instance.
	if (c->open.load(mo::seq_cst))
		return 0;
	remove(c);
	return EBADF;
}

} // namespace

int add(Channel *c, int fd, uint64_t handle, int *copy)
{
	int error = ensure(c);
	int held = error == 0 ? helper::hold(fd) : -1;
	sys::close(fd);
	if (held < 0)
		return error != 0 ? shortage(error, EAGAIN) : EAGAIN;
	*copy = held;
	error = watch(c, held, handle);
	if (error == 0)
		channel::ring_ops.watch(c);
	return error;
}

int add_socket(Channel *c, int copy, uint32_t index, uint32_t life)
{
	int error = ensure(c);
	if (error != 0)
		return error;
	c->inner_sockets.fetch_add(1, mo::relaxed);
	error = watch(c, copy, handle_of_socket(index, life));
	if (error != 0)
		c->inner_sockets.fetch_sub(1, mo::relaxed);
	return error;
}

bool watches_socket(Channel *c, int copy, uint32_t index, uint32_t life)
{
	return control(c, EPOLL_CTL_MOD, copy, handle_of_socket(index, life)) == 0;
}

void forget(Channel *c, int copy)
{
	control(c, EPOLL_CTL_DEL, copy, 0);
}

void forget_socket(Channel *c, int copy)
{
	forget(c, copy);
	c->inner_sockets.fetch_sub(1, mo::relaxed);
}

namespace {

void take(Channel *c, bool sockets)
{
	int fd = number_of(c);
	if (fd < 0)
		return;
	struct epoll_event v[at_once];
	int saved = errno;
	int n = sys::epoll_wait(fd, v, at_once, 0);
	for (int i = 0; i < n; i++) {
		uint64_t handle = v[i].data.u64;
		if ((handle & socket_mark) == 0)
			channel::outside.ready(c, handle);
		else if (sockets)
			channel::outside.arrived(c, handle & ~uint64_t{socket_mark});
	}
	errno = saved;
}

} // namespace

void collect(Channel *c)
{
	take(c, false);
}

void collect_all(Channel *c)
{
	bool looks = has_sockets(c);
	if (looks)
		c->lookers.fetch_add(1, mo::seq_cst);
	take(c, true);
	if (looks)
		c->lookers.fetch_sub(1, mo::seq_cst);
}

namespace {

long wait_for(int fd, const struct timespec &rest, struct epoll_event *e)
{
	// epoll_wait, not poll: of several sleepers one is woken for one event.
	long n = syscall(SYS_epoll_pwait2, fd, e, 1, &rest, nullptr, 0);
	return n >= 0 || !sys::is_refused() ? n
					    : sys::epoll_wait(fd, e, 1, sys::milliseconds(rest));
}

int sleep_on_descriptor(Channel *c, const struct timespec &rest)
{
	if (!channel::has_number(c))
		return EBADF;
	struct epoll_event e = {};
	bool longer = rest.tv_sec >= longest_sleep.tv_sec;
	long n = wait_for(c->fd, longer ? longest_sleep : rest, &e);
	// That was the edge: this reader takes the event, or signals again.
	if (n > 0 && wakeup::is_edge(e))
		c->signalled.store(0, mo::seq_cst);
	if (n == 0)
		return longer ? 0 : ETIMEDOUT;
	return n < 0 && errno == EINTR ? EINTR : 0;
}

} // namespace

int sleep(Channel *c, const struct timespec &rest)
{
	c->inner_sleepers.fetch_add(1, mo::seq_cst);
	// Either this sees the end of the channel, or the end sees the sleeper.
	int error = c->ending.load(mo::seq_cst) ? 0 : sleep_on_descriptor(c, rest);
	c->inner_sleepers.fetch_sub(1, mo::seq_cst);
	if (c->ending.load(mo::seq_cst))
		futex_wake(c->inner_sleepers, INT_MAX);
	return error;
}

void wake(Channel *c)
{
	// Each edge wakes one.
	constexpr timespec moment{0, 1000000};
	while (uint32_t n = c->inner_sleepers.load(mo::seq_cst)) {
		if (!wakeup::signal_at_the_end(c))
			return; // the program has closed the wakeup, too: nobody can be woken
		futex_wait(c->inner_sleepers, n, &moment);
	}
}

void remove(Channel *c)
{
	own_epoll::close(c->inner.exchange(-1, mo::acq_rel), c->inner_mark.load(mo::relaxed));
	helper::close_inside(c->inner_copy.exchange(-1, mo::seq_cst));
}

void close_in_child(Channel *c)
{
	own_epoll::close(c->inner.exchange(-1, mo::relaxed), c->inner_mark.load(mo::relaxed));
	c->inner_copy.store(-1, mo::relaxed);
}

void after_fork()
{
	making.reset();
}

} // namespace sigevec::reader_fds
