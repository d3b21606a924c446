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
#include <utility>

namespace sigevec::dma::receiver {

namespace {

// Whether a number of this thread's table is the file that the helper has a copy of. Also in a
// child of fork.
bool is_still(int fd, int copy)
{
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
	return is_still(i->epoll, i->epoll_copy);
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
	if (is_still(i->epoll, i->epoll_copy))
		sys::close(i->epoll);
	if (is_still(i->alarm, i->alarm_copy))
		sys::close(i->alarm);
	for (int copy : {i->epoll_copy, i->alarm_copy})
		helper::close_inside(copy);
	i->epoll = i->alarm = i->epoll_copy = i->alarm_copy = -1;
}

namespace {

// A number of its own, marked, with a copy in the helper's table. -1: there is none.
int keep(int fd, int *copy)
{
	*copy = -1;
	fd = own_number(fd);
	if (fd < 0)
		return -1;
	*copy = wakeup::mark(fd) || can_compare() ? helper::hold(fd) : -1;
	if (*copy >= 0)
		return fd;
	sys::close(fd);
	return -1;
}

// False: errno.
bool add_alarm(const Instance *i)
{
	struct epoll_event e = {};
	e.events = EPOLLIN | EPOLLET;
	e.data.u64 = wake_mark;
	return epoll_ctl(i->epoll, EPOLL_CTL_ADD, i->alarm, &e) == 0;
}

} // namespace

bool watches_alarm(const Instance *i)
{
	return !add_alarm(i) && errno == EEXIST;
}

bool make_numbers(Instance *i)
{
	i->epoll = keep(epoll_create1(EPOLL_CLOEXEC), &i->epoll_copy);
	i->alarm = keep(ThreadSignal::descriptor(), &i->alarm_copy);
	if (i->epoll >= 0 && i->alarm >= 0 && add_alarm(i))
		return true;
	close_numbers(i);
	return false;
}

void close_numbers_in_child(Instance *i)
{
	for (auto [fd, copy] :
	     {std::pair{i->epoll, i->epoll_copy}, std::pair{i->alarm, i->alarm_copy}})
		if (is_still(fd, copy))
			sys::close(fd);
	i->epoll = i->alarm = -1;
}

} // namespace sigevec::dma::receiver
