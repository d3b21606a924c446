// SPDX-License-Identifier: MIT
#include "base/thread_id.hpp"

#include <sys/syscall.h>
#include <unistd.h>

namespace sigevec {

pid_t ask_thread_id()
{
	return static_cast<pid_t>(syscall(SYS_gettid));
}

namespace detail {

thread_local ThreadId thread_id __attribute__((tls_model("initial-exec")));
std::atomic<uint32_t> life{1};

pid_t remember_thread_id()
{
	pid_t id = ask_thread_id();
	// A signal handler in between would write the same.
	thread_id = {life.load(mo::relaxed), id};
	return id;
}

} // namespace detail

void forget_thread_ids()
{
	detail::life.fetch_add(1, mo::relaxed);
}

} // namespace sigevec
