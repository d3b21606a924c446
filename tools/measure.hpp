// SPDX-License-Identifier: MIT
//
// One measurement of `sigevec bench': a child process that keeps a number of requests of POSIX AIO,
// or of libaio, in flight for some time.
#pragma once

#include <cstdint>
#include <string>
#include <sys/types.h>

namespace tool {

struct Work {
	const char *name; // "read, in the cache"
	bool write, direct;
	unsigned depth;
};

// Whose functions.
struct Side {
	std::string name;
	bool original;      // libc's own, found past the library's; or the kernel's
	std::string engine; // SIGEVEC_ENGINE, or "": the library chooses
	bool libaio;
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

// Where one request after the other begins, at random, and the same for all sides.
class Offsets {
public:
	off_t next(const Place &p);

private:
	uint64_t random_ = 88172645463325252u;
};

// Memory for the blocks of so many requests, aligned for O_DIRECT.
class Blocks {
public:
	Blocks() = default;
	~Blocks();
	Blocks(const Blocks &) = delete;
	Blocks &operator=(const Blocks &) = delete;
	// 0 or errno.
	int make(const Place &p, unsigned count);
	char *at(unsigned i) const { return memory_ + i * block_; }

private:
	char *memory_ = nullptr;
	size_t block_ = 0;
};

// By the child, on a file: operations per second, or -errno.
double run_libaio(const Work &w, const Side &s, const Place &p, double seconds, int fd);

// Runs it in a child, so that each side begins anew, as a program does.
Outcome measure(const Work &w, const Side &s, const Place &p, double seconds);

} // namespace tool
