// SPDX-License-Identifier: MIT
#include "runtime/copies.hpp"

#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "clone.hpp"

#include <atomic>
#include <cerrno>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <sys/wait.h>

namespace sigevec::copies {

namespace {

std::atomic<bool> message_queues{false};

struct Range {
	unsigned first, end;
};

// Of so many that looking at each costs more than a child all are taken for that.
bool may_hold_message_queue(const Range &r)
{
	constexpr unsigned most = 512;
	bool found = r.end - r.first > most;
	struct statfs s;
	for (unsigned fd = r.first; fd < r.end && !found; fd++)
		found = fstatfs(static_cast<int>(fd), &s) == 0 &&
			static_cast<uint64_t>(s.f_type) == message_queue_magic;
	return found;
}

// By system calls alone: libc's data are the caller's. Before Linux 5.9 one after the other.
__attribute__((no_sanitize("thread", "address", "undefined"))) int close_all(void *range)
{
	auto *r = static_cast<const Range *>(range);
	if (syscall(SYS_close_range, r->first, r->end - 1, 0) != 0)
		for (unsigned fd = r->first; fd < r->end; fd++)
			syscall(SYS_close, fd);
	return 0;
}

// False: there is no child.
bool close_by_child(Range r)
{
	alignas(64) char stack[8192];
	// Without a signal at its end the program's wait() does not find it.
	pid_t child = libc::clone(close_all, stack + sizeof stack,
				  CLONE_VM | CLONE_VFORK | CLONE_FILES, &r);
	if (child < 0)
		return false;
	while (syscall(SYS_wait4, child, nullptr, __WALL, nullptr) < 0 && errno == EINTR)
		;
	return true;
}

} // namespace

unsigned end_of_table()
{
	// What was opened before the limit was lowered is still there.
	constexpr unsigned least = 4096, enough = 1u << 20;
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_max >= enough)
		return enough;
	return r.rlim_max > least ? static_cast<unsigned>(r.rlim_max) : least;
}

void expect_message_queues()
{
	message_queues.store(true, mo::release);
}

void close(int fd)
{
	if (message_queues.load(mo::acquire))
		close_carefully(fd);
	else
		sys::close(fd);
}

void close_carefully(int fd)
{
	if (fd >= 0)
		close_range(static_cast<unsigned>(fd), static_cast<unsigned>(fd) + 1);
}

void close_range(unsigned first, unsigned end)
{
	Range r{first, end};
	if (first < end && (!may_hold_message_queue(r) || !close_by_child(r)))
		close_all(&r);
}

// The kernel copies 64 at least, and whole words of its bit map; what it is asked to close it may
// copy first, and so the range begins above.
unsigned make_private_table(int kept)
{
	constexpr unsigned word = 64;
	unsigned end = kept < 0 ? word : (static_cast<unsigned>(kept) / word + 1) * word;
	if (syscall(SYS_close_range, end, ~0u, CLOSE_RANGE_UNSHARE) == 0)
		return end;
	return syscall(SYS_unshare, CLONE_FILES) == 0 ? end_of_table() : 0;
}

} // namespace sigevec::copies
