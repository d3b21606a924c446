// SPDX-License-Identifier: MIT
//
// The figures of statistics files: of one process, of several together, or of the time between two looks.
//
// A file may be of another user, or cut off, or change meanwhile: it is read, never mapped, and nothing in it is
// trusted.
#pragma once

#include "runtime/stats_file.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tool
{

namespace layout = sigevec::stats_file;

struct ChannelFigures {
	uint32_t pid;
	uint64_t fd, flags, limit, outstanding, queued, delivered, refused, dropped, high_water;
};

struct Latencies {
	uint64_t bucket[layout::buckets] = {};
	uint64_t largest = 0, errors = 0;

	// What part of the requests did not take longer than this, in ns; nothing when none was timed.
	std::optional<uint64_t> percentile(double part) const;
};

struct Figures {
	uint32_t processes = 0;
	uint32_t pid = 0; // of the last one
	uint64_t process_start = 0, opened = 0;
	bool shared = false;
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

class StatsFile
{
public:
	StatsFile() = default;
	~StatsFile();
	StatsFile(const StatsFile &) = delete;
	StatsFile &operator=(const StatsFile &) = delete;

	// False with errno; ENOMSG: it is no statistics file of this version.
	bool open(const std::string &path);
	std::optional<Figures> read() const;

private:
	int fd_ = -1;
};

// Whether the process that the figures are of is still there, and not another one with its number.
bool is_running(const Figures &f);

// Where the file of a process is, or "".
std::string file_of_process(uint32_t pid);
// Of all processes, and of those that have ended abnormally.
std::vector<std::string> all_files();
// Those of a folder.
std::vector<std::string> files_in(const std::string &folder);

// For the processes of one program, as mkdtemp() wants it.
std::string stats_folder_template();

} // namespace tool
