// SPDX-License-Identifier: MIT
//
// Figures as people and programs read them.
#pragma once

#include "figures.hpp"

#include <cstdio>
#include <optional>

namespace tool {

struct ReportStyle {
	bool json = false;
	bool in_line = false;      // JSON, one object of several
	bool all_counters = false; // those that are 0, too
	double seconds = 0;        // the figures are of so long a time; 0: since the start
};

void report(const Figures &f, const std::string &heading, const ReportStyle &style, FILE *to);

// "1.23 us"
std::string duration(uint64_t ns);
std::string duration_or_dash(std::optional<uint64_t> ns);
// "4.0 KiB"
std::string size(uint64_t bytes);
// "2026-11-22 12:00:00"
std::string date(uint64_t ns);

} // namespace tool
