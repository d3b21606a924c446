// SPDX-License-Identifier: MIT
//
// The library's statistics, as a program reads them.
#ifndef CONTRACT_COUNTERS_HPP
#define CONTRACT_COUNTERS_HPP

#include <array>
#include <cstdint>
#include <cstring>
#include <sigevec/info.h>

namespace contract {

inline uint64_t counter(const char *name)
{
	std::array<sigevec_stat, 64> v;
	const int n = sigevec_get_stats(v.data(), v.size());
	for (int i = 0; i < n; ++i)
		if (strcmp(v[static_cast<size_t>(i)].name, name) == 0)
			return v[static_cast<size_t>(i)].value;
	return 0;
}

/// Counters as they change.
struct Since {
	const char *name;
	uint64_t before;
	explicit Since(const char *n) : name(n), before(counter(n)) {}
	uint64_t count() const { return counter(name) - before; }
};

} // namespace contract

#endif
