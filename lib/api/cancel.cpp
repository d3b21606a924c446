// SPDX-License-Identifier: MIT
//
// aio_cancel.
#include "submit/check.hpp"

#include "aiocb.hpp"
#include "base/memory_order.hpp"
#include "engine/transfer.hpp"
#include "runtime/helper.hpp"
#include "runtime/process.hpp"
#include "submit/cancel.hpp"

#include <cerrno>
#include <fcntl.h>
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

// The number may have been closed and used again: then the request is another file's. What a file
// is open for never changes, so it tells the ends of a pipe apart.
bool is_of(const Request *r, const Descriptor &d)
{
	return r->fd.load(mo::relaxed) == d.fd && r->ino.load(mo::relaxed) == d.ino &&
	       r->dev.load(mo::relaxed) == d.dev &&
	       ((r->flags.load(mo::relaxed) ^ d.flags) & O_ACCMODE) == 0;
}

int cancel_all(const Descriptor &d)
{
	int result = AIO_ALLDONE;
	for (uint32_t i = 0; i < requests::size(); i++) {
		Request *r = requests::at(i);
		uint64_t word = r->state.load(mo::acquire);
		if (!cancel::outstanding(word) || !is_of(r, d))
			continue;
		int one = cancel::one(r, word);
		if (one == AIO_NOTCANCELED || (one == AIO_CANCELED && result == AIO_ALLDONE))
			result = one;
	}
	return result;
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
	int result = cb != nullptr ? cancel_one(cb) : cancel_all(d);
	// Whoever keeps cancelled requests lets go of their files.
	if (result == AIO_CANCELED || result == AIO_NOTCANCELED)
		helper::wake();
	return result >= 0 ? result : api::result_of(EINVAL);
}
SIGEVEC_ALIAS64(int, aio_cancel, int, struct aiocb64 *);
