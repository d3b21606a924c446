// SPDX-License-Identifier: MIT
#include "iocontext/user_memory.hpp"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <sys/syscall.h>
#include <unistd.h>

namespace sigevec::io {

namespace {

constexpr size_t mask_size = 8;
// The smallest there is: looking more often than a page's size is no harm.
constexpr uintptr_t page = 4096;

bool look(const void *set, void *old)
{
	int saved = errno;
	// No `how' is -1: with a set to read it is refused after that has been read, and without one it is not looked at.
	long r = syscall(SYS_rt_sigprocmask, -1, set, old, mask_size);
	bool there = r == 0 || errno != EFAULT;
	errno = saved;
	return there;
}

// look_at(address) for eight bytes of every page, the last eight among them.
template <class Look> bool each_page(uintptr_t from, size_t n, Look look_at)
{
	uintptr_t last;
	if (n < mask_size || __builtin_add_overflow(from, n - mask_size, &last))
		return false;
	for (uintptr_t at = from; at < last; at = (at / page + 1) * page)
		if (!look_at(at))
			return false;
	return look_at(last);
}

} // namespace

bool readable(const void *p, size_t n)
{
	return each_page(reinterpret_cast<uintptr_t>(p), n, [](uintptr_t at) { return look(reinterpret_cast<void *>(at), nullptr); });
}

bool writable(void *p, size_t n)
{
	return each_page(reinterpret_cast<uintptr_t>(p), n, [](uintptr_t at) { return look(nullptr, reinterpret_cast<void *>(at)); });
}

} // namespace sigevec::io
