// SPDX-License-Identifier: MIT
//
// One of the four rings that an AF_XDP socket shares with the kernel. One side writes, the other
// reads: who writes publishes its index with release after the entries, who reads loads that with
// acquire. On this side the association's lock makes all callers one.
//
// A child of fork has the socket, and may map and write the rings: the other side's index never
// says more than a ring holds, and entries are read once and believed only as far as this side
// knows better (frames.cpp).
#pragma once

#include "base/memory_order.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace sigevec::ether {

struct Ring {
	std::atomic<uint32_t> *producer, *consumer, *flags;
	void *entries;
	uint32_t mask;
	uint32_t mine, theirs; // this side's index, and the other side's as it was last seen
	void *mapping;
	size_t mapped;

	uint32_t size() const { return mask + 1; }
	template <class T> T &at(uint32_t i) { return static_cast<T *>(entries)[i & mask]; }
	// A copy, read once.
	template <class T> T read(uint32_t i)
	{
		T copy;
		__builtin_memcpy(&copy, &at<T>(i), sizeof copy);
		asm volatile("" : "+m"(copy)); // it is this that is looked at, not the ring again
		return copy;
	}

	// The kernel reads: how many entries may be written; looked at anew if it is less than is
	// wanted.
	uint32_t room(uint32_t wanted)
	{
		uint32_t used = mine - theirs;
		if (used > size() || size() - used < wanted) {
			theirs = consumer->load(mo::acquire);
			used = mine - theirs;
		}
		return used <= size() ? size() - used : 0;
	}
	void publish() { producer->store(mine, mo::release); }

	// The kernel writes: how many are there.
	uint32_t filled()
	{
		if (theirs == mine)
			theirs = producer->load(mo::acquire);
		return theirs - mine <= size() ? theirs - mine : size();
	}
	// The same, looked at anew.
	uint32_t filled_now()
	{
		theirs = producer->load(mo::acquire);
		return theirs - mine <= size() ? theirs - mine : size();
	}
	void consumed() { consumer->store(mine, mo::release); }
};

} // namespace sigevec::ether
