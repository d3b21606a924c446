// SPDX-License-Identifier: MIT
//
// Engine "threads": what no other engine can do here. Blocking calls by the helper's workers;
// streams by readiness, by the driver, so that a descriptor which never becomes ready costs no
// thread.
#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "engine/engine.hpp"
#include "engine/filequeue.hpp"
#include "engine/to_helper.hpp"
#include "runtime/helper.hpp"

#include <fcntl.h>

namespace sigevec {

namespace {

bool works(const char **reason)
{
	*reason = "everything the others decline";
	return true;
}

// O_DIRECT writes run side by side in the kernel, other writes to an inode do not, and O_APPEND
// must not.
bool one_at_a_time(const Request *r)
{
	return r->op == Op::write && !is_stream(r->kind) &&
	       ((r->flags & O_APPEND) != 0 || (r->flags & O_DIRECT) == 0);
}

bool waits(const Request *sync)
{
	return sync->waits_for.load(mo::acquire) != 1;
}

// A write whose queue has ended is about to end: looked for, since the way by the driver takes
// longer.
bool still_waits(const Request *sync)
{
	for (int i = 0; i < 100 && waits(sync); i++)
		relax();
	return waits(sync);
}

int submit(Request *r)
{
	// Whoever is before an fsync has it, or else the driver holds it until they have ended.
	if (r->is_sync() && waits(r) && filequeue::submit_behind(r))
		return 0;
	if (r->on_stream() || (r->is_sync() && still_waits(r)))
		return helper::to_driver(r);
	if (one_at_a_time(r))
		return filequeue::submit(r);
	return helper::to_worker(helper::MessageType::job, r);
}

} // namespace

const Engine engines::threads = {"threads", works, nullptr, submit};

} // namespace sigevec
