// SPDX-License-Identifier: MIT
//
// What of the kernel the library can use here. Everything is found out by trying it; nothing is
// left behind.
#pragma once

#include <string>
#include <vector>

namespace tool {

struct Feature {
	std::string name;
	bool works;
	std::string reason; // what it is for, or why not
};

std::vector<Feature> features();
// The kernel module's device.
Feature module();

} // namespace tool
