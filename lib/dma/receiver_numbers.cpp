// SPDX-License-Identifier: MIT
#include "dma/receiver_impl.hpp"

#include "base/memory_order.hpp"
#include "base/own_number.hpp"
#include "base/same_file.hpp"
#include "base/syscalls.hpp"
#include "base/thread_id.hpp"
#include "channel/wakeup.hpp"
#include "runtime/helper.hpp"

#include <cerrno>
#include <fcntl.h>
#include <initializer_list>
#include <sys/syscall.h>

namespace sigevec::dma::receiver {

namespace {

// Whether a number of this thread's table is the file that the helper has a copy of. Also in a
// child of fork.
bool is_still(const Number &n)
{
	int fd = n.fd.load(mo::acquire), copy = n.copy.load(mo::acquire);
	if (fd < 0)
		return false;
	Same s = copy >= 0 ? same_file(ask_thread_id(), fd, table::thread_of_helper(), copy)
			   : Same::unknown;
	return s == Same::yes ||
	       (s == Same::unknown && !(copy >= 0 && can_compare()) && wakeup::is_ours(fd));
}

} // namespace

bool intact(const Instance *i)
{
	return is_still(i->epoll);
}

void call(Instance *i)
{
	if (i->asleep.exchange(0, mo::seq_cst) == 0)
		return;
	int saved = errno;
	i->signal.send(i->process, static_cast<pid_t>(i->thread.load(mo::acquire)));
	errno = saved;
}

void will_sleep(Instance *i)
{
	i->signal.take();
	i->asleep.store(1, mo::seq_cst);
}

void close_numbers(Instance *i)
{
	for (Number *n : {&i->epoll, &i->alarm}) {
		if (is_still(*n))
			sys::close(n->fd.load(mo::relaxed));
		helper::close_inside(n->copy.exchange(-1, mo::acq_rel));
		n->fd.store(-1, mo::release);
	}
}

namespace {

// fd's file at a number of its own, marked, with a copy in the helper's table. A number that there
// is is kept: another thread may have found it right and be about to use it, when the program must
// not have it. False: there is none.
bool keep(int fd, Number *n)
{
	fd = own_number(fd);
	if (fd < 0)
		return false;
	int copy = wakeup::mark(fd) || can_compare() ? helper::hold(fd) : -1;
	if (copy < 0) {
		sys::close(fd);
		return false;
	}
	int before = n->fd.load(mo::relaxed);
	if (is_still(*n) && syscall(SYS_dup3, fd, before, O_CLOEXEC) == before) {
		sys::close(fd);
		fd = before;
	}
	helper::close_inside(n->copy.exchange(copy, mo::acq_rel));
	n->fd.store(fd, mo::release);
	return true;
}

// False: errno.
bool add_alarm(const Instance *i)
{
	struct epoll_event e = {};
	e.events = EPOLLIN | EPOLLET;
	e.data.u64 = wake_mark;
	return epoll_ctl(i->epoll.fd.load(mo::relaxed), EPOLL_CTL_ADD,
			 i->alarm.fd.load(mo::relaxed), &e) == 0;
}

} // namespace

bool watches_alarm(const Instance *i)
{
	return !add_alarm(i) && errno == EEXIST;
}

bool make_numbers(Instance *i)
{
	if (keep(epoll_create1(EPOLL_CLOEXEC), &i->epoll) &&
	    keep(ThreadSignal::descriptor(), &i->alarm) && add_alarm(i))
		return true;
	close_numbers(i);
	return false;
}

void close_numbers_in_child(Instance *i)
{
	for (Number *n : {&i->epoll, &i->alarm}) {
		if (is_still(*n))
			sys::close(n->fd.load(mo::relaxed));
		n->fd.store(-1, mo::relaxed);
	}
}

} // namespace sigevec::dma::receiver
