// SPDX-License-Identifier: MIT
//
// Requests by calls that wait, as the program itself would make them: by workers, carriers, and the
// threads of engine "threads".
#include "engine/transfer.hpp"

#include "base/memory_order.hpp"
#include "base/owned_fd.hpp"
#include "base/proc.hpp"
#include "base/syscalls.hpp"
#include "engine/carrier.hpp"
#include "engine/moment.hpp"
#include "engine/transfer_impl.hpp"
#include "request/stats_detail.hpp"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace sigevec::transfer {

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
	if ((r->call_flags & RWF_NOWAIT) != 0)
		return at_offset(r->is_read(), fd, p, RWF_NOWAIT);
	if (p.vector != nullptr)
		return vector_call(r->is_read(), fd, p.vector, p.vector_count,
				   r->kind == Kind::fifo ? -1 : p.offset, 0);
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
	snprintf(path, sizeof path, "%s/%d", proc::own_files, fd);
	int flags =
		(r->is_read() ? O_RDONLY : O_WRONLY) | (r->flags & (O_APPEND | O_SYNC | O_DSYNC));
	OwnedFd other(proc::open(path, flags));
	return other < 0 ? -EINVAL : transfer_call(r, other);
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

ssize_t one_moment(Request *r, int fd)
{
	Moment moment;
	return one_call(r, fd);
}

ssize_t blocking(Request *r, int fd)
{
	stats_detail::step(trace::Step::begun, r, stats_detail::By::threads);
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

} // namespace sigevec::transfer
