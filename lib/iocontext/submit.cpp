// SPDX-License-Identifier: MIT
#include "iocontext/submit.hpp"

#include "api/check.hpp"
#include "engine/transfer.hpp"
#include "iocontext/order.hpp"
#include "iocontext/user_memory.hpp"
#include "request/cancel.hpp"
#include "request/submit.hpp"
#include "runtime/helper.hpp"

#include <climits>
#include <cstring>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>

#ifndef IOCB_FLAG_IOPRIO
#define IOCB_FLAG_IOPRIO (1 << 1)
#endif

namespace sigevec::io {

namespace {

// ---- the end ----

void told(void *owner, ssize_t result)
{
	auto *o = static_cast<Operation *>(owner);
	if (o->place.ordered)
		order::leave(o);
	// A poll that is cancelled has found nothing.
	ended(o, o->poll && result == -ECANCELED ? 0 : result);
}

// ---- checks, in the kernel's order ----

bool may_be_real_time()
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
	constexpr uint32_t enough = 1u << CAP_SYS_ADMIN | 1u << CAP_SYS_NICE;
	return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & enough) != 0;
}

// An I/O priority: ioprio_set(2).
int check_priority(int priority)
{
	constexpr int none = 0, real_time = 1, best_effort = 2, idle = 3, levels = 8;
	int level = priority & ((1 << 13) - 1);
	switch (static_cast<uint16_t>(priority) >> 13) {
	case real_time:
		if (!may_be_real_time())
			return -EPERM;
		return level < levels ? 0 : -EINVAL;
	case best_effort:
		return level < levels ? 0 : -EINVAL;
	case idle:
		return 0;
	case none:
		return level == 0 ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

constexpr int known_flags = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND;

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

// The buffer or the vector, which is read here: 0 or -errno.
int read_buffer(const struct iocb &i, bool vector, Call *c)
{
	if (!vector) {
		c->buf = reinterpret_cast<void *>(i.aio_buf);
		c->len = i.aio_nbytes;
		return 0;
	}
	auto n = static_cast<unsigned>(i.aio_nbytes);
	if (n > IOV_MAX)
		return -EINVAL;
	c->vector = reinterpret_cast<const struct iovec *>(i.aio_buf);
	c->vector_count = static_cast<int>(n);
	if (n != 0 && !readable(c->vector, n * sizeof(struct iovec)))
		return -EFAULT;
	ssize_t length = api::length_of(c->vector, c->vector_count);
	if (length < 0)
		return -EINVAL;
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
	return c.offset < 0 || __builtin_add_overflow(c.offset, static_cast<off_t>(len), &end) ? -EINVAL : 0;
}

// ---- transfers ----

// What the flags of the iocb add to those of the file.
void apply_flags(Call *c, Descriptor *d, int flags)
{
	flags &= ~RWF_HIPRI;
	if ((flags & RWF_APPEND) != 0)
		d->flags |= O_APPEND;
	if ((flags & RWF_NOAPPEND) != 0)
		d->flags &= ~O_APPEND;
	if ((flags & (RWF_DSYNC | RWF_SYNC)) != 0)
		d->flags |= O_DSYNC;
	c->flags = flags & (RWF_DSYNC | RWF_SYNC);
	// Only the plain call takes them.
	if (c->flags != 0)
		d->plain_calls_only = true;
}

void set_place(Operation *o, const Call &c, const Descriptor &d)
{
	auto offset = static_cast<uint64_t>(c.offset), size = static_cast<uint64_t>(d.size);
	o->place.write = c.op == Op::write;
	o->place.dev = d.dev;
	o->place.ino = d.ino;
	o->place.from = offset;
	o->place.to = offset + c.len;
	if (!o->place.write)
		return;
	if ((d.flags & O_APPEND) != 0)
		o->place.from = 0;
	if ((d.flags & O_APPEND) != 0 || o->place.to > size) {
		o->place.from = o->place.from < size ? o->place.from : size;
		o->place.to = UINT64_MAX;
	}
}

// A request of no bytes is in nobody's way.
bool is_ordered(const Call &c, const Descriptor &d)
{
	return !is_stream(d.kind) && (d.flags & O_DIRECT) == 0 && c.len != 0;
}

int start_ordered(Operation *o, Call &c, const Descriptor &d)
{
	set_place(o, c, d);
	int e;
	if (order::enter(o)) {
		e = submit::start_described(c, d, false);
	} else {
		Request *r;
		e = submit::park(c, d, &r);
		if (e == 0)
			order::parked(o, r);
	}
	if (e != 0)
		order::leave(o);
	return -e;
}

// A transfer that is not to wait: what the call says is the answer, EAGAIN among it. With O_DIRECT it would be waited for here.
int start_without_waiting(Operation *o, const Call &c, const Descriptor &d, int flags)
{
	transfer::Piece p{c.buf, c.len, c.offset, c.vector, c.vector_count};
	ssize_t n = transfer::at_offset(c.op == Op::read, c.fd, p, flags & ~RWF_HIPRI);
	if (n == -ESPIPE)
		n = transfer::without_waiting(c.op == Op::read, d.kind, c.fd, p);
	if (n == -EOPNOTSUPP)
		return -EOPNOTSUPP;
	ended(o, n);
	return 0;
}

int start_transfer(Operation *o, const struct iocb &i, Descriptor &d, bool read, bool vector)
{
	if (int e = check_flags(i); e != 0)
		return e;
	if (!allows(d, read))
		return -EBADF;
	Call c{};
	c.op = read ? Op::read : Op::write;
	c.fd = d.fd;
	c.offset = i.aio_offset;
	c.event = Event::to_owner(o, told);
	if (int e = read_buffer(i, vector, &c); e != 0)
		return e;
	if (int e = check_area(c); e != 0)
		return e;
	if (d.kind == Kind::socket && c.offset != 0) {
		ended(o, -ESPIPE);
		return 0;
	}
	auto flags = static_cast<int>(i.aio_rw_flags);
	apply_flags(&c, &d, flags);
	if ((flags & RWF_NOWAIT) != 0)
		return start_without_waiting(o, c, d, flags);
	if (!is_stream(d.kind) && !o->of_file) {
		o->of_file = true;
		o->context.load(std::memory_order_relaxed)->of_files.fetch_add(1, std::memory_order_acq_rel);
	}
	return is_ordered(c, d) ? start_ordered(o, c, d) : -submit::start_described(c, d, false);
}

// ---- the others ----

int start_sync(Operation *o, const struct iocb &i, const Descriptor &d)
{
	if (i.aio_buf != 0 || i.aio_offset != 0 || i.aio_nbytes != 0 || i.aio_rw_flags != 0)
		return -EINVAL;
	if (is_stream(d.kind))
		return -EINVAL;
	Call c{};
	c.op = i.aio_lio_opcode == IOCB_CMD_FSYNC ? Op::fsync : Op::fdatasync;
	c.fd = d.fd;
	c.event = Event::to_owner(o, told);
	return -submit::start_sync(c);
}

int start_poll(Operation *o, const struct iocb &i, const Descriptor &d)
{
	if (i.aio_buf != static_cast<uint16_t>(i.aio_buf) || i.aio_offset != 0 || i.aio_nbytes != 0 || i.aio_rw_flags != 0)
		return -EINVAL;
	Call c{};
	c.op = Op::poll;
	c.fd = d.fd;
	c.flags = static_cast<short>(i.aio_buf);
	c.event = Event::to_owner(o, told);
	o->poll = true;
	return -submit::start_described(c, d, false);
}

int start(Operation *o, const struct iocb &i, Descriptor &d)
{
	switch (i.aio_lio_opcode) {
	case IOCB_CMD_PREAD:
	case IOCB_CMD_PREADV:
		return start_transfer(o, i, d, true, i.aio_lio_opcode == IOCB_CMD_PREADV);
	case IOCB_CMD_PWRITE:
	case IOCB_CMD_PWRITEV:
		return start_transfer(o, i, d, false, i.aio_lio_opcode == IOCB_CMD_PWRITEV);
	case IOCB_CMD_FSYNC:
	case IOCB_CMD_FDSYNC:
		return start_sync(o, i, d);
	case IOCB_CMD_POLL:
		return start_poll(o, i, d);
	default:
		return -EINVAL;
	}
}

// The word by which io_cancel knows that an iocb has been submitted. Most have it already.
int write_key(struct iocb *at, const struct iocb &i)
{
	if (i.aio_key == 0)
		return 0;
	struct {
		uint32_t key, flags;
	} now = {0, static_cast<uint32_t>(i.aio_rw_flags)};
	static_assert(sizeof now == 8);
	if (!writable(&at->aio_key, sizeof now))
		return -EFAULT;
	memcpy(static_cast<void *>(&at->aio_key), &now, sizeof now);
	return 0;
}

int check_and_start(Operation *o, struct iocb *at, const struct iocb &i)
{
	Descriptor d;
	if (!transfer::describe(static_cast<int>(i.aio_fildes), &d) || (d.flags & O_PATH) != 0)
		return -EBADF;
	if ((i.aio_flags & IOCB_FLAG_RESFD) != 0)
		if (int e = o->context.load(std::memory_order_relaxed)->signals.find(static_cast<int>(i.aio_resfd), &o->signal); e != 0)
			return e;
	if (int e = write_key(at, i); e != 0)
		return e;
	return start(o, i, d);
}

} // namespace

int submit_one(Context *c, uint64_t address)
{
	auto *at = reinterpret_cast<struct iocb *>(address);
	if (!readable(at, sizeof *at))
		return -EFAULT;
	struct iocb i;
	memcpy(&i, at, sizeof i);
	if (i.aio_reserved2 != 0 || i.aio_nbytes > SSIZE_MAX)
		return -EINVAL;
	Operation *o = reserve(c);
	if (o == nullptr)
		return -EAGAIN;
	o->object.store(address, std::memory_order_relaxed);
	o->data = i.aio_data;
	int e = check_and_start(o, at, i);
	if (e != 0)
		give_up(o);
	return e;
}

namespace {

// The requests that are operations of contexts are those with neither an aiocb nor a channel. What is read here may be another's by now, but
// Operations are never freed.
Operation *operation_of(const Request *r, uint64_t word)
{
	bool candidate = (r->op == Op::poll || r->op == Op::read || r->op == Op::write) && r->cb.load(std::memory_order_relaxed) == nullptr &&
			 r->channel.load(std::memory_order_relaxed) == nullptr;
	auto *o = candidate ? static_cast<Operation *>(r->data.load(std::memory_order_relaxed)) : nullptr;
	std::atomic_thread_fence(std::memory_order_acquire);
	return r->state.load(std::memory_order_relaxed) >> 8 == word >> 8 ? o : nullptr;
}

template <class Meant> bool cancel_those(Meant meant)
{
	bool any = false;
	for (uint32_t i = 0; i < requests::size(); i++) {
		Request *r = requests::at(i);
		uint64_t word = r->state.load(std::memory_order_acquire);
		if (!cancel::outstanding(word))
			continue;
		Operation *o = operation_of(r, word);
		if (o == nullptr || !r->on_stream() || !meant(o))
			continue;
		r->unwanted.store(word >> 8, std::memory_order_release);
		any |= cancel::one(r, word) == AIO_CANCELED;
	}
	if (any)
		helper::look_at_streams();
	return any;
}

} // namespace

bool cancel(Operation *o)
{
	return cancel_those([o](const Operation *i) { return i == o; });
}

void cancel_all(Context *c)
{
	cancel_those([c](const Operation *i) { return i->context.load(std::memory_order_acquire) == c; });
}

} // namespace sigevec::io
