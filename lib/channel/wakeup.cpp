// SPDX-License-Identifier: MIT
#include "channel/wakeup.hpp"

#include "base/descriptor.hpp"
#include "base/memory_order.hpp"
#include "base/owned_fd.hpp"
#include "base/syscalls.hpp"
#include "channel/own_epoll.hpp"
#include "channel/queue.hpp"
#include "runtime/helper.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <initializer_list>
#include <sys/epoll.h>
#include <sys/eventfd.h>

namespace sigevec::wakeup {

namespace {

enum class Which : uint8_t { readers, owner };

// A signal number that no program uses for this purpose; kept in the kernel's file, it costs
// nothing.
constexpr int signal_mark = 61;

// Held while copies are sent; no event needs it in order to be delivered.
Mutex installing;

std::atomic<int> &copy_of(Channel *c, Which which)
{
	return which == Which::readers ? c->inner_wakeup : c->inner_wake;
}

constexpr uint64_t wakeup_data = 1;

// What the instance is asked for.
epoll_event interest()
{
	epoll_event e = {};
	e.events = EPOLLIN | EPOLLET;
	e.data.u64 = wakeup_data;
	return e;
}

// The copy in the table of this thread of the helper's, or -1: it has none.
int copy_here(Channel *c, Which which)
{
	return copy_of(c, which).load(mo::acquire);
}

// Whether c's instance, which is known, watches the file of this number by the number. What it does
// not it does not afterwards.
bool is_watched(Channel *c, int fd)
{
	epoll_event nothing = {};
	if (fd < 0)
		return false;
	if (epoll_ctl(c->fd, EPOLL_CTL_ADD, fd, &nothing) != 0)
		return errno == EEXIST;
	epoll_ctl(c->fd, EPOLL_CTL_DEL, fd, nullptr);
	return false;
}

// Whether the number is the wakeup of a channel whose instance is gone: its count says so, which
// begins at a secret number. Not async-signal-safe.
bool counts_as_wakeup(const Channel *c, int fd)
{
	char text[512];
	if (!sys::read_fdinfo(fd, text, sizeof text))
		return false;
	const char *count = strstr(text, "eventfd-count:");
	return count != nullptr &&
	       strtoull(count + sizeof "eventfd-count:" - 1, nullptr, 16) >> 32 == c->wakeup_secret;
}

bool write_one(int fd)
{
	uint64_t one = 1;
	return syscall(SYS_write, fd, &one, sizeof one) == sizeof one;
}

// By its number in the program's table. False: not signalled.
bool signal_by_number(Channel *c)
{
	epoll_event e = interest();
	return epoll_ctl(c->fd, EPOLL_CTL_MOD, c->wakeup_fd.load(mo::acquire), &e) == 0 ||
	       attach(c) == 0;
}

bool signal_readers(Channel *c)
{
	bool open = true, signalled = true;
	if (helper::in_programs_table()) {
		open = channel::has_number(c);
		signalled = open && signal_by_number(c);
	} else if (int fd = copy_here(c, Which::readers); fd >= 0)
		write_one(fd);
	else
		signalled = false;
	// Unless a reader has given up waiting for this. What could not be signalled, for want of a
	// descriptor, is tried again with the next event.
	uint32_t begun = 1;
	c->signalled.compare_exchange_strong(begun, signalled ? 2 : 0, mo::seq_cst);
	return open;
}

// What wakes the owner is in the channel's instance too, which is told of nothing by it: so it is
// known as the wakeup is, whatever marks another file has.
bool is_known_wake(Channel *c, int fd)
{
	epoll_event nothing = {};
	return channel::has_number(c) && epoll_ctl(c->fd, EPOLL_CTL_MOD, fd, &nothing) == 0;
}

// A ring that sleeps on the word needs no descriptor for this. Kernels before that (Linux 6.7) have
// the eventfd.
void wake_owner(Channel *c)
{
	channel::wake_one(c);
	int fd = c->wake.load(mo::acquire);
	if (fd < 0)
		return;
	if (helper::in_programs_table()) {
		if (is_known_wake(c, fd))
			write_one(fd);
	} else if (int copy = copy_here(c, Which::owner); copy >= 0)
		write_one(copy);
}

// The helper has a copy. With `installing' held.
bool has_copy(Channel *c, Which which, int fd)
{
	std::atomic<int> &copy = copy_of(c, which);
	if (fd < 0 || copy.load(mo::relaxed) >= 0)
		return true;
	int inner = helper::hold(fd);
	if (inner < 0)
		return false;
	copy.store(inner, mo::seq_cst);
	// Either this sees the end of the channel, or the end sees the copy.
	if (!c->open.load(mo::seq_cst))
		if (int mine = copy.exchange(-1, mo::seq_cst); mine >= 0)
			helper::close_inside(mine);
	return true;
}

} // namespace

bool mark(int fd)
{
	return fcntl(fd, F_SETSIG, signal_mark) == 0;
}

bool is_ours(int fd)
{
	return fcntl(fd, F_GETSIG) == signal_mark;
}

int make()
{
	OwnedFd fd(own_epoll::above_standard(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), true));
	return fd >= 0 && mark(fd) ? fd.release() : -1;
}

void close(int fd)
{
	if (fd >= 0 && is_ours(fd))
		sys::close(fd);
}

bool attach_wake(Channel *c)
{
	OwnedFd fd(own_epoll::above_standard(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), true));
	epoll_event nothing = {};
	bool attached = fd >= 0 && channel::has_number(c) &&
			epoll_ctl(c->fd, EPOLL_CTL_ADD, fd, &nothing) == 0;
	c->wake.store(attached ? fd.release() : -1, mo::release);
	return attached;
}

// The helper's copy would keep it in the instance.
void detach_wake(Channel *c)
{
	int fd = c->wake.exchange(-1, mo::acq_rel);
	if (fd >= 0 && channel::has_number(c) && epoll_ctl(c->fd, EPOLL_CTL_DEL, fd, nullptr) == 0)
		sys::close(fd);
}

int attach(Channel *c)
{
	OwnedFd fd(own_epoll::above_standard(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK), true));
	if (fd < 0)
		return -errno;
	uint64_t secret = uint64_t{c->wakeup_secret} << 32;
	epoll_event e = interest();
	if (syscall(SYS_write, fd.get(), &secret, sizeof secret) != sizeof secret ||
	    epoll_ctl(c->fd, EPOLL_CTL_ADD, fd, &e) != 0)
		return -errno;
	c->wakeup_fd.store(fd.release(), mo::release);
	return 0;
}

int number_of(Channel *c)
{
	int saved = errno;
	bool there = channel::has_number(c) &&
		     (is_watched(c, c->wakeup_fd.load(mo::acquire)) || attach(c) == 0);
	errno = saved;
	return there ? c->wakeup_fd.load(mo::acquire) : -1;
}

bool signal(Channel *c)
{
	int saved = errno;
	bool open = signal_readers(c);
	errno = saved;
	return open;
}

void signal_owner(Channel *c)
{
	int saved = errno;
	wake_owner(c);
	errno = saved;
}

bool is_edge(const epoll_event &e)
{
	return e.data.u64 == wakeup_data;
}

bool drain(Channel *c, bool signalled, bool known)
{
	if (!known && !channel::has_number(c))
		return true;
	int saved = errno;
	bool taken = false;
	// Somebody who looks at the instance in the same moment may hide the edge for that long.
	for (int left = signalled ? 10 : 1; !taken && left > 0; left--) {
		epoll_event v[4];
		int n = sys::epoll_wait(c->fd, v, 4, 0);
		for (int i = 0; i < n; i++)
			taken = taken || is_edge(v[i]);
		if (!taken && left > 1)
			sched_yield();
	}
	errno = saved;
	return taken;
}

bool install(Channel *c)
{
	helper::Helper *h = helper::get();
	if (h == nullptr)
		return false;
	if (!h->private_table())
		return true;
	int wake = c->wake.load(mo::acquire);
	if (c->inner_wakeup.load(mo::acquire) >= 0 &&
	    (wake < 0 || c->inner_wake.load(mo::acquire) >= 0))
		return true;
	Guard<Mutex> g(installing);
	if (c->inner_wakeup.load(mo::relaxed) < 0)
		if (int fd = number_of(c); fd < 0 || !has_copy(c, Which::readers, fd))
			return false;
	return has_copy(c, Which::owner, wake);
}

bool signal_at_the_end(Channel *c)
{
	int fd = c->wakeup_fd.load(mo::acquire);
	if (channel::has_number(c))
		return signal_by_number(c);
	return counts_as_wakeup(c, fd) && write_one(fd);
}

void remove(Channel *c)
{
	int own = c->wakeup_fd.exchange(-1, mo::acq_rel);
	if (channel::has_number(c) ? is_watched(c, own) : own >= 0 && counts_as_wakeup(c, own))
		sys::close(own);
	for (auto *copy : {&c->inner_wakeup, &c->inner_wake})
		if (int fd = copy->exchange(-1, mo::seq_cst); fd >= 0)
			helper::close_inside(fd);
}

// The instance is the parent's, too: it is only looked at.
void close_in_child(Channel *c)
{
	bool known = channel::has_number(c);
	for (auto *number : {&c->wakeup_fd, &c->wake})
		if (int fd = number->exchange(-1, mo::relaxed); known && is_watched(c, fd))
			sys::close(fd);
}

void after_fork()
{
	installing.reset();
}

} // namespace sigevec::wakeup
