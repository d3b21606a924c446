// SPDX-License-Identifier: MIT
#include "engine/transfer.hpp"

#include "base/memory_order.hpp"
#include "base/socket_option.hpp"
#include "base/syscalls.hpp"
#include "dma/pool.hpp"
#include "engine/carrier.hpp"
#include "engine/file_system.hpp"
#include "engine/filequeue.hpp"
#include "engine/receive.hpp"
#include "interrupt.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <iterator>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

// Linux 6.5; older headers lack it.
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

// Linux 6.8; older headers lack it.
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x4000U
#endif

namespace sigevec::transfer {

namespace {

Kind kind_of_file(int fd, Descriptor *d)
{
	file_system::Type t = file_system::of(fd, *d);
	d->plain_calls_only = t == file_system::Type::fuse || t == file_system::Type::queue;
	d->exact_inode = t == file_system::Type::exact || t == file_system::Type::memory;
	return t == file_system::Type::memory ? Kind::memory : Kind::file;
}

Kind kind_of(int fd, mode_t mode, Descriptor *d)
{
	d->plain_calls_only = d->exact_inode = false;
	d->type = mode & S_IFMT;
	switch (mode & S_IFMT) {
	case S_IFREG:
		return kind_of_file(fd, d);
	case S_IFBLK:
	case S_IFDIR: // read and write fail at once
		return Kind::file;
	case S_IFSOCK:
		return Kind::socket;
	case S_IFIFO:
		return Kind::fifo;
	case 0:
		return dma::pool::identity(fd) != 0 ? Kind::pool : Kind::anonymous;
	default:
		return Kind::device;
	}
}

uint64_t mount_of(const struct statx &x)
{
	return (x.stx_mask & STATX_MNT_ID_UNIQUE) != 0 ? x.stx_mnt_id : 0;
}

// The members of fstat that are of use here, without the times: a file whose times have been asked
// for gets a new one, and with it a journal entry, at its next write, however soon that is
// (multigrain timestamps, Linux 6.13). On NFS the times of a file that is being written would even
// have to be waited for.
bool look_at(int fd, Descriptor *d, mode_t *mode)
{
	struct statx x;
	off_t size;
	if (sys::statx(fd, "", AT_EMPTY_PATH,
		       STATX_TYPE | STATX_INO | STATX_SIZE | STATX_MNT_ID_UNIQUE, &x) == 0) {
		*mode = x.stx_mode;
		d->dev = makedev(x.stx_dev_major, x.stx_dev_minor);
		d->ino = x.stx_ino;
		d->mount = mount_of(x);
		size = static_cast<off_t>(x.stx_size);
	} else {
		struct stat st;
		if (errno == EBADF || fstat(fd, &st) != 0)
			return false;
		*mode = st.st_mode;
		d->dev = st.st_dev;
		d->ino = st.st_ino;
		d->mount = 0;
		size = st.st_size;
	}
	d->size = S_ISREG(*mode) ? size : 0;
	return true;
}

ssize_t result(ssize_t r)
{
	return r < 0 ? -errno : r;
}

struct msghdr message(const struct iovec *v, size_t n)
{
	struct msghdr m = {};
	m.msg_iov = const_cast<struct iovec *>(v);
	m.msg_iovlen = n;
	return m;
}

ssize_t on_socket(bool read, int fd, const struct iovec *v, int n, int flags)
{
	struct msghdr m = message(v, static_cast<size_t>(n));
	return result(read ? sys::recvmsg(fd, &m, flags)
			   : sys::sendmsg(fd, &m, flags | MSG_NOSIGNAL));
}

// At the offset where the file has one, else where it stands: Linux says ESPIPE where others ignore
// the offset.
ssize_t vector_call(bool read, int fd, const struct iovec *v, int n, off_t offset, int flags)
{
	ssize_t r = result(read ? sys::preadv2(fd, v, n, offset, flags)
				: sys::pwritev2(fd, v, n, offset, flags));
	if (r == -ESPIPE)
		r = result(read ? sys::preadv2(fd, v, n, -1, flags)
				: sys::pwritev2(fd, v, n, -1, flags));
	return r;
}

} // namespace

bool describe(int fd, Descriptor *d)
{
	d->fd = fd;
	d->flags = fcntl(fd, F_GETFL);
	mode_t mode;
	if (d->flags < 0 || !look_at(fd, d, &mode))
		return false;
	d->kind = kind_of(fd, mode, d);
	return true;
}

bool still_in_memory(const Descriptor &d)
{
	struct statx x;
	return d.mount != 0 &&
	       sys::statx(d.fd, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID_UNIQUE, &x) == 0 &&
	       mount_of(x) == d.mount && x.stx_ino == d.ino &&
	       makedev(x.stx_dev_major, x.stx_dev_minor) == d.dev;
}

void cut(Vector *v, size_t used)
{
	int first = 0;
	for (; first < v->count && used >= v->v[first].iov_len && used > 0; first++)
		used -= v->v[first].iov_len;
	for (int i = first; first > 0 && i < v->count; i++)
		v->v[i - first] = v->v[i];
	v->count -= first;
	if (used > 0) {
		v->v[0].iov_base = static_cast<char *>(v->v[0].iov_base) + used;
		v->v[0].iov_len -= used;
	}
}

Piece rest(Request *r)
{
	Piece p{static_cast<char *>(r->buf) + r->done, r->len - r->done,
		r->offset + static_cast<off_t>(r->done), nullptr, 0};
	if (r->vector == nullptr)
		return p;
	// r->len counts what was asked for; the vector itself is cut from the front as it is used
	// up.
	size_t have = 0;
	for (int i = 0; i < r->vector->count; i++)
		have += r->vector->v[i].iov_len;
	cut(r->vector, have - p.len);
	p.buf = nullptr;
	p.vector = r->vector->v;
	p.vector_count = r->vector->count;
	return p;
}

namespace {

ssize_t at_offset_once(bool read, int fd, const Piece &p, int flags)
{
	if (p.vector == nullptr && flags == 0)
		return result(read ? sys::pread(fd, p.buf, p.len, p.offset)
				   : sys::pwrite(fd, p.buf, p.len, p.offset));
	struct iovec one = {p.buf, p.len};
	const struct iovec *v = p.vector != nullptr ? p.vector : &one;
	int n = p.vector != nullptr ? p.vector_count : 1;
	return result(read ? sys::preadv2(fd, v, n, p.offset, flags)
			   : sys::pwritev2(fd, v, n, p.offset, flags));
}

} // namespace

// A file that lets signals interrupt its transfers (FUSE, NFS) has done nothing then.
ssize_t at_offset(bool read, int fd, const Piece &p, int flags)
{
	constexpr int most = 100;
	ssize_t n = -EINTR;
	for (int i = 0; i < most && n == -EINTR; i++)
		n = at_offset_once(read, fd, p, flags);
	return n;
}

ssize_t of_nothing(bool read, int fd, const Piece &p)
{
	if (p.vector != nullptr)
		return result(read ? sys::preadv2(fd, p.vector, p.vector_count, -1, 0)
				   : sys::pwritev2(fd, p.vector, p.vector_count, -1, 0));
	return result(syscall(read ? SYS_read : SYS_write, fd, p.buf, 0));
}

ssize_t without_waiting(bool read, Kind kind, int fd, const Piece &p)
{
	struct iovec one = {p.buf, p.len};
	const struct iovec *v = p.vector != nullptr ? p.vector : &one;
	int n = p.vector != nullptr ? p.vector_count : 1;
	// read() of nothing returns 0, where recv would look at the connection. write() of nothing
	// sends an empty datagram, which writev() does not.
	if (kind == Kind::socket && (p.len != 0 || (!read && p.vector == nullptr)))
		return on_socket(read, fd, v, n, MSG_DONTWAIT);
	return vector_call(read, fd, v, n, kind == Kind::fifo ? -1 : p.offset, RWF_NOWAIT);
}

ssize_t message_without_waiting(bool inward, int fd, int flags, struct msghdr *header, bool control,
				const Piece &p)
{
	struct iovec one = {p.buf, p.len};
	struct msghdr m = header != nullptr ? *header : msghdr{};
	m.msg_iov = p.vector != nullptr ? const_cast<struct iovec *>(p.vector) : &one;
	m.msg_iovlen = p.vector != nullptr ? static_cast<size_t>(p.vector_count) : 1;
	if (!control) {
		m.msg_control = nullptr;
		m.msg_controllen = 0;
	}
	if (!inward)
		return result(sys::sendmsg(fd, &m, flags | MSG_DONTWAIT | MSG_NOSIGNAL));
	ssize_t n = result(sys::recvmsg(fd, &m, flags | MSG_DONTWAIT));
	if (n >= 0 && header != nullptr) {
		// What came with the first part stays.
		header->msg_namelen = m.msg_namelen;
		header->msg_controllen = control ? m.msg_controllen : header->msg_controllen;
		header->msg_flags = control ? m.msg_flags : header->msg_flags | m.msg_flags;
	}
	return n;
}

namespace {

// A call that has waited, or done a part, ends with the error that broke the connection, and
// fetches it; a new one on an AF_UNIX stream would look at the shutdown first.
ssize_t after_wait(const Request *r, int fd, ssize_t n)
{
	if (n != -EPIPE || r->kind != Kind::socket || (!r->waited && r->done == 0))
		return n;
	int error = 0;
	socklen_t size = sizeof error;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error != 0 ? -error : n;
}

} // namespace

ssize_t attempt(Request *r, int fd)
{
	if (r->is_read() && r->kind == Kind::socket && r->op != Op::poll)
		return receive(r, fd);
	struct msghdr *header = r->message != nullptr ? &r->message->header : nullptr;
	switch (r->op) {
	case Op::send:
		return after_wait(r, fd,
				  message_without_waiting(false, fd, r->call_flags, header,
							  r->done == 0, rest(r)));
	case Op::poll: {
		struct pollfd p = {fd, static_cast<short>(r->call_flags), 0};
		int n = sys::poll_now(&p);
		return n == 0 ? -EAGAIN : n < 0 ? -errno : poll_result(p.revents);
	}
	case Op::write:
		return after_wait(r, fd, without_waiting(false, r->kind, fd, rest(r)));
	default:
		return without_waiting(r->is_read(), r->kind, fd, rest(r));
	}
}

ssize_t unable(const Request *r, int fd)
{
	if ((r->op != Op::read && r->op != Op::write) ||
	    (r->kind != Kind::anonymous && r->kind != Kind::device))
		return 0;
	return result(r->op == Op::read ? readv(fd, nullptr, 0) : writev(fd, nullptr, 0));
}

struct msghdr *header_for(Message *m, const struct iovec &buffer, Vector *vector, bool control)
{
	m->buffer = buffer;
	m->header.msg_iov = vector != nullptr ? vector->v : &m->buffer;
	m->header.msg_iovlen = vector != nullptr ? static_cast<size_t>(vector->count) : 1;
	if (!control) {
		m->header.msg_control = nullptr;
		m->header.msg_controllen = 0;
	}
	return &m->header;
}

struct msghdr *header_of_rest(Request *r)
{
	Piece p = rest(r);
	return header_for(r->message, {p.buf, p.len}, r->vector, r->done == 0 || r->is_read());
}

bool may_carry_descriptors(Op op, int fd, const struct msghdr *header)
{
	if (header == nullptr || header->msg_control == nullptr || header->msg_controllen == 0)
		return false;
	if (op == Op::recv)
		return socket_option(fd, SO_DOMAIN) == AF_UNIX;
	auto *m = const_cast<struct msghdr *>(header);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != nullptr; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			return true;
	return false;
}

namespace {

// While one exists, its thread is interrupted again and again (compat/interrupt.h): a call that it
// makes does not wait for longer than a moment. What the thread was about to call when the first
// signal came, the next one ends.
class Moment {
public:
	Moment()
	{
		struct sigevent e = {};
		e.sigev_notify = SIGEV_THREAD_ID;
		e.sigev_signo = sigevec_interruption;
		e._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
		constexpr struct itimerspec often = {{0, 2000000}, {0, 1000000}};
		made_ = sigevec_can_interrupt() != 0 &&
			syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &timer_) == 0;
		if (made_)
			syscall(SYS_timer_settime, timer_, 0, &often, nullptr);
	}
	~Moment()
	{
		if (made_)
			syscall(SYS_timer_delete, timer_);
	}
	Moment(const Moment &) = delete;
	Moment &operator=(const Moment &) = delete;

private:
	int timer_ = 0; // as the kernel numbers it
	bool made_;
};

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
	int flags = fcntl(fd, F_GETFL);
	if (flags >= 0 && (flags & O_NONBLOCK) != 0)
		return call_connect(fd, to);
	Moment moment;
	return call_connect(fd, to);
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
	int now = fcntl(fd, F_GETFL);
	if (now >= 0 && (now & O_NONBLOCK) != 0)
		return call();
	Moment moment;
	return call();
}

ssize_t end_of_connect(int fd, const struct msghdr &to)
{
	struct pollfd p = {fd, POLLOUT, 0};
	if (sys::poll_now(&p) <= 0)
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
	return n == -EISCONN ? 0 : n == -EINPROGRESS || n == -EALREADY || n == -EINTR ? -EAGAIN : n;
}

namespace {

ssize_t blocking_message(Request *r, int fd)
{
	struct msghdr plain = {};
	struct iovec one;
	struct msghdr *m = &plain;
	if (r->message != nullptr)
		m = header_of_rest(r);
	else {
		Piece p = rest(r);
		one = {p.buf, p.len};
		plain.msg_iov = &one;
		plain.msg_iovlen = 1;
	}
	return result(r->op == Op::recv ? sys::recvmsg(fd, m, r->call_flags)
					: sys::sendmsg(fd, m, r->call_flags | MSG_NOSIGNAL));
}

// A write of a file lands where the call was told to: fcntl may have changed O_APPEND since (Linux
// 6.9 for its absence).
ssize_t write_as_submitted(const Request *r, int fd, const Piece &p)
{
	int asked = r->call_flags & ~RWF_APPEND;
	ssize_t n = at_offset(false, fd, p,
			      ((r->flags & O_APPEND) != 0 ? RWF_APPEND : RWF_NOAPPEND) | asked);
	return n == -EOPNOTSUPP ? at_offset(false, fd, p, asked) : n;
}

ssize_t transfer_call(Request *r, int fd)
{
	Piece p = rest(r);
	// Of nothing the plain call is made: with flags the kernel asks no file.
	if (r->op == Op::write && !is_stream(r->kind) && r->len != 0)
		if (ssize_t n = write_as_submitted(r, fd, p); n != -ESPIPE)
			return n;
	if (p.vector != nullptr)
		return vector_call(r->is_read(), fd, p.vector, p.vector_count,
				   r->kind == Kind::fifo ? -1 : p.offset, 0);
	if ((r->call_flags & RWF_NOWAIT) != 0)
		return at_offset(r->is_read(), fd, p, RWF_NOWAIT);
	ssize_t n = result(r->is_read() ? pread(fd, p.buf, p.len, p.offset)
					: pwrite(fd, p.buf, p.len, p.offset));
	if (n == -ESPIPE)
		n = result(r->is_read() ? read(fd, p.buf, p.len) : write(fd, p.buf, p.len));
	return n;
}

// O_DIRECT may have been set since r was submitted, and forbids what need not be aligned: then by
// an open file without it. It may have been cleared again by now, and set again in a moment. Where
// there is no /proc, or the file's permissions have changed, the error stays.
ssize_t without_direct(Request *r, int fd)
{
	char path[40];
	snprintf(path, sizeof path, "/proc/thread-self/fd/%d", fd);
	int flags =
		(r->is_read() ? O_RDONLY : O_WRONLY) | (r->flags & (O_APPEND | O_SYNC | O_DSYNC));
	auto other = static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC));
	if (other < 0)
		return -EINVAL;
	ssize_t n = transfer_call(r, other);
	sys::close(other);
	return n;
}

} // namespace

ssize_t one_call(Request *r, int fd)
{
	if (r->op == Op::accept)
		return result(syscall(SYS_accept4, fd, nullptr, nullptr, r->call_flags));
	if (r->op == Op::connect)
		return begin_connect(fd, r->message->header, false);
	if (is_socket_call(r->op))
		return blocking_message(r, fd);
	if (r->op == Op::fsync)
		return result(syscall(SYS_fsync,
				      fd)); // no cancellation point: it may be the program's thread
	if (r->op == Op::fdatasync)
		return result(syscall(SYS_fdatasync, fd));
	ssize_t n = transfer_call(r, fd);
	return n == -EINVAL && submitted_buffered(r) ? without_direct(r, fd) : n;
}

bool in_cache(int fd, off_t offset, size_t len)
{
	struct {
		uint64_t offset, length;
	} range = {static_cast<uint64_t>(offset), len};
	struct {
		uint64_t cached, dirty, written_back, evicted, evicted_lately;
	} pages = {};
	return syscall(SYS_cachestat, fd, &range, &pages, 0) == 0 &&
	       pages.cached * static_cast<uint64_t>(getpagesize()) >= len;
}

bool may_be_written_in_call(off_t offset, size_t len, const Descriptor &d)
{
	return !beyond_size_limit(offset, len) && filequeue::empty(d.dev, d.ino);
}

bool beyond_size_limit(off_t offset, size_t len)
{
	struct rlimit limit;
#if defined SYS_getrlimit && defined __LP64__
	// Half of what prlimit takes, which libc calls.
	bool known = syscall(SYS_getrlimit, RLIMIT_FSIZE, &limit) == 0;
#else
	bool known = getrlimit(RLIMIT_FSIZE, &limit) == 0;
#endif
	if (!known || limit.rlim_cur == RLIM_INFINITY)
		return false;
	auto from = static_cast<rlim_t>(offset);
	return from > limit.rlim_cur || len > limit.rlim_cur - from;
}

namespace {

// What the call says if it need not wait; else -EINTR.
ssize_t one_moment(Request *r, int fd)
{
	Moment moment;
	return one_call(r, fd);
}

} // namespace

ssize_t blocking(Request *r, int fd)
{
	if (r->carrier != nullptr)
		return carrier::run(r);
	for (;;) {
		if (r->stop.load(mo::acquire) && r->done == 0)
			return -ECANCELED;
		ssize_t n = r->briefly ? one_moment(r, fd) : one_call(r, fd);
		if (n == -EINTR && !r->briefly)
			continue;
		if (r->is_sync())
			return n;
		if (!goes_on(r, fd, n))
			return total(r, n);
	}
}

bool advance(Request *r, ssize_t result)
{
	if (result <= 0 || r->is_sync() || r->op == Op::accept || r->op == Op::poll)
		return false;
	__atomic_store_n(&r->done, r->done + static_cast<size_t>(result), __ATOMIC_RELAXED);
	if (r->done >= r->len)
		return false;
	// A stream gives what it has; a blocking write waits until all is written, a non-blocking
	// one does not.
	if (r->on_stream())
		return !r->nonblocking() &&
		       (!r->is_read() ||
			(r->op == Op::recv &&
			 (r->call_flags & (MSG_WAITALL | MSG_PEEK)) == MSG_WAITALL));
	if (!r->is_read() || static_cast<size_t>(result) >= most_at_once)
		return true;
	// A short read of a file is its end, unless the file is longer than that.
	return r->offset + static_cast<off_t>(r->done) < r->size;
}

bool goes_on(Request *r, int fd, ssize_t result)
{
	if (!advance(r, result))
		return false;
	bool sends = r->kind == Kind::socket && (r->op == Op::send || r->op == Op::write);
	return !sends || !is_broken(fd);
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

bool readiness_tells_all(int fd)
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

ssize_t total(const Request *r, ssize_t last)
{
	return r->done > 0 ? static_cast<ssize_t>(r->done) : last;
}

} // namespace sigevec::transfer
