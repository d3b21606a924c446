// SPDX-License-Identifier: MIT
//
// Engine "uring": the driver's ring (engine/ring.hpp), by way of the driver.
#include "base/memory_order.hpp"
#include "engine/engine.hpp"
#include "engine/held_files.hpp"
#include "engine/ring.hpp"
#include "engine/to_helper.hpp"
#include "request/stream.hpp"
#include "runtime/helper.hpp"
#include "runtime/probes.hpp"

#include <fcntl.h>

namespace sigevec {

namespace {

bool works(const char **reason)
{
	bool ok = driver::Ring::probe();
	*reason = ok ? "streams, uncached reads" : driver::Ring::why_not();
	return ok;
}

int submit(Request *r)
{
	// Appending writes keep their order in a file queue.
	if (!r->on_stream() && r->op == Op::write && (r->flags & O_APPEND) != 0)
		return -ENOTSUP;
	helper::Helper *h = helper::get();
	if (h == nullptr || !h->has_ring) {
		passed_on(stats::uring_unavailable, r->fd.load(mo::relaxed), r->begun);
		return -ENOTSUP;
	}
	return r->kind == Kind::file && r->op == Op::read ? held_files::to_driver(r)
							  : helper::to_driver(r);
}

} // namespace

const Engine engines::uring = {"uring", works, nullptr, submit};

} // namespace sigevec
