// SPDX-License-Identifier: MIT
//
// Which request a place of the pool is, and what has become of it: who may end it, cancel it, or
// look at it. What a request is about: request.hpp.
//
// Nothing here is locked: each change is one of the word that holds state and generation.
#pragma once

#include "base/memory_order.hpp"
#include "base/pool.hpp"

#include <atomic>
#include <cstdint>

namespace sigevec {

// Who decides. Transitions, each a compare-exchange on the word that also holds the generation:
//   queued -> cancelled  by aio_cancel: it publishes ECANCELED; the executor finds the state and
//                        lets go
//   queued -> trying     by an executor around a non-blocking attempt; back to queued when there
//                        was nothing
//   queued -> running    by an executor: from here on it cannot be cancelled
//   queued -> in_ring    by the driver: io_uring has it, only the driver can cancel it
//   any    -> ending     by the executor, before the result is published: for a moment nobody can
//                        say whether it has ended
//   ending -> done       by the executor, after that
enum class State : uint8_t { free, queued, trying, running, in_ring, ending, cancelled, done };

// Which request it is, and what has become of it.
struct Life : Pooled {
	// Generation in the upper bits, State in the lower eight: a canceller's view of a request
	// that has ended and come back as another one can never match.
	std::atomic<uint64_t> state;

	State get_state() const { return static_cast<State>(state.load(mo::acquire) & 0xff); }
	bool change(State from, State to)
	{
		uint64_t w = state.load(mo::acquire);
		if ((w & 0xff) != static_cast<uint8_t>(from))
			return false;
		return state.compare_exchange_strong(
			w, (w & ~uint64_t{0xff}) | static_cast<uint8_t>(to), mo::acq_rel);
	}
	void set(State to)
	{
		uint64_t w = state.load(mo::relaxed);
		state.store((w & ~uint64_t{0xff}) | static_cast<uint8_t>(to), mo::release);
	}
	// As change, for one generation only.
	bool change_exactly(uint64_t word, State to)
	{
		return state.compare_exchange_strong(
			word, (word & ~uint64_t{0xff}) | static_cast<uint8_t>(to), mo::acq_rel);
	}
};

} // namespace sigevec
