// SPDX-License-Identifier: MIT
#include "dma/registration.hpp"

#include "base/memory_order.hpp"
#include "dma/region.hpp"
#include "runtime/config.hpp"
#include "runtime/helper.hpp"

namespace sigevec::dma::registration {

namespace {

void ask_driver(Region *r, bool keep)
{
	helper::RegionReply reply(r, keep);
	helper::ask(&reply);
}

// What is held by the page as it is needed, or not at all, is not to be pinned.
bool is_wanted(const Region *r)
{
	// What a file loses and gets again has other pages.
	return !r->of_file &&
	       (config::force == config::Force::automatic ||
		config::force == config::Force::uring) &&
	       (r->held == dma_locked || r->held == dma_by_module);
}

// No ring has it.
void forget(Region *r)
{
	r->ring.store(nullptr, mo::relaxed);
	r->for_ring.store(is_wanted(r), mo::relaxed);
}

} // namespace

void begin(Region *r)
{
	forget(r);
	if (!is_wanted(r))
		return;
	if (helper::Helper *h = helper::get(); h != nullptr && h->has_ring)
		ask_driver(r, true);
}

void end(Region *r)
{
	if (r->ring.load(mo::relaxed) != nullptr)
		ask_driver(r, false);
}

void after_fork(Region *r)
{
	forget(r);
}

} // namespace sigevec::dma::registration
