// SPDX-License-Identifier: MIT
//
// The figures of statistics files: of one process, of several together, or of the time between two
// looks.
//
// A file may be of another user, or cut off, or change meanwhile: it is read, never mapped, and
// nothing in it is trusted. What another user says of a process that is not his is not believed.
#pragma once

#include "file.hpp"
#include "pid_namespace.hpp"
#include "runtime/stats_file.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace tool {

namespace layout = sigevec::stats_file;

struct ChannelFigures {
	uint32_t pid;
	uint64_t fd, flags, limit, outstanding, queued, delivered, refused, dropped, high_water;
};

struct Latencies {
	uint64_t bucket[layout::buckets] = {};
	uint64_t largest = 0, errors = 0;

	void add(const Latencies &other);
	// What the longest took; nothing when none was timed.
	std::optional<uint64_t> most() const
	{
		return largest != 0 ? std::optional(largest) : std::nullopt;
	}
	// What part of the requests did not take longer than this, in ns; nothing when none was
	// timed.
	std::optional<uint64_t> percentile(double part) const;
};

struct Figures {
	uint32_t processes = 0;
	// Of the last one: the number that it has here, if it has one, otherwise its own.
	uint32_t pid = 0;
	ProcessId id = {};
	bool seen = false; // from here
	uint64_t process_start = 0, opened = 0;
	bool shared = false;
	uid_t owner = 0; // of the file
	std::string program;
	std::vector<std::pair<std::string, uint64_t>> counters;
	std::vector<uint64_t> requests, bytes; // by cell
	std::vector<Latencies> latency;
	std::vector<uint64_t> outstanding; // by operation and kind
	std::vector<ChannelFigures> channels;

	uint64_t counter(const std::string &name) const;
	// Adds another process's.
	void add(const Figures &other);
	// Leaves what has been counted since; what is outstanding and the queues stay as they are.
	void subtract(const Figures &earlier);
};

// What the file says now; nothing with errno, ENOMSG: it is no statistics file of this version.
std::optional<Figures> read_figures(const RegularFile &file);

// Whether the process that the figures are of is still there, not another one with its number, and
// of a user who may speak for it. elsewhere: it is in a PID namespace that is not seen from here.
enum class State { running, ended, elsewhere };
State state_of(const Figures &f);
const char *name_of(State state);
// Whether the user may speak for the process: one of its own, or root. Of a process that has ended
// nobody knows whose it was.
bool speaks_for(uid_t user, uint32_t pid);
bool is_process(uint32_t pid);

} // namespace tool
