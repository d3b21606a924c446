// SPDX-License-Identifier: MIT
//
// Where the statistics of processes are found, and how they are removed.
//
// Each user has a folder of his own in /dev/shm (runtime/stats_folder.hpp), with a file for each
// process and a folder for each program under `sigevec run'. A name in /dev/shm may be anybody's: a
// folder is opened, looked at, and its names are then used in what has been opened, so that nothing
// outside of it is read or removed, whatever its owner puts there meanwhile.
#pragma once

#include "figures.hpp"

#include <functional>
#include <optional>
#include <string>
#include <sys/types.h>

namespace tool {

// The file of one process. Only within the function that it is given to.
struct StatsEntry {
	int folder;
	std::string name; // the process's number
	std::string path; // to be shown
	uid_t owner;

	// Nothing with errno; EPERM: others may write to it.
	std::shared_ptr<const RegularFile> open() const;
	bool remove() const;
};

using EntryFunction = std::function<void(const StatsEntry &)>;

// Of all users whose folders can be read; of one user at most as many as his processes can be.
void for_each_entry(const EntryFunction &f);
// In a folder of the caller's own.
void for_each_entry_in(const std::string &folder, const EntryFunction &f);

struct Found {
	std::string path;
	std::shared_ptr<const RegularFile> file;
};

// The file of a process: of one that runs, what those have left who may speak for it. When it has
// ended the caller's own come first, then root's.
std::optional<Found> find_process(uint32_t pid);

// A new folder for the processes of one program; "" with errno.
std::string make_run_folder();

} // namespace tool
