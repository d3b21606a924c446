// SPDX-License-Identifier: MIT
//
// Which libraries the dynamic linker would load for a program, found by the rules of ld.so(8)
// without starting it: the dynamic linker maps what it is given, and opens whatever has a library's
// name, so a program that somebody else made could run its own code, or never end.
//
// Not looked at: the folders of ld.so for other processors (glibc-hwcaps), which hold copies, and
// LD_AUDIT.
#pragma once

#include "program.hpp"

#include <string>
#include <vector>

namespace tool {

struct Object {
	std::string path;
	struct stat status;
	Elf elf;

	// Whether the name leads to the same file.
	bool is(const std::string &name) const;
};

struct Loaded {
	std::vector<Object> objects;      // in the order of loading, without the program
	std::vector<std::string> missing; // names that were not found
};

Loaded list_loaded(const Program &p);

} // namespace tool
