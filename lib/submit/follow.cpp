// SPDX-License-Identifier: MIT
#include "submit/follow.hpp"

#include "base/memory_order.hpp"
#include "engine/kaio.hpp"

namespace sigevec::order {

namespace {

// One that is cancelled may be an fsync whose executor has not let go: what that waits for, the
// next one must wait for, too. Others that are cancelled have closed their place, or are about to.
bool in_the_way(uint64_t state_word)
{
	auto s = static_cast<State>(state_word & 0xff);
	return s != State::free && s != State::done;
}

bool same_file(const Request *a, const Request *b)
{
	return a->ino.load(mo::relaxed) == b->ino.load(mo::relaxed) &&
	       a->dev.load(mo::relaxed) == b->dev.load(mo::relaxed);
}

void follow(Request *sync, Request *r)
{
	uint64_t before = r->state.load(mo::acquire);
	if (!in_the_way(before) || !same_file(r, sync))
		return;
	// Counted before it is linked: the end of r counts down, perhaps at once.
	sync->waits_for.fetch_add(1, mo::relaxed);
	Request *none = nullptr;
	if (!r->dependent.compare_exchange_strong(none, sync, mo::acq_rel)) {
		sync->waits_for.fetch_sub(1, mo::relaxed);
		return;
	}
	uint64_t after = r->state.load(mo::acquire);
	if (after >> 8 == before >> 8 && static_cast<State>(after & 0xff) != State::free) {
		// It must end even if nobody waits for it.
		kaio::end_in_background(r);
		return;
	}
	// r has ended and become another request meanwhile: take the link back, unless that one has
	// ended as well.
	Request *mine = sync;
	if (r->dependent.compare_exchange_strong(mine, nullptr, mo::acq_rel))
		sync->waits_for.fetch_sub(1, mo::relaxed);
}

} // namespace

void follow_all(Request *sync)
{
	for (uint32_t i = 0; i < requests::size(); i++)
		if (Request *r = requests::at(i); r != sync)
			follow(sync, r);
}

void unfollow_all(Request *sync)
{
	for (uint32_t i = 0; i < requests::size(); i++) {
		Request *mine = sync;
		if (requests::at(i)->dependent.compare_exchange_strong(mine, nullptr, mo::acq_rel))
			sync->waits_for.fetch_sub(1, mo::relaxed);
	}
	// The others are being ended by their threads, which count down in a moment.
	while (sync->waits_for.load(mo::acquire) != 1)
		sched_yield();
}

} // namespace sigevec::order
