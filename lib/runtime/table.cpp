// SPDX-License-Identifier: MIT
#include "runtime/table.hpp"

#include "base/descriptor.hpp"
#include "base/own_number.hpp"
#include "base/pidfd.hpp"
#include "base/same_file.hpp"
#include "base/socket_option.hpp"
#include "base/syscalls.hpp"
#include "base/thread_id.hpp"
#include "runtime/helper.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>

namespace sigevec::table {

pid_t thread_of_helper()
{
	helper::Helper *h = helper::running();
	return h != nullptr ? h->wakeup.thread() : 0;
}

// The old number, if the program has closed it, is the program's.
bool Way::reopen()
{
	number_ = own_number(sys::pidfd_open(thread_of_helper(), PIDFD_THREAD));
	struct stat st;
	if (number_ >= 0 && sys::fstat(number_, &st) == 0) {
		dev_ = st.st_dev;
		ino_ = st.st_ino;
	}
	return number_ >= 0;
}

bool Way::make_pair()
{
	int v[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, v) != 0)
		return false;
	number_ = own_number(v[0]);
	inner_tx_ = helper::hold(v[1]);
	sys::close(v[1]);
	cookie_ = socket_cookie(number_);
	return number_ >= 0 && inner_tx_ >= 0;
}

bool Way::set_up()
{
	helper::Helper *h = helper::get();
	shared_ = h == nullptr || !h->private_table();
	if (shared_)
		return h != nullptr;
	bool can = h->files.way == helper::Files::Way::fetch && reopen();
	by_socket_ = !can && (errno == EINVAL || h->files.way != helper::Files::Way::fetch);
	return can || (by_socket_ && make_pair());
}

namespace {

// A message with a descriptor, and its number.
struct OneDescriptor {
	struct msghdr m = {};
	struct iovec v;
	union {
		struct cmsghdr aligned;
		char space[CMSG_SPACE(sizeof(int))];
	} control;

	explicit OneDescriptor(int *number) : v{number, sizeof *number}
	{
		m.msg_iov = &v;
		m.msg_iovlen = 1;
		m.msg_control = &control;
		m.msg_controllen = sizeof control.space;
	}
};

} // namespace

bool Way::announce(int inner)
{
	if (!by_socket_)
		return true;
	OneDescriptor message(&inner);
	struct cmsghdr *c = CMSG_FIRSTHDR(&message.m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof inner);
	memcpy(CMSG_DATA(c), &inner, sizeof inner);
	return sys::sendmsg(inner_tx_, &message.m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

int Way::receive(int inner)
{
	for (;;) {
		int announced = -1, fd = -1;
		OneDescriptor message(&announced);
		if (socket_cookie(number_) != cookie_)
			return -EBADF;
		ssize_t n = sys::recvmsg(number_, &message.m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&message.m) : nullptr;
		    c != nullptr && c->cmsg_type == SCM_RIGHTS)
			memcpy(&fd, CMSG_DATA(c), sizeof fd);
		if (n >= 0 && announced == inner)
			return fd >= 0 ? fd : -EMFILE;
		if (fd >= 0)
			sys::close(fd);
	}
}

int Way::fetch(int inner)
{
	if (by_socket_)
		return receive(inner);
	if (shared_) {
		int fd = sys::duplicate(inner, 0);
		return fd >= 0 ? fd : -errno;
	}
	for (bool again = false;; again = true) {
		int fd = sys::pidfd_getfd(number_, inner);
		if (fd >= 0 && same_file(thread_id(), fd, thread_of_helper(), inner) != Same::no)
			return fd;
		int error = fd >= 0 ? EBADF : -fd;
		if (fd >= 0)
			sys::close(fd);
		if (error != EBADF || again)
			return -error;
		if (!reopen())
			return -errno;
	}
}

void Way::close_in_child()
{
	// Where pidfds of threads exist, each has an inode of its own.
	struct stat st;
	bool same = by_socket_ ? socket_cookie(number_) == cookie_
			       : sys::fstat(number_, &st) == 0 && st.st_dev == dev_ &&
					 st.st_ino == ino_;
	if (!shared_ && same)
		sys::close(number_);
}

void Way::close()
{
	close_in_child();
	if (inner_tx_ >= 0)
		helper::close_inside(inner_tx_);
	forget();
}

void Way::forget()
{
	number_ = inner_tx_ = -1;
	by_socket_ = shared_ = false;
}

namespace {

struct Announcement : helper::Errand {
	Announcement(Way *w, int n) : Errand(run_it), way(w), number(n) {}
	static void run_it(Errand *e)
	{
		auto *a = static_cast<Announcement *>(e);
		a->way->announce(a->number);
	}
	Way *way;
	int number;
};

} // namespace

int bring(int inner)
{
	Way way;
	int fd = -EAGAIN;
	if (way.set_up()) {
		Announcement announcement(&way, inner);
		if (way.by_socket())
			helper::run_inside(&announcement);
		fd = way.fetch(inner);
	}
	way.close();
	return fd;
}

} // namespace sigevec::table
