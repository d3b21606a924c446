/* SPDX-License-Identifier: MIT */
/* Part of <sigevec.hpp>: the two types of coroutines, detached ones and tasks. */
#ifndef SIGEVEC_TASK_HPP
#define SIGEVEC_TASK_HPP 1

#include "sigevec/relay.hpp"

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

namespace sigevec {

/* A coroutine that runs at once and frees itself at its end; nobody waits for it. */
struct detached {
	struct promise_type {
		detached get_return_object() const noexcept { return {}; }
		std::suspend_never initial_suspend() const noexcept { return {}; }
		std::suspend_never final_suspend() const noexcept { return {}; }
		void return_void() const noexcept {}
		[[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
	};
};

template <class T> class task;

namespace detail {

struct promise_base {
	std::coroutine_handle<> waiter = std::noop_coroutine();
	std::exception_ptr thrown;

	struct at_end {
		bool await_ready() const noexcept { return false; }
		template <class Promise>
		void await_suspend(std::coroutine_handle<Promise> ended) const noexcept
		{
			relay::pass(ended, ended.promise().waiter);
		}
		void await_resume() const noexcept {}
	};
	std::suspend_always initial_suspend() const noexcept { return {}; }
	at_end final_suspend() const noexcept { return {}; }
	void unhandled_exception() noexcept { thrown = std::current_exception(); }
	void check() const
	{
		if (thrown)
			std::rethrow_exception(thrown);
	}
};

template <class T> struct promise : promise_base {
	std::optional<T> value;

	task<T> get_return_object() noexcept;
	template <class U> void return_value(U &&v) { value.emplace(std::forward<U>(v)); }
	T take()
	{
		check();
		return std::move(*value);
	}
};

template <> struct promise<void> : promise_base {
	task<void> get_return_object() noexcept;
	void return_void() const noexcept {}
	void take() const { check(); }
};

} // namespace detail

/* A coroutine that runs when it is awaited, once, and gives a value, or what it has thrown, to the
 * one that awaits it.
 */
template <class T = void> class [[nodiscard]] task {
public:
	using promise_type = detail::promise<T>;
	using handle = std::coroutine_handle<promise_type>;

	explicit task(handle coroutine) noexcept : frame(coroutine) {}
	task(task &&other) noexcept : frame(std::exchange(other.frame, nullptr)) {}
	task &operator=(task &&) = delete;
	~task()
	{
		if (frame)
			frame.destroy();
	}

	bool await_ready() const noexcept { return false; }
	void await_suspend(std::coroutine_handle<> coroutine) const noexcept
	{
		frame.promise().waiter = coroutine;
		detail::relay::pass(coroutine, frame);
	}
	T await_resume() const { return frame.promise().take(); }

private:
	handle frame;
};

namespace detail {

template <class T> task<T> promise<T>::get_return_object() noexcept
{
	return task<T>(std::coroutine_handle<promise>::from_promise(*this));
}

inline task<void> promise<void>::get_return_object() noexcept
{
	return task<void>(std::coroutine_handle<promise>::from_promise(*this));
}

} // namespace detail

/* Runs a task to its end with nobody waiting for it. */
inline detached spawn(task<> work)
{
	co_await std::move(work);
}

} // namespace sigevec

#endif
