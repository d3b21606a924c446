// SPDX-License-Identifier: MIT
//
// The checks of io_submit, in the kernel's order.
#include "iocontext/iocb_check.hpp"

#include "base/capabilities.hpp"
#include "base/iovec.hpp"
#include "base/proc.hpp"
#include "engine/kaio.hpp"
#include "engine/transfer.hpp"
#include "iocontext/user_memory.hpp"
#include "submit/check.hpp"

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <initializer_list>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef IOCB_FLAG_IOPRIO
#define IOCB_FLAG_IOPRIO (1 << 1)
#endif

namespace sigevec::io {

namespace {

bool may_be_real_time()
{
	Capabilities c = Capabilities::own();
	return c.has(CAP_SYS_ADMIN) || c.has(CAP_SYS_NICE);
}

// An I/O priority: ioprio_set(2).
int check_priority(int priority)
{
	constexpr int none = 0, real_time = 1, best_effort = 2, idle = 3;
	// What is above the level are hints, of newer kernels.
	int level = priority & 7;
	switch (static_cast<uint16_t>(priority) >> 13) {
	case real_time:
		return may_be_real_time() ? 0 : -EPERM;
	case best_effort:
	case idle:
		return 0;
	case none:
		return level == 0 ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

constexpr int known_flags =
	RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND | hints;

int check_flags(const struct iocb &i)
{
	if ((i.aio_flags & IOCB_FLAG_IOPRIO) != 0)
		if (int e = check_priority(i.aio_reqprio); e != 0)
			return e;
	auto flags = static_cast<int>(i.aio_rw_flags);
	if ((flags & ~known_flags) != 0)
		return -EOPNOTSUPP;
	return (flags & RWF_APPEND) != 0 && (flags & RWF_NOAPPEND) != 0 ? -EINVAL : 0;
}

bool allows(const Descriptor &d, bool read)
{
	int mode = d.flags & O_ACCMODE;
	return mode == O_RDWR || mode == (read ? O_RDONLY : O_WRONLY);
}

// Nothing that is written to is without a file of some kind.
bool anonymous_can(bool read, int fd)
{
	if (!read)
		return false;
	char name[40];
	if (proc::name_of(fd, name, sizeof name) < 0)
		return true;
	for (const char *i : {"anon_inode:[eventfd]", "anon_inode:[timerfd]",
			      "anon_inode:[signalfd]", "anon_inode:[userfaultfd]"})
		if (strcmp(name, i) == 0)
			return true;
	return false;
}

// What the kernel would have against a transfer of a file of a kind that not all can be transferred
// of by kernel AIO, or with such flags: 0 or -errno.
int check_kind(const Descriptor &d, bool read, int flags)
{
	if (d.type == S_IFDIR)
		return -EINVAL;
	// Of devices each has its own way.
	bool data = d.type != S_IFCHR &&
		    (d.kind == Kind::memory ||
		     (d.kind == Kind::file && (d.size != 0 || d.exact_inode || d.type == S_IFBLK)));
	bool all_can =
		data || d.kind == Kind::pool || d.kind == Kind::socket || d.kind == Kind::fifo;
	if (all_can && (flags & (RWF_NOAPPEND | RWF_NOWAIT | hints)) == 0)
		return 0;
	int e = kaio::verdict(d.fd, read, flags);
	return e == 0 && d.kind == Kind::anonymous && !anonymous_can(read, d.fd) ? -EINVAL : e;
}

// The buffer or the vector, which is read here: 0 or -errno.
int read_buffer(const struct iocb &i, bool vector, Call *c)
{
	if (!vector) {
		c->buf = reinterpret_cast<void *>(i.aio_buf);
		c->len = i.aio_nbytes < transfer::most_at_once ? i.aio_nbytes
							       : transfer::most_at_once;
		return in_reach(c->buf, c->len) ? 0 : -EFAULT;
	}
	auto n = static_cast<unsigned>(i.aio_nbytes);
	if (n > IOV_MAX)
		return -EINVAL;
	c->vector = reinterpret_cast<const struct iovec *>(i.aio_buf);
	c->vector_count = static_cast<int>(n);
	if (n != 0 && !readable(c->vector, n * sizeof(struct iovec)))
		return -EFAULT;
	ssize_t length = length_of(c->vector, n);
	if (length < 0)
		return -EINVAL;
	for (unsigned k = 0; k < n; k++)
		if (!in_reach(c->vector[k].iov_base, c->vector[k].iov_len))
			return -EFAULT;
	c->len = static_cast<size_t>(length);
	// None at all is a buffer of no bytes.
	if (n == 0)
		c->vector = nullptr;
	return 0;
}

// As rw_verify_area: an offset, and an end, that a file can have.
int check_area(const Call &c)
{
	off_t end;
	size_t len = c.len < SSIZE_MAX ? c.len : SSIZE_MAX;
	return c.offset < 0 || __builtin_add_overflow(c.offset, static_cast<off_t>(len), &end)
		       ? -EINVAL
		       : 0;
}

// Whether it is a file of /proc, or of a namespace.
bool tells_of_the_kernel(int fd)
{
	struct statfs s;
	if (syscall(SYS_fstatfs, fd, &s) != 0)
		return false;
	auto type = static_cast<unsigned long>(s.f_type);
	return type == PROC_SUPER_MAGIC || type == NSFS_MAGIC;
}

} // namespace

bool has_no_fsync(const Descriptor &d)
{
	if (is_stream(d.kind))
		return true;
	bool asks = d.type == S_IFCHR || (d.size == 0 && !d.exact_inode && d.type != S_IFBLK &&
					  tells_of_the_kernel(d.fd));
	return asks && syscall(SYS_fsync, d.fd) != 0 && errno == EINVAL;
}

int describe_transfer(const struct iocb &i, const Descriptor &d, bool vector, Call *c)
{
	bool read = c->op == Op::read;
	if (int e = check_flags(i); e != 0)
		return e;
	if (!allows(d, read))
		return -EBADF;
	if (int e = check_kind(d, read, static_cast<int>(i.aio_rw_flags)); e != 0)
		return e;
	c->fd = d.fd;
	c->offset = i.aio_offset;
	if (int e = read_buffer(i, vector, c); e != 0)
		return e;
	return check_area(*c);
}

} // namespace sigevec::io
