// SPDX-License-Identifier: MIT
#include "submit/check.hpp"

#include "aiocb.hpp"
#include "base/iovec.hpp"
#include "base/memory_order.hpp"
#include "runtime/stats.hpp"
#include "submit/submit.hpp"

#include <climits>
#include <sys/uio.h>

namespace sigevec::api {

namespace {

constexpr int most_priority = 20; // AIO_PRIO_DELTA_MAX of the system's libc

Call describe(struct aiocb *cb, Op op)
{
	Call c{};
	c.cb = cb;
	c.op = op;
	c.fd = cb->aio_fildes;
	c.buf = const_cast<void *>(cb->aio_buf);
	c.len = cb->aio_nbytes;
	c.offset = cb->aio_offset;
	c.event = Event::copy(cb->aio_sigevent);
	return c;
}

} // namespace

int read_transfer(struct aiocb *cb, Op op, Call *c)
{
	if (cb == nullptr)
		return EINVAL;
	*c = describe(cb, op);
	if (cb->aio_reqprio < 0 || cb->aio_reqprio > most_priority || c->offset < 0)
		return EINVAL;
	return 0;
}

int read_vector(struct aiocb *cb, Op op, Call *c)
{
	int error = read_transfer(cb, op, c);
	if (error != 0)
		return error;
	if (c->len == 0 || c->len > IOV_MAX || c->buf == nullptr)
		return EINVAL;
	c->vector = static_cast<const struct iovec *>(c->buf);
	c->vector_count = static_cast<int>(c->len);
	ssize_t length = length_of(c->vector, c->len);
	c->buf = nullptr;
	c->len = static_cast<size_t>(length);
	return length < 0 ? EINVAL : 0;
}

int start(int error, struct aiocb *cb, Call &c)
{
	if (error == 0)
		return submit::start(c);
	stats::count(stats::refused);
	if (cb != nullptr) {
		aiocb_layout::result(cb).store(-1, mo::relaxed);
		aiocb_layout::status(cb).store(error, mo::release);
	}
	return error;
}

} // namespace sigevec::api
