// SPDX-License-Identifier: MIT
//
// A small number for each thread that uses the library, to spread it over shards. Numbers of ended
// threads are used again.
#pragma once

namespace sigevec {

namespace detail {
extern thread_local int thread_number_plus_one __attribute__((tls_model("initial-exec")));
int take_thread_number();
} // namespace detail

// 0, 1, 2, ... Async-signal-safe once the thread has one; threads beyond the first 1,024 share
// numbers.
inline unsigned thread_number()
{
	int n = detail::thread_number_plus_one;
	return static_cast<unsigned>((n != 0 ? n : detail::take_thread_number()) - 1);
}

} // namespace sigevec
