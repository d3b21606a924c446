/* SPDX-License-Identifier: MIT */
/* Part of <sigevec.hpp>: who lets coroutines go on. */
#ifndef SIGEVEC_RELAY_HPP
#define SIGEVEC_RELAY_HPP 1

#include <coroutine>
#include <utility>

namespace sigevec::detail {

/*
 * Who lets coroutines go on. One that ends, or that awaits a task, names the next one and returns
 * to the loop beneath it: a transfer that needs no stack, where the compiler's own needs its
 * optimizer.
 */
class relay {
public:
	/* Lets it go on, and then whom it names. */
	static void run(std::coroutine_handle<> coroutine) noexcept
	{
		relay loop;
		loop.outer = std::exchange(innermost, &loop);
		while (coroutine) {
			loop.running = coroutine.address();
			loop.next = nullptr;
			coroutine.resume();
			coroutine = loop.next;
		}
		innermost = loop.outer;
	}
	/* By `from', which is suspended and returns after this: `to' goes on. Nothing of either is
	 * touched afterwards. */
	static void pass(std::coroutine_handle<> from, std::coroutine_handle<> to) noexcept
	{
		if (innermost != nullptr && innermost->running == from.address()) {
			innermost->running = nullptr;
			innermost->next = to;
		} else
			run(to); /* it was not the loop that let `from' go on */
	}

private:
	relay() = default;

	static inline thread_local relay *innermost = nullptr;
	relay *outer = nullptr;
	void *running = nullptr;
	std::coroutine_handle<> next;
};

} // namespace sigevec::detail

#endif
