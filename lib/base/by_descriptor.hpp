// SPDX-License-Identifier: MIT
//
// What belongs to descriptors of the program: a table by number, of pointers to what lives
// elsewhere. It knows nothing of descriptors; who uses it finds out whether a number still is what
// it was.
//
// Lifetimes: grows by chunks as numbers come up, and a chunk, once made, stays. Locks: none; a
// place is found in signal handlers, too.
#pragma once

#include "base/memory_order.hpp"

#include <atomic>
#include <cstdlib>

namespace sigevec {

template <class T> class ByDescriptor {
public:
	using Place = std::atomic<T *>;

	// nullptr: nothing has been kept for this number or one near to it.
	Place *find(int fd) const
	{
		auto n = static_cast<unsigned>(fd);
		if (n >> bits >= chunks)
			return nullptr;
		Place *chunk = table_[n >> bits].load(mo::acquire);
		return chunk == nullptr ? nullptr : &chunk[n & (in_chunk - 1)];
	}

	// nullptr: there is no memory, or no such number.
	Place *make(int fd)
	{
		auto n = static_cast<unsigned>(fd);
		if (n >> bits < chunks && table_[n >> bits].load(mo::relaxed) == nullptr) {
			auto *made = static_cast<Place *>(calloc(in_chunk, sizeof(Place)));
			Place *none = nullptr;
			// Release: pairs with find(). Of two who make it at once one is in vain.
			if (!table_[n >> bits].compare_exchange_strong(none, made, mo::acq_rel))
				free(made);
		}
		return find(fd);
	}

	template <class F> void each(F f)
	{
		for (auto &entry : table_)
			if (Place *chunk = entry.load(mo::acquire); chunk != nullptr)
				for (unsigned i = 0; i < in_chunk; i++)
					f(chunk[i]);
	}

private:
	static constexpr unsigned bits = 10, in_chunk = 1u << bits, chunks = 1024;

	std::atomic<Place *> table_[chunks] = {};
};

} // namespace sigevec
