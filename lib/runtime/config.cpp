// SPDX-License-Identifier: MIT
#include "runtime/config.hpp"

#include "base/memory_order.hpp"

#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace sigevec::config {

Limits limits;
Force force = Force::automatic;
const char *stats_file = nullptr;
uint64_t trace_steps = 0;

namespace {

template <class T>
void read_number(const char *name, std::atomic<T> &to, uint64_t min, uint64_t max)
{
	const char *s = secure_getenv(name);
	if (s == nullptr || *s == '\0')
		return;
	char *end;
	unsigned long v = strtoul(s, &end, 10);
	if (*end == '\0' && v >= min && v <= max)
		to.store(static_cast<T>(v), mo::relaxed);
}

struct Name {
	const char *name;
	Force force;
};

constexpr Name names[] = {{"inline", Force::inline_},
			  {"kaio", Force::kaio},
			  {"uring", Force::uring},
			  {"threads", Force::threads}};

} // namespace

void read_environment()
{
	read_number("SIGEVEC_THREADS", limits.threads, 1, 100000);
	read_number("SIGEVEC_REQUESTS", limits.requests, 1, most_requests);
	read_number("SIGEVEC_RING", limits.ring, 1, most_ring);
	read_number("SIGEVEC_IDLE", limits.idle, 0, 1000000);
	limits.dma.store(static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) / 2 *
				 static_cast<uint64_t>(sysconf(_SC_PAGESIZE)),
			 mo::relaxed);
	read_number("SIGEVEC_DMA", limits.dma, 0, UINT64_MAX);
	// The file is written with the program's rights: a set-user-ID program takes no name from
	// its caller.
	stats_file = secure_getenv("SIGEVEC_STATS");
	std::atomic<uint64_t> steps{0};
	read_number("SIGEVEC_TRACE", steps, 1024, most_trace_steps);
	trace_steps = steps.load(mo::relaxed);
	if (const char *s = secure_getenv("SIGEVEC_ENGINE"))
		for (const Name &n : names)
			if (strcmp(s, n.name) == 0)
				force = n.force;
}

} // namespace sigevec::config
