// SPDX-License-Identifier: MIT
//
// aio_read, aio_write, aio_readv, aio_writev, aio_fsync, aio_init.
#include "api/result.hpp"
#include "submit/check.hpp"

#include "aiocb.hpp"
#include "base/memory_order.hpp"
#include "runtime/config.hpp"
#include "runtime/process.hpp"
#include "sigevec/aio.h"
#include "submit/submit.hpp"

#include <cerrno>
#include <fcntl.h>

using namespace sigevec;

SIGEVEC_EXPORT int aio_read(struct aiocb *cb)
{
	Call c;
	int error = api::read_transfer(cb, Op::read, &c);
	return api::result_of(api::start(error, cb, c));
}
SIGEVEC_ALIAS64(int, aio_read, struct aiocb64 *);

SIGEVEC_EXPORT int aio_write(struct aiocb *cb)
{
	Call c;
	int error = api::read_transfer(cb, Op::write, &c);
	return api::result_of(api::start(error, cb, c));
}
SIGEVEC_ALIAS64(int, aio_write, struct aiocb64 *);

SIGEVEC_EXPORT int aio_readv(struct aiocb *cb)
{
	Call c;
	int error = api::read_vector(cb, Op::read, &c);
	return api::result_of(api::start(error, cb, c));
}

SIGEVEC_EXPORT int aio_writev(struct aiocb *cb)
{
	Call c;
	int error = api::read_vector(cb, Op::write, &c);
	return api::result_of(api::start(error, cb, c));
}

SIGEVEC_EXPORT int aio_fsync(int op, struct aiocb *cb)
{
	if (api::unassumed(cb) == nullptr || (op != O_SYNC && op != O_DSYNC))
		return api::result_of(EINVAL);
	Call c{};
	c.cb = cb;
	c.op = op == O_SYNC ? Op::fsync : Op::fdatasync;
	c.fd = cb->aio_fildes;
	c.event = Event::copy(cb->aio_sigevent);
	return api::result_of(submit::start_sync(c));
}
SIGEVEC_ALIAS64(int, aio_fsync, int, struct aiocb64 *);

// A hint, as in glibc: aio_num only sizes the kernel's rings, so that a program which says too
// little loses nothing.
SIGEVEC_EXPORT void aio_init(const struct aioinit *init)
{
	if (api::unassumed(init) == nullptr || !process::ensure())
		return;
	auto at_least_one = [](int v) { return v < 1 ? 1u : static_cast<unsigned>(v); };
	config::limits.threads.store(at_least_one(init->aio_threads), mo::relaxed);
	unsigned ring = at_least_one(init->aio_num);
	if (ring > config::limits.ring.load(mo::relaxed))
		config::limits.ring.store(ring < config::most_ring ? ring : config::most_ring,
					  mo::relaxed);
	if (init->aio_idle_time > 0)
		config::limits.idle.store(static_cast<unsigned>(init->aio_idle_time), mo::relaxed);
}
