// SPDX-License-Identifier: MIT
//
// aio_cancel.
#include "api/result.hpp"
#include "submit/check.hpp"

#include "aiocb.hpp"
#include "base/memory_order.hpp"
#include "engine/transfer.hpp"
#include "runtime/helper.hpp"
#include "runtime/process.hpp"
#include "submit/cancel.hpp"

#include <cerrno>
#include <sched.h>

using namespace sigevec;

namespace {

int cancel_one(struct aiocb *cb)
{
	uint32_t index = aiocb_layout::request(cb).load(mo::relaxed);
	if (index < requests::size()) {
		Request *r = requests::at(index);
		uint64_t word = r->state.load(mo::acquire);
		bool mine = r->cb.load(mo::relaxed) == cb;
		if (mine && cancel::outstanding(word))
			return cancel::one(r, word);
		// Another thread is about to publish its end.
		while (mine && static_cast<State>(word & 0xff) != State::free &&
		       aiocb_layout::in_progress(cb) && r->state.load(mo::acquire) == word)
			sched_yield();
	}
	// Either it has just ended, or it never was a request.
	return aiocb_layout::in_progress(cb) ? -1 : AIO_ALLDONE;
}

} // namespace

SIGEVEC_EXPORT int aio_cancel(int fd, struct aiocb *cb)
{
	Descriptor d;
	if (!transfer::describe(fd, &d))
		return api::result_of(EBADF);
	if (cb != nullptr && cb->aio_fildes != fd)
		return api::result_of(EINVAL);
	if (!process::ensure())
		return api::result_of(EAGAIN);
	if (cb != nullptr && !aiocb_layout::in_progress(cb))
		return AIO_ALLDONE;
	int result = cb != nullptr ? cancel_one(cb) : cancel::on_file(d);
	// Whoever keeps cancelled requests lets go of their files.
	if (result == AIO_CANCELED || result == AIO_NOTCANCELED)
		helper::wake();
	return result >= 0 ? result : api::result_of(EINVAL);
}
SIGEVEC_ALIAS64(int, aio_cancel, int, struct aiocb64 *);
