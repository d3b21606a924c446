// SPDX-License-Identifier: MIT
//
// The steps of requests, read while processes with SIGEVEC_TRACE run, and put together to requests.
//
// A file is the process's memory and changes meanwhile: it is read, never mapped, and nothing in it
// is trusted.
#pragma once

#include "runtime/stats_file.hpp"
#include "stats_files.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace tool {

struct TracedStep {
	uint64_t time; // ns
	uint32_t thread;
	layout::Step step;
	uint8_t detail; // an engine; of a fallback the counter
};

struct TracedRequest {
	unsigned process = 0; // in Trace::processes
	uint64_t id = 0;      // its begin, in ns
	unsigned operation = 0, kind = 0;
	int fd = -1;
	int64_t length = 0, offset = 0, result = 0;
	uint64_t aiocb = 0;
	bool whole = false, ended = false; // its first step is there, its last one
	std::vector<TracedStep> steps;
};

struct TracedProcess {
	uint32_t pid;
	std::string program;
	std::vector<std::string> counters;
};

struct Trace {
	std::vector<TracedProcess> processes;
	std::vector<TracedRequest> requests; // by the time of their begin
	uint64_t lost = 0;                   // steps
};

class TraceReader {
public:
	// Of all files in the folder. finally: what is not complete now never will be.
	void read(const std::string &folder, bool finally);
	Trace take();

private:
	struct Source {
		std::shared_ptr<const RegularFile> file;
		unsigned process;
		uint64_t steps;        // of the ring
		uint64_t next = 0;     // number
		uint64_t stuck_at = 0; // 1 + the number of the step that was not complete
	};
	using Identity = std::pair<uint64_t, uint64_t>; // device and inode

	Source open(const std::shared_ptr<const RegularFile> &file);
	void read(Source &s, bool finally);
	bool read_part(Source &s, uint64_t end, bool finally);
	void add(const Source &s, const layout::TraceStep &step);

	std::map<Identity, Source> sources_;
	std::map<std::pair<unsigned, uint64_t>, TracedRequest> requests_; // by process and id
	uint64_t kept_ = 0;
	Trace trace_;
};

const char *step_name(layout::Step s);

} // namespace tool
