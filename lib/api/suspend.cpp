// SPDX-License-Identifier: MIT
//
// aio_suspend, aio_waitcomplete.
#include "api/result.hpp"
#include "submit/check.hpp"

#include "aiocb.hpp"
#include "base/memory_order.hpp"
#include "runtime/process.hpp"
#include "sigevec/aio.h"
#include "submit/wait.hpp"

#include <cerrno>

using namespace sigevec;

namespace {

bool valid(const struct timespec *t)
{
	return t == nullptr || (t->tv_nsec >= 0 && t->tv_nsec < 1000000000);
}

int suspend_error(int e)
{
	return api::result_of(e == ETIMEDOUT ? EAGAIN : e);
}

} // namespace

SIGEVEC_EXPORT int aio_suspend(const struct aiocb *const list[], int n,
			       const struct timespec *timeout)
{
	if (n < 0 || (n > 0 && api::unassumed(list) == nullptr) || !valid(timeout))
		return api::result_of(EINVAL);
	bool any = false;
	for (int i = 0; i < n && !any; i++)
		any = list[i] != nullptr;
	if (!any)
		return 0; // nothing to wait for, as in glibc
	return suspend_error(wait::for_list(list, n, Deadline::after(timeout)));
}
SIGEVEC_ALIAS64(int, aio_suspend, const struct aiocb64 *const[], int, const struct timespec *);

SIGEVEC_EXPORT ssize_t aio_waitcomplete(struct aiocb **cbp, struct timespec *timeout)
{
	if (cbp == nullptr || !valid(timeout) || (timeout != nullptr && timeout->tv_sec < 0))
		return api::result_of(EINVAL);
	*cbp = nullptr;
	if (!process::ensure())
		return api::result_of(EAGAIN);
	struct aiocb *cb;
	if (int e = wait::for_any(&cb, Deadline::after(timeout)); e != 0)
		return suspend_error(e);
	*cbp = cb;
	ssize_t r = aiocb_layout::result(cb).load(mo::relaxed);
	if (int e = aiocb_layout::error(cb); e != 0)
		errno = e;
	return r;
}
