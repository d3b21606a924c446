// SPDX-License-Identifier: MIT
//
// A pool of objects that keep their address and never go back to the system.
//
// Because the memory stays, an object may be looked at by its index at any time, by aio_cancel for
// example, and a stale index finds a free object instead of freed memory. Taking and giving back
// are lock-free and async-signal-safe unless the pool has to grow. T is a Pooled, and is
// constructed once.
#pragma once

#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "base/thread_number.hpp"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace sigevec {

// What a pool knows an object by.
struct Pooled {
	uint32_t index;
	std::atomic<uint32_t> next_free;
};

// Reserved: the first chunk is part of the library's own memory, so that a process whose address
// space is used up has it.
template <class T, unsigned ChunkBits, unsigned Chunks, bool Reserved = false> class Pool {
public:
	static constexpr uint32_t chunk_size = 1u << ChunkBits;
	static constexpr uint32_t capacity = chunk_size * Chunks;

	// nullptr: `limit' objects exist and all are in use, or memory is short.
	T *take(uint32_t limit)
	{
		unsigned own = thread_number() % shards;
		for (unsigned i = 0; i < shards; i++)
			if (T *t = pop(free_[(own + i) % shards]))
				return t;
		return grow(limit, free_[own]);
	}

	// The same for threads that only take what others give back: all of that comes over at
	// once, so that they do not meet at every object. Who looks meanwhile may find nothing and
	// let the pool grow, or be refused at the limit.
	T *take_from_others(uint32_t limit)
	{
		unsigned own = thread_number() % shards;
		if (T *t = pop(free_[own]))
			return t;
		for (unsigned i = 1; i < shards; i++)
			if (T *t = take_over(free_[(own + i) % shards], free_[own]))
				return t;
		return grow(limit, free_[own]);
	}

	void give_back(T *t) { push(free_[thread_number() % shards], t); }

	// Any index below size() is valid for ever.
	T *at(uint32_t index) const
	{
		return &chunks_[index >> ChunkBits].load(mo::acquire)[index & (chunk_size - 1)];
	}

	bool has_free() const
	{
		for (const Head &h : free_)
			if (static_cast<uint32_t>(h.word.load(mo::relaxed)) != 0)
				return true;
		return false;
	}

	// Objects that exist, in use or not.
	uint32_t size() const { return size_.load(mo::acquire); }

	// In the child of fork: everything is free.
	void after_fork()
	{
		grow_.reset();
		for (Head &h : free_)
			h.word.store(0, mo::relaxed);
		for (uint32_t i = 0; i < size(); i++)
			push(free_[i % shards], at(i));
	}

private:
	static constexpr unsigned shards = 16;

	// Low half: index + 1 of the first free object. High half: a count of changes, so that a
	// head which was taken and given back between a thread's load and its compare-exchange is
	// noticed.
	struct alignas(64) Head {
		std::atomic<uint64_t> word{0};
	};

	T *pop(Head &h)
	{
		uint64_t w = h.word.load(mo::acquire);
		while (static_cast<uint32_t>(w) != 0) {
			T *t = at(static_cast<uint32_t>(w) - 1);
			uint64_t next = t->next_free.load(mo::relaxed);
			if (h.word.compare_exchange_weak(w, ((w >> 32) + 1) << 32 | next,
							 mo::acq_rel, mo::acquire))
				return t;
		}
		return nullptr;
	}

	void push(Head &h, T *t)
	{
		uint64_t w = h.word.load(mo::relaxed);
		do
			t->next_free.store(static_cast<uint32_t>(w), mo::relaxed);
		while (!h.word.compare_exchange_weak(w, ((w >> 32) + 1) << 32 | (t->index + 1),
						     mo::acq_rel, mo::relaxed));
	}

	// The first of `from', whose others go to `to'.
	T *take_over(Head &from, Head &to)
	{
		uint64_t w = from.word.load(mo::acquire);
		do {
			if (static_cast<uint32_t>(w) == 0)
				return nullptr;
		} while (!from.word.compare_exchange_weak(w, ((w >> 32) + 1) << 32, mo::acq_rel,
							  mo::acquire));
		T *first = at(static_cast<uint32_t>(w) - 1);
		uint32_t others = first->next_free.load(mo::relaxed);
		uint64_t old = to.word.load(mo::relaxed);
		bool whole = static_cast<uint32_t>(old) == 0 &&
			     to.word.compare_exchange_strong(old, ((old >> 32) + 1) << 32 | others,
							     mo::acq_rel);
		while (!whole && others != 0) {
			T *t = at(others - 1);
			others = t->next_free.load(mo::relaxed);
			push(to, t);
		}
		return first;
	}

	T *grow(uint32_t limit, Head &h)
	{
		Guard<Mutex> g(grow_);
		// Another thread may have grown the pool meanwhile, or given something back.
		for (Head &other : free_)
			if (T *t = pop(other))
				return t;
		uint32_t have = size();
		if (limit > capacity)
			limit = capacity;
		if (have >= limit)
			return nullptr;
		T *chunk = chunks_[have >> ChunkBits].load(mo::relaxed);
		if (chunk == nullptr) {
			void *m = Reserved && have == 0 ? reserved_
							: aligned_alloc(64, chunk_size * sizeof(T));
			if (m == nullptr)
				return nullptr;
			chunk = static_cast<T *>(m);
			for (uint32_t i = 0; i < chunk_size; i++)
				(new (&chunk[i]) T)->index = (have & ~(chunk_size - 1)) + i;
			chunks_[have >> ChunkBits].store(chunk, mo::release);
		}
		// The objects of a chunk come into use together, but never more than the limit in
		// all.
		uint32_t end = (have | (chunk_size - 1)) + 1;
		if (end > limit)
			end = limit;
		size_.store(end, mo::release);
		for (uint32_t i = have + 1; i < end; i++)
			push(h, at(i));
		return at(have);
	}

	Head free_[shards];
	alignas(64) unsigned char reserved_[Reserved ? chunk_size * sizeof(T) : 1] = {};
	std::atomic<T *> chunks_[Chunks] = {};
	std::atomic<uint32_t> size_{0};
	Mutex grow_;
};

} // namespace sigevec
