// SPDX-License-Identifier: MIT
//
// A hash table of objects that are linked by a hook of their own: adding needs no memory, so it
// cannot fail. An object is in one chain with all others of its hash, the newest first, and is
// taken out without a search.
//
// Memory is only for the heads of the chains; where there is none for more of them, the chains
// become longer. Locks: the user's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace sigevec {

template <class T> struct Hook {
	T *next;
	T **place; // what points to it; nullptr: it is in no chain
	uint64_t hash;
};

// Spreads what differs in a few bits, as addresses do.
inline uint64_t hash_of(uint64_t a, uint64_t b = 0)
{
	uint64_t h = a * 0x9e3779b97f4a7c15 + b;
	h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9;
	h = (h ^ (h >> 27)) * 0x94d049bb133111eb;
	return h ^ (h >> 31);
}

inline uint64_t hash_of(const void *a, const void *b)
{
	return hash_of(reinterpret_cast<uint64_t>(a), reinterpret_cast<uint64_t>(b));
}

template <class T, Hook<T> T::*H> class Chains {
public:
	void add(T *t, uint64_t hash)
	{
		if (count_ >= size())
			grow();
		count_++;
		(t->*H).hash = hash;
		link(t);
	}

	// Nothing if it is in no chain.
	void remove(T *t)
	{
		Hook<T> &h = t->*H;
		if (h.place == nullptr)
			return;
		*h.place = h.next;
		if (h.next != nullptr)
			(h.next->*H).place = h.place;
		h.place = nullptr;
		count_--;
	}

	// The first with this hash after t, or of all.
	T *first(uint64_t hash) { return matching(*head(hash), hash); }
	T *next(const T *t) const { return matching((t->*H).next, (t->*H).hash); }

	// The memory is the parent's.
	void forget()
	{
		many_ = nullptr;
		for (T *&t : few_)
			t = nullptr;
		bits_ = few_bits;
		count_ = 0;
	}

private:
	static constexpr unsigned few_bits = 4;

	size_t size() const { return size_t{1} << bits_; }
	T **head(uint64_t hash) { return &(many_ != nullptr ? many_ : few_)[hash & (size() - 1)]; }

	static T *matching(T *t, uint64_t hash)
	{
		while (t != nullptr && (t->*H).hash != hash)
			t = (t->*H).next;
		return t;
	}

	void link(T *t)
	{
		Hook<T> &h = t->*H;
		h.place = head(h.hash);
		h.next = *h.place;
		*h.place = t;
		if (h.next != nullptr)
			(h.next->*H).place = &h.next;
	}

	// The order within a chain stays.
	void grow()
	{
		auto **more = static_cast<T **>(calloc(size() * 2, sizeof(T *)));
		if (more == nullptr)
			return;
		T **old = many_ != nullptr ? many_ : few_;
		T *all = nullptr;
		for (size_t i = 0; i < size(); i++)
			while (T *t = old[i]) {
				old[i] = (t->*H).next;
				(t->*H).next = all;
				all = t;
			}
		if (many_ != nullptr)
			free(many_);
		many_ = more;
		bits_++;
		while (T *t = all) {
			all = (t->*H).next;
			link(t);
		}
	}

	T *few_[1u << few_bits] = {};
	T **many_ = nullptr;
	unsigned bits_ = few_bits;
	size_t count_ = 0;
};

} // namespace sigevec
