// SPDX-License-Identifier: MIT
//
// Intrusive lists with two ends: what they link has the links in itself, so that nothing can fail.
// An element is in one list of a link at a time, and its links are the list's while it is in it.
//
// Queue links once: a member `T *next' or `std::atomic<T *> next', or whatever member or function
// is named instead. List links both ways, so that anything can be taken out without a search. What
// is taken out is not written to: it may have been handed to somebody else before. Both are empty
// when all their bytes are 0. Locks: the user's.
#pragma once

#include "base/memory_order.hpp"

#include <atomic>
#include <type_traits>

namespace sigevec {

template <class T, auto Next = &T::next> class Queue {
public:
	T *first() const { return first_; }
	T *last() const { return last_; }
	bool empty() const { return first_ == nullptr; }
	static T *after(const T *t) { return get(link(const_cast<T *>(t))); }

	// At the end. True: it is the only one.
	bool push(T *t)
	{
		bool only = empty();
		set(link(t), nullptr);
		if (only)
			first_ = t;
		else
			set(link(last_), t);
		last_ = t;
		return only;
	}

	// The oldest; nullptr: there is none.
	T *pop()
	{
		T *t = first_;
		if (t != nullptr)
			remove_behind(nullptr, t);
		return t;
	}

	// The oldest, which leads to the others.
	T *take_all()
	{
		T *t = first_;
		first_ = last_ = nullptr;
		return t;
	}

	// What stands before t, which is in the queue; nullptr: it is the first.
	T *before(const T *t) const
	{
		T *b = nullptr;
		for (T *i = first_; i != t; i = after(i))
			b = i;
		return b;
	}

	// t, which stands behind b (nullptr: the first).
	void remove_behind(T *b, T *t)
	{
		T *next = after(t);
		if (b == nullptr)
			first_ = next;
		else
			set(link(b), next);
		if (next == nullptr)
			last_ = b;
	}

	// All for which f says so, which may end them.
	template <class F> void remove_if(F f)
	{
		T *b = nullptr;
		for (T *t = first_, *next; t != nullptr; t = next) {
			next = after(t);
			if (!f(t)) {
				b = t;
				continue;
			}
			if (b == nullptr)
				first_ = next;
			else
				set(link(b), next);
		}
		last_ = b;
	}

private:
	static decltype(auto) link(T *t)
	{
		if constexpr (std::is_member_object_pointer_v<decltype(Next)>)
			return (t->*Next);
		else
			return Next(t);
	}
	static T *get(T *const &l) { return l; }
	static T *get(const std::atomic<T *> &l) { return l.load(mo::relaxed); }
	static void set(T *&l, T *t) { l = t; }
	static void set(std::atomic<T *> &l, T *t) { l.store(t, mo::relaxed); }

	T *first_ = nullptr, *last_ = nullptr;
};

template <class T> struct Links {
	T *before, *after;
};

// Of: the links of an element.
template <class T, Links<T> &(*Of)(T *)> class List {
public:
	T *first() const { return first_; }
	bool empty() const { return first_ == nullptr; }
	unsigned length() const { return length_; }
	static T *after(const T *t) { return Of(const_cast<T *>(t)).after; }
	static T *before(const T *t) { return Of(const_cast<T *>(t)).before; }

	// At the end.
	void push(T *t)
	{
		Of(t) = {last_, nullptr};
		(last_ != nullptr ? Of(last_).after : first_) = t;
		last_ = t;
		length_++;
	}

	void push_front(T *t)
	{
		Of(t) = {nullptr, first_};
		(first_ != nullptr ? Of(first_).before : last_) = t;
		first_ = t;
		length_++;
	}

	void remove(T *t)
	{
		Links<T> &l = Of(t);
		(l.before != nullptr ? Of(l.before).after : first_) = l.after;
		(l.after != nullptr ? Of(l.after).before : last_) = l.before;
		length_--;
	}

private:
	T *first_ = nullptr, *last_ = nullptr;
	unsigned length_ = 0;
};

} // namespace sigevec
