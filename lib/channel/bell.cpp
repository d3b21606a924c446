// SPDX-License-Identifier: MIT
#include "channel/bell.hpp"

#include "channel/queue.hpp"
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
	if (h == nullptr || !h->private_table())
		return which == Which::bell ? c->bell : c->wake.load(std::memory_order_acquire);
	return copy_of(c, which).load(std::memory_order_acquire);
}

// The helper has a copy. With `installing' held.
bool has_copy(Channel *c, Which which, int fd)
{
	std::atomic<int> &copy = copy_of(c, which);
	if (fd < 0 || copy.load(std::memory_order_relaxed) >= 0)
		return true;
	int inner = helper::hold(fd);
	if (inner < 0)
		return false;
	copy.store(inner, std::memory_order_seq_cst);
	// Either this sees the end of the channel, or the end sees the copy.
	if (!c->open.load(std::memory_order_seq_cst))
		if (int mine = copy.exchange(-1, std::memory_order_seq_cst); mine >= 0)
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
	}
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
	if (!h->private_table())
		return true;
	int wake = c->wake.load(std::memory_order_acquire);
	if (c->inner_bell.load(std::memory_order_acquire) >= 0 && (wake < 0 || c->inner_wake.load(std::memory_order_acquire) >= 0))
		return true;
	Guard<Mutex> g(installing);
	return has_copy(c, Which::bell, c->bell) && has_copy(c, Which::wake, wake);
}

void remove(Channel *c)
{
	close(c->bell);
	for (auto *copy : {&c->inner_bell, &c->inner_wake})
		if (int fd = copy->exchange(-1, std::memory_order_seq_cst); fd >= 0)
			helper::close_inside(fd);
}

void after_fork()
{
	installing.reset();
}

} // namespace sigevec::bell
