// SPDX-License-Identifier: MIT
//
// aio_fsync and its like: a request that waits for what was submitted before it.
#include "submit/submit_impl.hpp"

#include "aiocb.hpp"
#include "base/memory_order.hpp"
#include "channel/wakeup.hpp"
#include "completion/completion.hpp"
#include "engine/select.hpp"
#include "engine/transfer.hpp"
#include "request/order.hpp"
#include "runtime/helper.hpp"
#include "runtime/probes.hpp"
#include "runtime/process.hpp"
#include "submit/follow.hpp"

#include <cerrno>
#include <fcntl.h>

namespace sigevec::submit {

namespace {

// A file in memory has nothing to be written back, and nothing is before this: the call says so in
// a tenth of a microsecond.
bool ends_at_once(const Descriptor &d, Request *r)
{
	return d.kind == Kind::memory && select::inline_allowed() &&
	       r->waits_for.load(mo::acquire) == 1 && r->change(State::queued, State::running);
}

// With order::syncs held. *at_once: it is to be ended by the call, without the lock.
int hand_over_sync(const Call &c, const Descriptor &d, Request *r, bool *at_once)
{
	note_request(c, r);
	stats_detail::handed_over(r);
	if (c.event.channel != nullptr && !wakeup::install(c.event.channel))
		return requests::abandon(r) ? refuse(c, EAGAIN) : 0;
	if (c.cb != nullptr)
		aiocb_layout::context(c.cb).store(aiocb_layout::context_of_sync, mo::relaxed);
	// On a stream it fails; nothing queued there need end for that.
	if (!is_stream(d.kind))
		order::follow_all(r);
	*at_once = ends_at_once(d, r);
	int error = *at_once ? 0 : -select::submit(r);
	if (error == 0)
		return 0;
	order::unfollow_all(r);
	return requests::abandon(r) ? refuse(c, error) : 0;
}

int queue_sync(const Call &c, const Descriptor &d)
{
	helper::Undisturbed start;
	Request *r;
	bool at_once = false;
	{
		Guard<Mutex> g(order::syncs);
		r = requests::create(c, d);
		int error = r != nullptr ? hand_over_sync(c, d, r, &at_once) : refuse(c, EAGAIN);
		if (!at_once)
			return error;
	}
	stats::count(stats::inline_done);
	return ended(c, d.kind, stats_detail::By::inline_, r, transfer::one_call(r, c.fd));
}

} // namespace

int start_sync(Call &c)
{
	Descriptor d{};
	if (!transfer::describe(c.fd, &d))
		return unknown(errno);
	if ((d.flags & O_PATH) != 0)
		return EBADF;
	if (!process::ensure() || requests::full())
		return refuse(c, EAGAIN);
	if (int e = prepare_event(c.event); e != 0)
		return refuse(c, e);
	note_submitted(c);
	completion::begin(c.cb);
	return queue_sync(c, d);
}

} // namespace sigevec::submit
