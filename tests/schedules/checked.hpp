// SPDX-License-Identifier: MIT
//
// Before any header of the library: what is std::atomic, a futex or a lock there is the
// scheduler's. Everything in such a program is compiled behind this.
#pragma once

#include "scheduler.hpp"

#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <linux/futex.h>
#if __has_include(<liburing.h>)
#include <liburing.h> // which has atomics of its own
#endif
#include <memory>
#include <pthread.h>
#include <sched.h>
#include <set>
#include <string>
#include <sys/syscall.h>
#include <time.h>
#include <tuple>
#include <type_traits>
#include <unistd.h>
#include <vector>

namespace std {

// As atomic_ref.
template <class T> class checked_atomic_ref {
	static_assert(sizeof(T) <= 8 && is_trivially_copyable_v<T>);

public:
	explicit checked_atomic_ref(T &v) : v_(&v) {}

	T load(memory_order = memory_order_seq_cst) const
	{
		return of(schedules::load(v_, sizeof *v_));
	}
	void store(T v, memory_order order = memory_order_seq_cst) const
	{
		schedules::store(v_, sizeof *v_, word(v), order);
	}
	T exchange(T v, memory_order order = memory_order_seq_cst) const
	{
		return change(order, [v](T, T *now) { return *now = v, true; });
	}
	bool compare_exchange_strong(T &expected, T v, memory_order order = memory_order_seq_cst,
				     memory_order = memory_order_seq_cst) const
	{
		bool same = false;
		T old = change(order, [&](T is, T *now) {
			same = schedules::same(word(is), word(expected));
			*now = v;
			return same;
		});
		expected = same ? expected : old;
		return same;
	}
	bool compare_exchange_weak(T &expected, T v, memory_order order = memory_order_seq_cst,
				   memory_order failed = memory_order_seq_cst) const
	{
		return compare_exchange_strong(expected, v, order, failed);
	}
	T fetch_add(auto d, memory_order order = memory_order_seq_cst) const
	{
		return change(order,
			      [d](T is, T *now) { return *now = static_cast<T>(is + d), true; });
	}
	T fetch_sub(auto d, memory_order order = memory_order_seq_cst) const
	{
		return change(order,
			      [d](T is, T *now) { return *now = static_cast<T>(is - d), true; });
	}
	T fetch_and(T m, memory_order order = memory_order_seq_cst) const
	{
		return change(order, [m](T is, T *now) { return *now = is & m, true; });
	}
	T fetch_or(T m, memory_order order = memory_order_seq_cst) const
	{
		return change(order, [m](T is, T *now) { return *now = is | m, true; });
	}

private:
	static uint64_t word(T v)
	{
		uint64_t w = 0;
		memcpy(&w, &v, sizeof v);
		return w;
	}
	static T of(uint64_t w)
	{
		T v;
		memcpy(&v, &w, sizeof v);
		return v;
	}
	template <class F> T change(memory_order order, F f) const
	{
		auto step = [](uint64_t old, const void *argument, uint64_t *now) {
			T v = of(old);
			bool changed = (*static_cast<const F *>(argument))(of(old), &v);
			*now = word(v);
			return changed;
		};
		return of(schedules::change(v_, sizeof *v_, order, step, &f));
	}

	T *v_;
};

// As atomic.
template <class T> class checked_atomic {
	using Ref = checked_atomic_ref<T>;

public:
	using value_type = T;
	static constexpr bool is_always_lock_free = true;

	constexpr checked_atomic() noexcept : v_{} {}
	constexpr checked_atomic(T v) noexcept : v_(v) {}
	checked_atomic(const checked_atomic &) = delete;
	checked_atomic &operator=(const checked_atomic &) = delete;

	T load(memory_order o = memory_order_seq_cst) const { return ref().load(o); }
	void store(T v, memory_order o = memory_order_seq_cst) { ref().store(v, o); }
	T exchange(T v, memory_order o = memory_order_seq_cst) { return ref().exchange(v, o); }
	bool compare_exchange_strong(T &expected, T v, auto... orders)
	{
		return ref().compare_exchange_strong(expected, v, orders...);
	}
	bool compare_exchange_weak(T &expected, T v, auto... orders)
	{
		return ref().compare_exchange_strong(expected, v, orders...);
	}
	T fetch_add(auto d, auto... order) { return ref().fetch_add(d, order...); }
	T fetch_sub(auto d, auto... order) { return ref().fetch_sub(d, order...); }
	T fetch_and(T m, auto... order) { return ref().fetch_and(m, order...); }
	T fetch_or(T m, auto... order) { return ref().fetch_or(m, order...); }
	operator T() const { return load(); }
	T operator=(T v) { return store(v), v; }
	T operator++(int) { return fetch_add(1); }
	T operator--(int) { return fetch_sub(1); }
	T operator++() { return static_cast<T>(fetch_add(1) + 1); }
	T operator--() { return static_cast<T>(fetch_sub(1) - 1); }
	T operator+=(auto d) { return static_cast<T>(fetch_add(d) + d); }
	T operator-=(auto d) { return static_cast<T>(fetch_sub(d) - d); }

private:
	Ref ref() const { return Ref(const_cast<T &>(v_)); }

	alignas(sizeof(T)) T v_;
};

inline void checked_fence(memory_order order)
{
	schedules::fence(order);
}

} // namespace std

namespace schedules {

// What is no atomic in the library, but handed over by one.
template <class T> class Plain {
public:
	Plain(T v = {}) : v_(v) {}
	operator T() const { return v_.load(std::memory_order_relaxed); }
	T operator=(T v) { return v_.store(v, std::memory_order_relaxed), v; }
	T operator->() const { return *this; }

private:
	std::checked_atomic<T> v_;
};

template <class... A> long checked_syscall(long number, A... a)
{
	return syscall(number, a...);
}

// Of a futex, for a thread of a run.
template <class W, class V, class... A>
long checked_syscall(long number, W *word, int op, V value, A... a)
{
	int what = op & FUTEX_CMD_MASK;
	if (number != SYS_futex || !inside())
		return syscall(number, word, op, value, a...);
	if (what == FUTEX_WAKE || what == FUTEX_WAKE_BITSET)
		return futex_wake(word, static_cast<int>(value));
	bool limited = false;
	if constexpr (sizeof...(A) > 0)
		limited = std::get<0>(std::tuple(a...)) != nullptr;
	errno = futex_wait(word, static_cast<uint32_t>(value), limited);
	return errno == 0 ? 0 : -1;
}

} // namespace schedules

#define atomic checked_atomic
#define atomic_ref checked_atomic_ref
#define atomic_thread_fence checked_fence
#define syscall schedules::checked_syscall
#define pthread_mutex_lock schedules::lock
#define pthread_mutex_unlock schedules::unlock
#define sched_yield schedules::yield
#define __builtin_ia32_pause schedules::pause
