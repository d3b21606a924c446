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

bool Way::set_up()
{
	helper::Helper *h = helper::get();
	shared_ = h == nullptr || !h->private_table();
	if (shared_)
		return h != nullptr;
	bool can = h->files.way == helper::Files::Way::fetch && reopen();
	by_socket_ = !can && (errno == EINVAL || h->files.way != helper::Files::Way::fetch);
	return can || by_socket_;
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

// A pair of sockets for one file, which is gone before the next: a child has what is in the table
// when it is made, and could take what comes to a socket later.
class Pair {
public:
	Pair()
	{
		int v[2];
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, v) != 0)
			return;
		number_ = own_number(v[0]);
		inner_tx_ = helper::hold(v[1]);
		sys::close(v[1]);
		cookie_ = socket_cookie(number_);
	}
	~Pair()
	{
		if (socket_cookie(number_) == cookie_)
			sys::close(number_);
		if (inner_tx_ >= 0)
			helper::close_inside(inner_tx_);
	}
	Pair(const Pair &) = delete;
	Pair &operator=(const Pair &) = delete;
	explicit operator bool() const { return number_ >= 0 && inner_tx_ >= 0; }

	// By a thread of the helper's.
	void send(int inner) const
	{
		OneDescriptor message(&inner);
		struct cmsghdr *c = CMSG_FIRSTHDR(&message.m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof inner);
		memcpy(CMSG_DATA(c), &inner, sizeof inner);
		sys::sendmsg(inner_tx_, &message.m, MSG_NOSIGNAL | MSG_DONTWAIT);
	}

	int receive() const
	{
		int announced, fd = -EMFILE;
		OneDescriptor message(&announced);
		if (socket_cookie(number_) != cookie_)
			return -EBADF;
		if (sys::recvmsg(number_, &message.m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
			return errno == EINTR ? -EAGAIN : -errno;
		if (struct cmsghdr *c = CMSG_FIRSTHDR(&message.m);
		    c != nullptr && c->cmsg_type == SCM_RIGHTS)
			memcpy(&fd, CMSG_DATA(c), sizeof fd);
		return fd;
	}

private:
	int number_ = -1;     // in the program's table: the receiving end
	int inner_tx_ = -1;   // in the helper's table: the sending end
	uint64_t cookie_ = 0; // of the receiving end
};

struct Sending : helper::Errand {
	Sending(const Pair *p, int n) : Errand(run_it), pair(p), inner(n) {}
	static void run_it(Errand *e)
	{
		auto *s = static_cast<Sending *>(e);
		s->pair->send(s->inner);
	}
	const Pair *pair;
	int inner;
};

int receive(int inner)
{
	Pair pair;
	if (!pair)
		return -EMFILE;
	Sending sending(&pair, inner);
	int fd = helper::run_inside(&sending) ? pair.receive() : -EAGAIN;
	// A child that was made in that moment may have sent something else.
	if (fd < 0 || same_file(thread_id(), fd, thread_of_helper(), inner) != Same::no)
		return fd;
	sys::close(fd);
	return -EAGAIN;
}

} // namespace

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
	if (!shared_ && !by_socket_ && sys::fstat(number_, &st) == 0 && st.st_dev == dev_ &&
	    st.st_ino == ino_)
		sys::close(number_);
}

void Way::close()
{
	close_in_child();
	forget();
}

void Way::forget()
{
	number_ = -1;
	by_socket_ = shared_ = false;
}

int bring(int inner)
{
	Way way;
	int fd = way.set_up() ? way.fetch(inner) : -EAGAIN;
	way.close();
	return fd;
}

} // namespace sigevec::table
