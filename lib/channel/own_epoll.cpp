// SPDX-License-Identifier: MIT
#include "channel/own_epoll.hpp"

#include "base/descriptor.hpp"
#include "base/memory_order.hpp"
#include "base/owned_fd.hpp"
#include "base/same_file.hpp"
#include "base/syscalls.hpp"
#include "channel/wakeup.hpp"
#include "runtime/helper.hpp"
#include "runtime/table.hpp"

#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>

namespace sigevec::own_epoll {

namespace {

// struct epoll_params and its requests, which older headers lack.
struct Parameters {
	uint32_t busy_poll_usecs;
	uint16_t busy_poll_budget;
	uint8_t prefer_busy_poll, pad;
};
constexpr unsigned long set_parameters = _IOW(0x8A, 0x01, Parameters),
			get_parameters = _IOR(0x8A, 0x02, Parameters);

std::atomic<uint64_t> secret{0};
std::atomic<uint32_t> instances{0};

uint64_t secret_of_process()
{
	uint64_t s = secret.load(mo::relaxed);
	if (s != 0)
		return s;
	uint64_t drawn = 0;
	if (syscall(SYS_getrandom, &drawn, sizeof drawn, GRND_NONBLOCK) != sizeof drawn)
		drawn = reinterpret_cast<uintptr_t>(&drawn) * 0x9e3779b97f4a7c15;
	// Of two threads that draw at once the first one's counts.
	if (secret.compare_exchange_strong(s, drawn | 1, mo::relaxed))
		return drawn | 1;
	return s;
}

Parameters parameters_of(Mark mark)
{
	return {static_cast<uint32_t>(mark), static_cast<uint16_t>(mark >> 32), 0, 0};
}

} // namespace

// Not twice within a billion instances.
Mark draw()
{
	constexpr uint32_t top = 1u << 30, odd = 2654435761;
	uint64_t s = secret_of_process();
	uint32_t n = instances.fetch_add(1, mo::relaxed) * odd + static_cast<uint32_t>(s >> 8);
	return (top | (n & (top - 1))) | (1 + (s >> 58)) << 32;
}

int above_standard(int fd, bool close_on_exec)
{
	if (fd < 0 || fd > 2)
		return fd;
	OwnedFd low(fd);
	return sys::duplicate(low, 3, close_on_exec);
}

int make(bool close_on_exec, Mark *mark)
{
	OwnedFd fd(above_standard(epoll_create1(close_on_exec ? EPOLL_CLOEXEC : 0), close_on_exec));
	if (fd < 0)
		return -errno;
	*mark = draw();
	Parameters p = parameters_of(*mark);
	if (ioctl(fd, set_parameters, &p) == 0)
		return fd.release();
	*mark = 0;
	return wakeup::mark(fd) ? fd.release() : -errno;
}

void mark_again(int fd, Mark mark)
{
	Parameters p = parameters_of(mark);
	if (mark != 0)
		ioctl(fd, set_parameters, &p);
	else
		wakeup::mark(fd);
}

void anchor(int fd, Anchor *a)
{
	OwnedFd file(above_standard(eventfd(0, EFD_CLOEXEC), true));
	if (file < 0)
		return;
	struct epoll_event nothing = {};
	if (epoll_ctl(fd, EPOLL_CTL_ADD, file, &nothing) == 0) {
		a->number = file;
		a->copy.store(helper::hold(file), mo::release);
	}
}

void weigh(Anchor *a)
{
	helper::close_inside(a->copy.exchange(-1, mo::acq_rel));
}

bool is_anchored(int fd, Mark mark, const Anchor &a)
{
	if (is(fd, mark))
		return true;
	int copy = a.copy.load(mo::acquire);
	if (fd < 0 || copy < 0 ||
	    epoll_watches(fd, a.number, table::thread_of_helper(), copy) != Same::yes)
		return false;
	int saved = errno;
	mark_again(fd, mark);
	errno = saved;
	return true;
}

bool is(int fd, Mark mark)
{
	if (fd < 0)
		return false;
	int saved = errno;
	bool yes;
	if (mark != 0) {
		Parameters p = {};
		yes = ioctl(fd, get_parameters, &p) == 0 &&
		      p.busy_poll_usecs == static_cast<uint32_t>(mark) &&
		      p.busy_poll_budget == static_cast<uint16_t>(mark >> 32);
	} else
		yes = wakeup::is_ours(fd);
	errno = saved;
	return yes;
}

void close(int fd, Mark mark)
{
	int saved = errno;
	if (is(fd, mark))
		sys::close(fd);
	errno = saved;
}

} // namespace sigevec::own_epoll
