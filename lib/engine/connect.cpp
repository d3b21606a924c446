// SPDX-License-Identifier: MIT
//
// Connecting and accepting in parts: a connect is begun by one call, which does not wait for long,
// and ended by another; the socket is left as a call that waits would leave it. What ends the wait
// of a send is here too, for most of it is asked of the connection.
#include "base/descriptor.hpp"
#include "engine/transfer.hpp"

#include "base/socket_option.hpp"
#include "base/sync.hpp"
#include "base/syscalls.hpp"
#include "engine/moment.hpp"
#include "engine/transfer_impl.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <iterator>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

namespace sigevec::transfer {

namespace {

ssize_t call_connect(int fd, const struct msghdr &to)
{
	return result(static_cast<ssize_t>(syscall(SYS_connect, fd, to.msg_name, to.msg_namelen)));
}

// TCP, whose socket stays one that is about to connect until a call of connect() has fetched the
// end.
bool remembers(int fd)
{
	int protocol = 0;
	return get_option(fd, SOL_SOCKET, SO_PROTOCOL, &protocol) &&
	       (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP);
}

// With no error left, and no connection either: somebody else has fetched the error, or shut the
// socket down.
bool closed_again(int fd)
{
	struct tcp_info info = {};
	socklen_t size = sizeof info;
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
	       info.tcpi_state == TCP_CLOSE;
}

ssize_t connect_briefly(int fd, const struct msghdr &to)
{
	int flags = sys::status_flags(fd);
	if (flags >= 0 && (flags & O_NONBLOCK) != 0)
		return call_connect(fd, to);
	Moment moment;
	return call_connect(fd, to);
}

// Whether it can be written to, or has an error.
bool is_writable(int fd)
{
	struct pollfd p = {fd, POLLOUT, 0};
	return sys::poll_now(&p) > 0;
}

ssize_t forget_connect(int fd, int error)
{
	// As connect() does that fetches an error: the program may connect anew. Connecting to
	// nothing never begins a connection, as connect() itself would where shutdown() has ended
	// the first one.
	constexpr struct sockaddr nothing = {AF_UNSPEC, {}};
	syscall(SYS_connect, fd, &nothing, sizeof nothing);
	return -error;
}

} // namespace

bool begins_briefly(const struct msghdr &to)
{
	sa_family_t family = static_cast<const struct sockaddr *>(to.msg_name)->sa_family;
	return to.msg_namelen >= sizeof family && (family == AF_INET || family == AF_INET6);
}

ssize_t begin_connect(int fd, const struct msghdr &to, bool briefly)
{
	bool goes_on = begins_briefly(to);
	ssize_t n = goes_on || briefly ? connect_briefly(fd, to) : call_connect(fd, to);
	return n == -EALREADY || (n == -EINTR && goes_on) ? -EINPROGRESS : n;
}

ssize_t begin_connect_in_call(int fd, const struct msghdr &to)
{
	// No handler of the program's may leave by a longjmp: who is called has the stream's claim.
	BlockSignals blocked;
	constexpr long longest = 50000;
	Moment moment(longest);
	if (!moment)
		return -EAGAIN;
	ssize_t n = call_connect(fd, to);
	return n == -EALREADY || n == -EINTR ? -EINPROGRESS : n;
}

ssize_t failed_connect(int fd, ssize_t error)
{
	// What the network says comes after the connect has begun, and only then is there something
	// to be forgotten.
	constexpr ssize_t from_network[] = {-ECONNREFUSED, -ETIMEDOUT,  -EHOSTUNREACH,
					    -ENETUNREACH,  -ECONNRESET, -ECONNABORTED,
					    -EHOSTDOWN};
	bool begun = std::find(std::begin(from_network), std::end(from_network), error) !=
		     std::end(from_network);
	return begun && remembers(fd) && closed_again(fd)
		       ? forget_connect(fd, static_cast<int>(-error))
		       : error;
}

ssize_t accept_briefly(int fd, int flags)
{
	auto call = [&] {
		return result(
			static_cast<ssize_t>(syscall(SYS_accept4, fd, nullptr, nullptr, flags)));
	};
	int now = sys::status_flags(fd);
	if (now >= 0 && (now & O_NONBLOCK) != 0)
		return call();
	Moment moment;
	return call();
}

ssize_t end_of_connect(int fd, const struct msghdr &to)
{
	if (!is_writable(fd))
		return -EAGAIN;
	int error = 0;
	if (!get_option(fd, SOL_SOCKET, SO_ERROR, &error))
		return -errno;
	if (!remembers(fd))
		return -error;
	if (error != 0)
		return forget_connect(fd, error);
	if (closed_again(fd))
		return forget_connect(fd, ECONNABORTED);
	// It does not wait, unless somebody has just shut the socket down: then this is a new
	// connection.
	ssize_t n = connect_briefly(fd, to);
	// This thread's security domain may not be the caller's, and forbid what the caller may.
	bool there = n == -EISCONN || n == -EACCES || n == -EPERM;
	return there ? 0 : n == -EINPROGRESS || n == -EALREADY || n == -EINTR ? -EAGAIN : n;
}

bool is_broken(int fd)
{
	return closed_again(fd);
}

uint64_t limit_of_write(int fd)
{
	struct timeval t = {};
	socklen_t size = sizeof t;
	if (getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, &size) != 0 || t.tv_sec > (time_t{1} << 32))
		return 0;
	return static_cast<uint64_t>(t.tv_sec) * 1000000000 +
	       static_cast<uint64_t>(t.tv_usec) * 1000;
}

bool limit_of_each_part(int fd)
{
	return socket_option(fd, SO_DOMAIN) == AF_UNIX;
}

bool readiness_suffices(int fd)
{
	int domain = 0, type = 0;
	if (!get_option(fd, SOL_SOCKET, SO_DOMAIN, &domain) ||
	    !get_option(fd, SOL_SOCKET, SO_TYPE, &type))
		return false;
	if (domain != AF_UNIX || type != SOCK_DGRAM)
		return remembers(fd);
	// A call that waits for room with the receiver is woken by nothing else.
	int queued = 0, most = 0;
	return ioctl(fd, SIOCOUTQ, &queued) == 0 && get_option(fd, SOL_SOCKET, SO_SNDBUF, &most) &&
	       queued < most;
}

} // namespace sigevec::transfer
