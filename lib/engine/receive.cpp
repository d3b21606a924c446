// SPDX-License-Identifier: MIT
#include "engine/receive.hpp"

#include "base/socket_option.hpp"
#include "base/syscalls.hpp"
#include "engine/transfer.hpp"

#include <cerrno>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <termios.h>

namespace sigevec::transfer {

namespace {

bool has_all(int flags, int wanted)
{
	return (flags & wanted) == wanted;
}

bool is_terminal(int fd, struct termios *t)
{
	return tcgetattr(fd, t) == 0;
}

int64_t limit_of_socket(int fd)
{
	struct timeval t = {};
	socklen_t size = sizeof t;
	if (getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, &size) != 0 ||
	    (t.tv_sec == 0 && t.tv_usec == 0))
		return -1;
	constexpr int64_t never = INT64_MAX / 4000000000;
	return t.tv_sec > never ? -1 : t.tv_sec * int64_t{1000000000} + t.tv_usec * 1000;
}

// Without VMIN a read waits for VTIME tenths of a second, and ends with nothing. What both together
// say, the call that is made when there is something knows.
int64_t limit_of_terminal(int fd)
{
	struct termios t;
	if (!is_terminal(fd, &t) || (t.c_lflag & ICANON) != 0 || t.c_cc[VMIN] != 0)
		return -1;
	return t.c_cc[VTIME] * int64_t{100000000};
}

short state_of(int fd)
{
	struct pollfd p = {fd, POLLIN | POLLPRI | POLLRDHUP, 0};
	return sys::poll_now(&p) > 0 ? p.revents : 0;
}

bool has_ended(short state)
{
	// Not POLLERR, which tells of messages in the error queue, too.
	return (state & (POLLHUP | POLLRDHUP | POLLNVAL)) != 0;
}

// How many bytes there are, up to the urgent one; -1: the socket does not say.
int bytes_there(int fd)
{
	int n = -1;
	return ioctl(fd, FIONREAD, &n) == 0 ? n : -1;
}

bool at_mark(int fd)
{
	int yes = 0;
	return ioctl(fd, SIOCATMARK, &yes) == 0 && yes != 0;
}

enum class Ahead { data, nothing, end };

// What a receive that has a part and goes on finds. An end, and an error with it, is not fetched:
// it is the next call's.
Ahead look_ahead(int fd)
{
	short state = state_of(fd);
	if (at_mark(fd))
		return Ahead::end;
	int n = bytes_there(fd);
	if (n > 0 || (n < 0 && (state & POLLIN) != 0))
		return Ahead::data;
	return has_ended(state) ? Ahead::end : Ahead::nothing;
}

// As recvmsg(2) leaves them, which gives back a flag of the call.
void clear_results(Request *r)
{
	Message *m = r->message;
	if (m == nullptr)
		return;
	m->header.msg_namelen = 0;
	m->header.msg_controllen = 0;
	m->header.msg_flags = r->call_flags & MSG_CMSG_CLOEXEC;
}

ssize_t attempt_once(Request *r, int fd)
{
	if (r->op == Op::read)
		return without_waiting(true, r->kind, fd, rest(r));
	return message_without_waiting(true, fd, r->call_flags,
				       r->message != nullptr ? &r->message->header : nullptr,
				       r->done == 0, rest(r));
}

// n bytes have been seen of those that are all to be there. No more will be if they end, or at the
// urgent byte.
ssize_t peeked(const Request *r, int fd, ssize_t n)
{
	if (n <= 0 || static_cast<size_t>(n) >= r->len)
		return n;
	short state = state_of(fd);
	int there = bytes_there(fd);
	bool all = has_ended(state) || there > n || (there == n && (state & POLLPRI) != 0);
	return all ? n : -EAGAIN;
}

// A receive of nothing over TCP, once it has been woken, ends whatever has come, and leaves that
// where it is.
bool wakes_for_nothing(const Request *r, int fd)
{
	return r->op == Op::recv && r->len == 0 && r->waited &&
	       socket_option(fd, SO_DOMAIN) != AF_UNIX &&
	       socket_option(fd, SO_TYPE) == SOCK_STREAM && state_of(fd) != 0;
}

// An attempt has found nothing. Where messages are received no more, the call that waits ends with
// nothing.
ssize_t found_nothing(Request *r, int fd)
{
	if ((state_of(fd) & POLLRDHUP) == 0)
		return -EAGAIN;
	// What has come before that is received.
	ssize_t n = attempt_once(r, fd);
	if (n != -EAGAIN)
		return n;
	clear_results(r);
	return 0;
}

} // namespace

int flags_that_count(int fd, int flags)
{
	int type = socket_option(fd, SO_TYPE);
	bool message = type >= 0 && type != SOCK_STREAM;
	bool meaningless =
		message || ((flags & MSG_PEEK) != 0 && socket_option(fd, SO_DOMAIN) == AF_UNIX);
	return meaningless ? flags & ~MSG_WAITALL : flags;
}

bool waits_its_own_way(const Request *r, int fd)
{
	if (r->op == Op::recv)
		return r->len == 0 || (r->call_flags & MSG_WAITALL) != 0;
	return r->op == Op::read && r->kind == Kind::socket && limit_of_socket(fd) >= 0;
}

ssize_t receive(Request *r, int fd)
{
	if (r->done > 0) {
		Ahead a = look_ahead(fd);
		if (a != Ahead::data)
			return a == Ahead::end ? 0 : -EAGAIN;
	}
	if (wakes_for_nothing(r, fd)) {
		clear_results(r);
		return 0;
	}
	ssize_t n = attempt_once(r, fd);
	if (r->nonblocking())
		return n;
	if (r->op == Op::recv && has_all(r->call_flags, MSG_PEEK | MSG_WAITALL))
		return peeked(r, fd, n);
	return n == -EAGAIN && r->done == 0 ? found_nothing(r, fd) : n;
}

int64_t time_limit(const Request *r, int fd)
{
	if (r->op != Op::read)
		return -1;
	return r->kind == Kind::socket   ? limit_of_socket(fd)
	       : r->kind == Kind::device ? limit_of_terminal(fd)
					 : -1;
}

ssize_t timed_out(const Request *r)
{
	return r->kind == Kind::socket ? -EAGAIN : 0;
}

ssize_t ended_empty(const Request *r, int fd)
{
	struct termios t;
	bool may_be_hung_up = r->op == Op::read && r->kind == Kind::device && r->waited;
	return may_be_hung_up && tcgetattr(fd, &t) != 0 && errno == EIO ? -EIO : 0;
}

} // namespace sigevec::transfer
