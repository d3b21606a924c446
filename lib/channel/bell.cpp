// SPDX-License-Identifier: MIT
#include "channel/bell.hpp"

#include "channel/queue.hpp"
#include "engine/driver.hpp"
#include "runtime/helper.hpp"
#include "runtime/syscalls.hpp"

#include <cerrno>
#include <fcntl.h>
#include <initializer_list>
#include <sys/eventfd.h>

namespace sigevec::bell {

namespace {

// A signal number that no program uses for this purpose; kept in the kernel's file, it costs nothing.
constexpr int signal_mark = 61;

// Held while copies are sent; no event needs it in order to be delivered.
Mutex installing;

std::atomic<int> &copy_of(Channel *c, Which which)
{
	return which == Which::bell ? c->inner_bell : c->inner_wake;
}

// The number in the table of this thread, or -1.
int number(Channel *c, Which which)
{
	helper::Helper *h = helper::own_helper();
	if (h == nullptr || !h->private_table)
		return which == Which::bell ? c->bell : c->wake.load(std::memory_order_acquire);
	if (c->inner_helper.load(std::memory_order_acquire) != h)
		return -1;
	return copy_of(c, which).load(std::memory_order_acquire);
}

bool send(Channel *c, Which which, int fd)
{
	// Until the driver has it.
	channel::keep(c);
	auto what = which == Which::bell ? helper::What::bell : helper::What::wake;
	if (helper::copy_to_driver(what, c, fd))
		return true;
	channel::release(c);
	return false;
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
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0 || mark(fd))
		return fd;
	int error = errno;
	sys::close(fd);
	errno = error;
	return -1;
}

void close(int fd)
{
	if (fd >= 0 && is_ours(fd))
		sys::close(fd);
}

void ring(Channel *c, Which which, bool known)
{
	uint64_t one = 1;
	int saved = errno;
	int fd = number(c, which);
	if (fd >= 0) {
		if (known || is_ours(fd))
			syscall(SYS_write, fd, &one, sizeof one);
		// Unless a reader has given up waiting for this.
		uint32_t begun = 1;
		if (which == Which::bell)
			c->rung.compare_exchange_strong(begun, 2, std::memory_order_seq_cst);
	} else if (helper::own_helper() != nullptr && !driver::on_driver_thread() && channel::keep(c))
		helper::ask_to_ring(c);
	errno = saved;
}

void silence(Channel *c)
{
	uint64_t count;
	syscall(SYS_read, c->bell, &count, sizeof count);
}

bool install(Channel *c)
{
	helper::Helper *h = helper::get();
	if (h == nullptr)
		return false;
	int wake = c->wake.load(std::memory_order_acquire);
	if (c->sent_to.load(std::memory_order_acquire) == h && (wake < 0 || c->wake_sent.load(std::memory_order_acquire)))
		return true;
	Guard<Mutex> g(installing);
	if (c->sent_to.load(std::memory_order_relaxed) != h) {
		c->wake_sent.store(false, std::memory_order_relaxed);
		if (!send(c, Which::bell, c->bell))
			return false;
		c->sent_to.store(h, std::memory_order_release);
	}
	if (wake >= 0 && !c->wake_sent.load(std::memory_order_relaxed)) {
		if (!send(c, Which::wake, wake))
			return false;
		c->wake_sent.store(true, std::memory_order_release);
	}
	return true;
}

void arrived(Channel *c, Which which, helper::Helper *h, int fd)
{
	copy_of(c, which).store(fd, std::memory_order_release);
	c->inner_helper.store(h, std::memory_order_release);
	// Either this sees the end of the channel, or the end sees the copy.
	if (!c->open.load(std::memory_order_seq_cst))
		if (int mine = copy_of(c, which).exchange(-1, std::memory_order_seq_cst); mine >= 0)
			sys::close(mine);
	channel::release(c);
}

void remove(Channel *c)
{
	close(c->bell);
	for (auto *copy : {&c->inner_bell, &c->inner_wake})
		if (int fd = copy->exchange(-1, std::memory_order_seq_cst); fd >= 0)
			helper::close_inside(c->inner_helper.load(std::memory_order_relaxed), fd);
}

void after_fork()
{
	installing.reset();
}

} // namespace sigevec::bell
