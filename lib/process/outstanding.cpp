// SPDX-License-Identifier: MIT
// Whether a process that only the library's threads are left of has anything to wait for.
#include "base/memory_order.hpp"
#include "dma/association.hpp"
#include "dma/pool.hpp"
#include "engine/kaio.hpp"
#include "request/request.hpp"
#include "runtime/exit_watch.hpp"

namespace sigevec::exit_watch {

namespace {

// Nobody may be left who would look for them.
void take_results()
{
	for (int i = 0; i < kaio::contexts; i++)
		if (kaio::exists(i))
			kaio::poll(i);
}

} // namespace

bool nothing_outstanding()
{
	take_results();
	for (uint32_t i = 0; i < requests::size(); i++) {
		const Request *r = requests::at(i);
		State s = r == nullptr ? State::free : r->get_state();
		if (s != State::free && s != State::cancelled && s != State::done)
			return false;
	}
	return !dma::association::any_call_back() && !dma::pool::any_call_back();
}

} // namespace sigevec::exit_watch
