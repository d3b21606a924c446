// SPDX-License-Identifier: MIT
//
// NUMA nodes: where the caller runs, and where memory is.
#pragma once

#include <cerrno>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sigevec::node {

// That of the processor on which the caller runs. A kernel without NUMA has one, 0.
inline unsigned current()
{
	unsigned cpu = 0, node = 0;
	return syscall(SYS_getcpu, &cpu, &node, nullptr) == 0 ? node : 0;
}

// That of the page at p; -1: not known, or there is no page yet.
inline int of_memory(const void *p)
{
	int node = -1, saved = errno;
	if (syscall(SYS_get_mempolicy, &node, nullptr, 0ul, p, MPOL_F_NODE | MPOL_F_ADDR) != 0)
		node = errno == ENOSYS ? 0 : -1;
	errno = saved;
	return node;
}

} // namespace sigevec::node
