// SPDX-License-Identifier: MIT
#include "base/groups.hpp"

#include "base/chains.hpp"

#include <cstdlib>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

namespace sigevec {

namespace {

uint64_t hash_groups(const gid_t *group, long n)
{
	uint64_t h = hash_of(0, static_cast<uint64_t>(n));
	for (long i = 0; i < n; i++)
		h = hash_of(h, group[i]);
	return h;
}

// More than have room on the stack. Where there is no memory, their number has to do.
uint64_t hash_many()
{
	long n = syscall(SYS_getgroups, 0, nullptr);
	auto *group = static_cast<gid_t *>(malloc(static_cast<size_t>(n) * sizeof(gid_t)));
	long got = group != nullptr ? syscall(SYS_getgroups, n, group) : -1;
	uint64_t h = got >= 0 ? hash_groups(group, got) : static_cast<uint64_t>(n);
	free(group);
	return h;
}

} // namespace

uint64_t supplementary_groups()
{
	constexpr int usual = 64;
	gid_t group[usual];
	long n = syscall(SYS_getgroups, usual, group);
	return n >= 0 ? hash_groups(group, n) : hash_many();
}

} // namespace sigevec
