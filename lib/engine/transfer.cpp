// SPDX-License-Identifier: MIT
//
// What is left of a request, and the calls that move it without waiting.
#include "engine/transfer.hpp"

#include "base/iovec.hpp"
#include "base/pages.hpp"
#include "base/proc.hpp"
#include "base/socket_option.hpp"
#include "base/syscalls.hpp"
#include "engine/receive.hpp"
#include "engine/transfer_impl.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <iterator>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace sigevec::transfer {

namespace {

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

} // namespace

// Of read(2) and write(2), which look at the mode, and then at the whole buffer, before they move
// anything; whoever moves it in parts would find the end of the memory too late.
ssize_t impossible_length(const Call &c, int flags)
{
	if (c.len > SSIZE_MAX)
		return -EINVAL;
	bool plain = (c.op == Op::read || c.op == Op::write) && c.vector == nullptr;
	int other = c.op == Op::read ? O_WRONLY : O_RDONLY, mode = flags & O_ACCMODE;
	bool permitted = mode == O_RDWR || (mode != other && mode != O_ACCMODE);
	return plain && permitted && c.len > most_at_once && ends_nowhere(c.buf, c.len) ? -EFAULT
											: 0;
}

ssize_t vector_call(bool read, int fd, const struct iovec *v, int n, off_t offset, int flags)
{
	ssize_t r = result(read ? sys::preadv2(fd, v, n, offset, flags)
				: sys::pwritev2(fd, v, n, offset, flags));
	if (r == -ESPIPE)
		r = result(read ? sys::preadv2(fd, v, n, -1, flags)
				: sys::pwritev2(fd, v, n, -1, flags));
	return r;
}

namespace {

// Takes what is used from the front of a vector, which may be no more than is in it.
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

} // namespace

Piece rest(KeptOperation *o)
{
	Piece p{static_cast<char *>(o->buf) + o->done, o->len - o->done,
		o->offset + static_cast<off_t>(o->done), nullptr, 0};
	if (o->vector == nullptr)
		return p;
	// o->len counts what was asked for; the vector itself is cut from the front as it is used
	// up.
	cut(o->vector,
	    static_cast<size_t>(length_of(o->vector->v, static_cast<size_t>(o->vector->count))) -
		    p.len);
	p.buf = nullptr;
	p.vector = o->vector->v;
	p.vector_count = o->vector->count;
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

bool tells_readiness(Kind kind, int fd)
{
	if (kind == Kind::device) {
		// Of terminals those with the usual line discipline.
		int discipline;
		return ioctl(fd, TIOCGETD, &discipline) == 0 && discipline == N_TTY;
	}
	if (kind != Kind::anonymous)
		return kind == Kind::fifo;
	// Of what has no inode those of which a program may have many. A blocking userfaultfd says
	// that it is in error, a perf event without samples that there is nothing to read.
	constexpr const char *honest[] = {"inotify",   "[inotify]",  "[eventfd]",
					  "[timerfd]", "[signalfd]", "[fanotify]"};
	constexpr char prefix[] = "anon_inode:";
	char name[40];
	if (proc::name_of(fd, name, sizeof name) < 0 ||
	    strncmp(name, prefix, sizeof prefix - 1) != 0)
		return false;
	return std::any_of(std::begin(honest), std::end(honest), [&name](const char *n) {
		return strcmp(name + sizeof prefix - 1, n) == 0;
	});
}

struct msghdr *header_of_rest(KeptOperation *o)
{
	Piece p = rest(o);
	Message *m = o->message;
	m->buffer = {p.buf, p.len};
	m->header.msg_iov = o->vector != nullptr ? o->vector->v : &m->buffer;
	m->header.msg_iovlen = o->vector != nullptr ? static_cast<size_t>(o->vector->count) : 1;
	if (o->done != 0 && !o->is_read()) {
		m->header.msg_control = nullptr;
		m->header.msg_controllen = 0;
	}
	return &m->header;
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

// What is read of these tells of files by new numbers. A userfaultfd that waits by itself cannot be
// asked whether there is something.
bool reads_make_descriptors(const Descriptor &d)
{
	char name[40];
	if (d.kind != Kind::anonymous)
		return false;
	if (proc::name_of(d.fd, name, sizeof name) < 0)
		return true;
	return strcmp(name, "anon_inode:[fanotify]") == 0 ||
	       ((d.flags & O_NONBLOCK) != 0 && strcmp(name, "anon_inode:[userfaultfd]") == 0);
}

} // namespace

bool makes_descriptors(const Call &c, const Descriptor &d)
{
	return c.op == Op::accept ||
	       (c.op == Op::read ? reads_make_descriptors(d)
				 : may_carry_descriptors(c.op, c.fd, c.message));
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

ssize_t total(const Request *r, ssize_t last)
{
	return r->done > 0 ? static_cast<ssize_t>(r->done) : last;
}

} // namespace sigevec::transfer
