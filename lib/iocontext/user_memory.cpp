// SPDX-License-Identifier: MIT
#include "iocontext/user_memory.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <linux/futex.h>
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
	// No `how' is -1: with a set to read it is refused after that has been read, and without
	// one it is not looked at.
	long r = syscall(SYS_rt_sigprocmask, -1, set, old, mask_size);
	bool there = r == 0 || errno != EFAULT;
	errno = saved;
	return there;
}

// look_at(address) for eight bytes of every page, the last eight among them.
template <class Look> bool each_page(uintptr_t from, size_t n, Look look_at)
{
	uintptr_t last;
	// The kernel would not look at the null pointer.
	if (from == 0 || n < mask_size || __builtin_add_overflow(from, n - mask_size, &last))
		return false;
	if (from / page == (last + mask_size - 1) / page)
		return look_at(from);
	for (uintptr_t at = from; at < last; at = (at / page + 1) * page)
		if (!look_at(at))
			return false;
	return look_at(last);
}

} // namespace

bool readable(const void *p, size_t n)
{
	return each_page(reinterpret_cast<uintptr_t>(p), n,
			 [](uintptr_t at) { return look(reinterpret_cast<void *>(at), nullptr); });
}

bool writable(void *p, size_t n)
{
	return each_page(reinterpret_cast<uintptr_t>(p), n,
			 [](uintptr_t at) { return look(nullptr, reinterpret_cast<void *>(at)); });
}

namespace {

bool within_a_page(uintptr_t p, size_t n)
{
	return p / page == (p + n - 1) / page;
}

// x |= 0, by the kernel.
bool touch(uintptr_t at)
{
	constexpr uint32_t operation = FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_EQ, 0);
	std::atomic<uint32_t> nobody{0};
	int saved = errno;
	long r = syscall(SYS_futex, &nobody, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, 0,
			 at / sizeof(uint32_t) * sizeof(uint32_t), operation);
	bool there = r >= 0;
	errno = saved;
	return there;
}

} // namespace

bool Pages::changeable(const void *p, size_t n)
{
	auto from = reinterpret_cast<uintptr_t>(p), last = from + n - 1;
	if (last < from)
		return false;
	if (within_a_page(from, n) && from / page == changeable_)
		return true;
	if (!touch(from) || (!within_a_page(from, n) && !touch(last)))
		return false;
	changeable_ = last / page;
	return true;
}

bool Pages::readable(const void *p, size_t n)
{
	auto at = reinterpret_cast<uintptr_t>(p);
	if (within_a_page(at, n) && at / page == readable_)
		return true;
	if (!io::readable(p, n))
		return false;
	readable_ = at / page;
	return true;
}

bool in_reach(const void *p, size_t n)
{
	uintptr_t end;
	if (__builtin_add_overflow(reinterpret_cast<uintptr_t>(p), n, &end))
		return false;
#if defined __x86_64__
	// Of the 47 bits, the last page is nobody's. Addresses of 57 bits are only where somebody
	// has asked for them.
	constexpr uintptr_t limit = (uintptr_t{1} << 47) - page;
	return end <= limit || (end >> 56 == 0 && readable(p, mask_size));
#else
	return end >> 56 == 0;
#endif
}

} // namespace sigevec::io
