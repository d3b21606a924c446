// SPDX-License-Identifier: MIT
#include "request/order.hpp"

#include "base/memory_order.hpp"
#include "runtime/helper.hpp"

namespace sigevec::order {

Mutex syncs;

void ended(Request *r)
{
	Request *sync = r->dependent.exchange(requests::closed_dependent(), mo::acq_rel);
	if (sync != nullptr && sync->waits_for.fetch_sub(1, mo::acq_rel) == 1)
		helper::look_at_syncs();
}

namespace {
std::atomic<uint32_t> outstanding{0};
}

bool sync_outstanding()
{
	return outstanding.load(mo::relaxed) != 0;
}

void sync_begins()
{
	outstanding.fetch_add(1, mo::relaxed);
}

void sync_is_freed()
{
	outstanding.fetch_sub(1, mo::relaxed);
}

// A thread of the parent's may have been making one.
void after_fork()
{
	outstanding.store(0, mo::relaxed);
	syncs.reset();
}

} // namespace sigevec::order
