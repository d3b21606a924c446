// SPDX-License-Identifier: MIT
//
// One measurement of `sigevec bench': a child process that keeps a number of POSIX AIO requests in
// flight for some time.
#pragma once

#include <cstdint>
#include <string>

namespace tool {

struct Work {
	const char *name; // "read, in the cache"
	bool write, direct;
	unsigned depth;
};

// Whose functions.
struct Side {
	std::string name;
	bool glibc;         // libc's own, found past the library's
	std::string engine; // SIGEVEC_ENGINE, or "": the library chooses
};

struct Place {
	std::string path; // opened again by each child
	uint64_t size;    // of what is read and written there
	size_t block;
};

struct Outcome {
	double rate;       // operations per second; 0: none
	std::string error; // why not
};

// Runs it in a child, so that each side begins anew, as a program does.
Outcome measure(const Work &w, const Side &s, const Place &p, double seconds);

} // namespace tool
