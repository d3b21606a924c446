// SPDX-License-Identifier: MIT
//
// Engine "threads": what no other engine can do here. Blocking calls by the helper's workers; streams by readiness, by the
// driver, so that a descriptor which never becomes ready costs no thread.
#include "engine/engine.hpp"

#include "request/filequeue.hpp"
#include "runtime/helper.hpp"

#include <fcntl.h>

namespace sigevec {

namespace {

bool works(const char **reason)
{
	*reason = "everything the others decline";
	return true;
}

// O_DIRECT writes run side by side in the kernel, other writes to an inode do not, and O_APPEND must not.
bool one_at_a_time(const Request *r)
{
	return r->op == Op::write && ((r->flags & O_APPEND) != 0 || (r->flags & O_DIRECT) == 0);
}

bool submit(Request *r)
{
	// The driver holds an fsync until what was queued before it has ended, if there is anything.
	bool must_wait = r->is_sync() && r->waits_for.load(std::memory_order_acquire) != 1;
	if (r->on_stream() || must_wait)
		return helper::to_driver(r);
	if (one_at_a_time(r))
		return filequeue::submit(r);
	return helper::to_worker(helper::What::job, r, r);
}

} // namespace

const Engine engines::threads = {"threads", works, nullptr, submit};

} // namespace sigevec
