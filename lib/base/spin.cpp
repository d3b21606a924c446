// SPDX-License-Identifier: MIT
#include "base/spin.hpp"

#include "base/memory_order.hpp"

#include <cstring>

namespace sigevec {

std::atomic<bool> Spin::allowed{false};
std::atomic<uint32_t> Spin::looking{0}, Spin::met{0};

void Spin::set_up()
{
	unsigned char mask[1024];
	memset(mask, 0, sizeof mask);
	long n = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
	int cpus = 0;
	for (long i = 0; i < n; i++)
		cpus += __builtin_popcount(mask[i]);
	allowed.store(cpus > 1, mo::relaxed);
}

} // namespace sigevec
