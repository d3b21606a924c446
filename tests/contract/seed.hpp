// SPDX-License-Identifier: MIT
//
// What a test that draws its steps begins with: the seed of the day, so that different days try
// different ones, and numbers by which the environment says otherwise. No Boost here:
// tests/faults/inject has none.
#ifndef CONTRACT_SEED_HPP
#define CONTRACT_SEED_HPP

#include <cstdint>
#include <cstdlib>
#include <ctime>

namespace contract {

inline uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *const text = getenv(name);
	return text != nullptr ? strtoull(text, nullptr, 0) : otherwise;
}

/// Year, month, day and room for as many as a day can have.
inline uint64_t seed_of_the_day()
{
	const time_t now = time(nullptr);
	tm day{};
	gmtime_r(&now, &day);
	return (uint64_t(day.tm_year + 1900) * 10000 + uint64_t(day.tm_mon + 1) * 100 +
		uint64_t(day.tm_mday)) *
	       10'000'000;
}

} // namespace contract

#endif
