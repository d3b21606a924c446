// SPDX-License-Identifier: MIT
//
// An iocb becomes a request, and is cancelled.
#include "iocontext/submit.hpp"

#include "base/memory_order.hpp"
#include "engine/transfer.hpp"
#include "iocontext/iocb_check.hpp"
#include "iocontext/order.hpp"
#include "iocontext/user_memory.hpp"
#include "runtime/helper.hpp"
#include "submit/cancel.hpp"
#include "submit/submit.hpp"

#include <climits>
#include <cstring>
#include <fcntl.h>
#include <linux/fs.h>

namespace sigevec::io {

namespace {

// ---- the end ----

void on_end(void *owner, ssize_t result)
{
	auto *o = static_cast<Operation *>(owner);
	if (o->place.ordered)
		order::leave(o);
	// A poll that is cancelled has found nothing.
	ended(o, o->poll && result == -ECANCELED ? 0 : result);
}

// ---- transfers ----

// What the flags of the iocb add to those of the file. What differs from those only the plain call
// is told.
void apply_flags(Call *c, Descriptor *d, int flags)
{
	int before = d->flags;
	if ((flags & RWF_APPEND) != 0)
		d->flags |= O_APPEND;
	if ((flags & RWF_NOAPPEND) != 0)
		d->flags &= ~O_APPEND;
	if ((flags & (RWF_DSYNC | RWF_SYNC)) != 0)
		d->flags |= O_DSYNC;
	c->call_flags = flags & (RWF_DSYNC | RWF_SYNC);
	if (c->call_flags != 0 || d->flags != before)
		d->plain_calls_only = true;
	// Kernel AIO is never to wait; what that does not serve is the plain call's.
	if ((flags & RWF_NOWAIT) != 0)
		c->call_flags |= RWF_NOWAIT;
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
	note_buffered(o);
	set_place(o, c, d);
	bool tried = c.op == Op::read && order::no_writes(o);
	if (tried && submit::attempt(c, d))
		return 0;
	int e;
	if (order::enter(o)) {
		e = submit::start_described(c, d, tried);
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

// A transfer that is not to wait, of which what the call says is the answer, EAGAIN among it.
void without_waiting(Operation *o, const Call &c, const Descriptor &d, int flags)
{
	bool in_order = is_ordered(c, d);
	ssize_t n = -EAGAIN;
	if (in_order)
		set_place(o, c, d);
	if (!in_order || order::enter(o)) {
		transfer::Piece p = transfer::whole(c);
		n = transfer::at_offset(c.op == Op::read, c.fd, p, flags);
		if (n == -ESPIPE)
			n = transfer::without_waiting(c.op == Op::read, d.kind, c.fd, p);
	}
	on_end(o, n);
}

int start_transfer(Operation *o, const struct iocb &i, Descriptor &d, bool read, bool vector)
{
	Call c{};
	c.op = read ? Op::read : Op::write;
	// Who has an eventfd told sleeps there.
	c.event = Event::to_owner(
		o, on_end, o->signal == nullptr ? &o->context.load(mo::relaxed)->group : nullptr);
	if (int e = describe_transfer(i, d, vector, &c); e != 0)
		return e;
	if (d.kind == Kind::socket && c.offset != 0) {
		ended(o, -ESPIPE);
		return 0;
	}
	int flags = static_cast<int>(i.aio_rw_flags) & ~(RWF_HIPRI | hints);
	apply_flags(&c, &d, flags);
	// With O_DIRECT the call itself would be waited for.
	if ((flags & RWF_NOWAIT) != 0 && (d.flags & O_DIRECT) == 0) {
		without_waiting(o, c, d, flags);
		return 0;
	}
	if (!is_stream(d.kind))
		carry_out(o);
	return is_ordered(c, d) ? start_ordered(o, c, d) : -submit::start_described(c, d, false);
}

// ---- the others ----

int start_sync(Operation *o, const struct iocb &i, const Descriptor &d)
{
	if (i.aio_buf != 0 || i.aio_offset != 0 || i.aio_nbytes != 0 || i.aio_rw_flags != 0)
		return -EINVAL;
	if (has_no_fsync(d))
		return -EINVAL;
	carry_out(o);
	Call c{};
	c.op = i.aio_lio_opcode == IOCB_CMD_FSYNC ? Op::fsync : Op::fdatasync;
	c.fd = d.fd;
	c.event = Event::to_owner(o, on_end);
	return -submit::start_sync(c);
}

int start_poll(Operation *o, const struct iocb &i, const Descriptor &d)
{
	if (i.aio_buf != static_cast<uint16_t>(i.aio_buf) || i.aio_offset != 0 ||
	    i.aio_nbytes != 0 || i.aio_rw_flags != 0)
		return -EINVAL;
	Call c{};
	c.op = Op::poll;
	c.fd = d.fd;
	c.call_flags = static_cast<short>(i.aio_buf);
	c.event = Event::to_owner(o, on_end);
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
int write_key(struct iocb *at, const struct iocb &i, bool changeable)
{
	if (i.aio_key == 0 && changeable)
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

int check_and_start(Operation *o, struct iocb *at, const struct iocb &i, bool changeable)
{
	Descriptor d;
	if (!transfer::describe(static_cast<int>(i.aio_fildes), &d) || (d.flags & O_PATH) != 0)
		return -EBADF;
	if ((i.aio_flags & IOCB_FLAG_RESFD) != 0)
		if (int e = o->context.load(mo::relaxed)
				    ->signals.find(static_cast<int>(i.aio_resfd), &o->signal);
		    e != 0)
			return e;
	if (int e = write_key(at, i, changeable); e != 0)
		return e;
	return start(o, i, d);
}

} // namespace

int submit_one(Context *c, uint64_t address, Pages *pages)
{
	auto *at = reinterpret_cast<struct iocb *>(address);
	bool changeable = pages->changeable(at, sizeof *at);
	if (!changeable && !readable(at, sizeof *at))
		return -EFAULT;
	struct iocb i;
	memcpy(&i, at, sizeof i);
	if (i.aio_reserved2 != 0 || i.aio_nbytes > SSIZE_MAX)
		return -EINVAL;
	Operation *o = reserve(c);
	if (o == nullptr)
		return c->dead.load(mo::seq_cst) ? -EINVAL : -EAGAIN;
	o->object.store(address, mo::relaxed);
	o->data = i.aio_data;
	int e = check_and_start(o, at, i, changeable);
	if (e != 0)
		give_up(o);
	return e;
}

namespace {

// The requests that are operations of contexts are those with neither an aiocb nor a channel. What
// is read here may be another's by now, but Operations are never freed.
Operation *operation_of(const Request *r, uint64_t word)
{
	bool candidate = (r->op == Op::poll || r->op == Op::read || r->op == Op::write) &&
			 r->cb.load(mo::relaxed) == nullptr &&
			 r->channel.load(mo::relaxed) == nullptr;
	auto *o = candidate ? static_cast<Operation *>(r->data.load(mo::relaxed)) : nullptr;
	std::atomic_thread_fence(mo::acquire);
	return r->state.load(mo::relaxed) >> 8 == word >> 8 ? o : nullptr;
}

template <class Meant> bool cancel_those(Meant meant)
{
	bool any = false, any_left = false;
	for (uint32_t i = 0; i < requests::size(); i++) {
		Request *r = requests::at(i);
		uint64_t word = r->state.load(mo::acquire);
		if (!cancel::outstanding(word))
			continue;
		Operation *o = operation_of(r, word);
		if (o == nullptr || !r->on_stream() || !meant(o))
			continue;
		int a = cancel::soon(r, word);
		any |= a == AIO_CANCELED;
		any_left |= a != AIO_ALLDONE;
	}
	if (any_left)
		helper::wake();
	return any;
}

} // namespace

bool cancel(Operation *o)
{
	return cancel_those([o](const Operation *i) { return i == o; });
}

void cancel_all(Context *c)
{
	cancel_those([c](const Operation *i) { return i->context.load(mo::acquire) == c; });
}

} // namespace sigevec::io
