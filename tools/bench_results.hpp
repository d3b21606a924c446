// SPDX-License-Identifier: MIT
//
// What `sigevec bench' was asked for and has measured, and how it tells of that.
#pragma once

#include "measure.hpp"
#include "tool.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tool {

// Whom all are compared with, glibc or the kernel, is the first, and the library as it chooses the
// second.
constexpr size_t side_count = 6;
struct Comparison {
	const char *interface; // "POSIX AIO"
	Side sides[side_count];
};
extern const Comparison posix_aio, libaio;

struct BenchOptions {
	double seconds = 0.3;
	unsigned rounds = 3;
	size_t block = 4096;
	uint64_t size = 64 << 20;
	bool json = false, quiet = false;
	const Comparison *compared = &posix_aio;
	const char *svg = nullptr;
};

struct Result {
	Work work;
	std::vector<double> runs[side_count];
	std::string error[side_count];

	double median(size_t side) const
	{
		auto v = runs[side];
		if (v.empty())
			return 0;
		std::sort(v.begin(), v.end());
		return (v[v.size() / 2] + v[(v.size() - 1) / 2]) / 2;
	}
	// Round by round, so that load from outside falls on both.
	double to_first(size_t side) const
	{
		std::vector<double> v;
		for (size_t i = 0; i < runs[side].size() && i < runs[0].size(); i++)
			v.push_back(runs[side][i] / runs[0][i]);
		if (v.empty())
			return 0;
		std::sort(v.begin(), v.end());
		return (v[v.size() / 2] + v[(v.size() - 1) / 2]) / 2;
	}
};

void print_table(const std::vector<Result> &results, const BenchOptions &o);
void print_json(const std::vector<Result> &results, const char *path, const BenchOptions &o);
// A chart. False with errno.
bool write_svg(const std::vector<Result> &results, const BenchOptions &o, Output &output);

} // namespace tool
