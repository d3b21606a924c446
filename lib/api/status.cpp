// SPDX-License-Identifier: MIT
//
// aio_error, aio_return: async-signal-safe.
#include "api/result.hpp"
#include "submit/check.hpp"

#include "aiocb.hpp"
#include "base/memory_order.hpp"
#include "completion/completed_table.hpp"
#include "completion/completion.hpp"
#include "engine/kaio.hpp"
#include "runtime/process.hpp"

#include <cerrno>

using namespace sigevec;

SIGEVEC_EXPORT int aio_error(const struct aiocb *cb)
{
	if (api::unassumed(cb) == nullptr)
		return api::result_of(EINVAL);
	int e = aiocb_layout::error(cb);
	if (e != EINPROGRESS)
		return e;
	// The kernel may have ended it without anybody having looked: a program that only polls
	// must get on.
	int context = aiocb_layout::context(cb).load(mo::acquire) - 1;
	if (context >= 0 && context < kaio::contexts && process::ready()) {
		int saved = errno;
		kaio::poll(context);
		errno = saved;
	}
	return aiocb_layout::error(cb);
}
SIGEVEC_ALIAS64(int, aio_error, const struct aiocb64 *);

SIGEVEC_EXPORT ssize_t aio_return(struct aiocb *cb)
{
	if (api::unassumed(cb) == nullptr)
		return api::result_of(EINVAL);
	completed_table::remove(cb);
	completion::note_return();
	ssize_t r = aiocb_layout::result(cb).load(mo::relaxed);
	if (int e = aiocb_layout::error(cb); r == -1 && e != 0)
		errno = e;
	return r;
}
SIGEVEC_ALIAS64(ssize_t, aio_return, struct aiocb64 *);
