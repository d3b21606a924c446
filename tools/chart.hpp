// SPDX-License-Identifier: MIT
//
// A bar chart as SVG.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

namespace tool {

struct Bar {
	std::string name;
	double value; // 0: none
	std::string label;
	bool reference; // the one that others are compared with
};

// Bars are as long as their values, within each group.
struct Group {
	std::string title;
	std::vector<Bar> bars;
};

void write_chart(FILE *to, const std::string &title, const std::string &note,
		 const std::vector<Group> &groups);

} // namespace tool
