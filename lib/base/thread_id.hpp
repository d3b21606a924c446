// SPDX-License-Identifier: MIT
//
// The kernel's number of the calling thread, asked for once and then remembered: libc keeps it too,
// but tells nobody.
//
// A child of fork has the memory of its parent's thread, and in it the parent's number. So what is
// remembered counts for one life of the library in one process only. Async-signal-safe.
#pragma once

#include "base/memory_order.hpp"

#include <atomic>
#include <cstdint>
#include <sys/types.h>

namespace sigevec {

namespace detail {
struct ThreadId {
	uint32_t life;
	pid_t id;
};
extern thread_local ThreadId thread_id __attribute__((tls_model("initial-exec")));
extern std::atomic<uint32_t> life; // never 0
pid_t remember_thread_id();
} // namespace detail

// Of the kernel: where the library may not have been set up, as in a child of fork.
pid_t ask_thread_id();

// Only in a process that has set the library up (runtime/process.hpp).
inline pid_t thread_id()
{
	detail::ThreadId known = detail::thread_id;
	return known.life == detail::life.load(mo::relaxed) ? known.id
							    : detail::remember_thread_id();
}

// In the child of fork.
void forget_thread_ids();

} // namespace sigevec
