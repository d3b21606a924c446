// SPDX-License-Identifier: MIT
//
// When a group's requests are left to those who wait for them: once these have slept often enough.
#include "engine/kaio_context.hpp"

#ifdef HAVE_LIBAIO

#include "base/memory_order.hpp"
#include "engine/kaio_group.hpp"

namespace sigevec::kaio {

int Group::context(uint32_t outstanding, bool *all_of_them) const
{
	uint64_t w = word_.load(mo::acquire);
	auto n = static_cast<uint32_t>(w);
	*all_of_them = n == outstanding;
	return n != 0 ? static_cast<int>(w >> shift) : -1;
}

namespace {

// So many sleeps tell a program that waits in its calls from one that does so now and then. It may
// also have been kept from its processor when an event was found that it had not come for.
constexpr uint32_t least_sleeps = 8, most_sleeps = 512;

} // namespace

void Group::slept()
{
	if (uint32_t n = sleeps_.load(mo::relaxed); n != 0)
		sleeps_.store(n - 1, mo::relaxed);
}

void Group::led()
{
	if (uint32_t n = next_.load(mo::relaxed); n > least_sleeps)
		next_.store(n - 1, mo::relaxed);
}

void Group::deserted()
{
	uint32_t n = next_.load(mo::relaxed);
	sleeps_.store(n, mo::relaxed);
	next_.store(n < most_sleeps ? n * 2 : n, mo::relaxed);
}

void Group::reset()
{
	word_.store(0, mo::relaxed);
	sleeps_.store(least_sleeps, mo::relaxed);
	next_.store(least_sleeps, mo::relaxed);
}

bool Group::join(int context)
{
	if (sleeps_.load(mo::relaxed) != 0)
		return false;
	uint64_t mine = static_cast<uint64_t>(context) << shift, w = word_.load(mo::relaxed), to;
	do {
		bool none = static_cast<uint32_t>(w) == 0;
		if (!none && (w >> shift << shift) != mine)
			return false;
		to = (none ? mine : w) + 1;
	} while (!word_.compare_exchange_weak(w, to, mo::acq_rel, mo::relaxed));
	return true;
}

void Group::leave()
{
	word_.fetch_sub(1, mo::acq_rel);
}

} // namespace sigevec::kaio

#endif
