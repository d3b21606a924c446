// SPDX-License-Identifier: MIT
//
// A process by the number that it has for itself, and by the one that it has for the caller: in a
// container (pid_namespaces(7)) they differ, and two containers have the same numbers.
#pragma once

#include <cstdint>
#include <optional>

namespace tool {

struct ProcessId {
	uint32_t number;     // for itself
	uint64_t name_space; // inode of its PID namespace, 0: not known

	bool operator==(const ProcessId &) const = default;
};

uint64_t own_pid_namespace();

// Of the process with this number here; nothing when it may not be asked.
std::optional<ProcessId> id_of(uint32_t pid);

// What number the process has here. Nothing: it has ended, or it is not seen from here.
std::optional<uint32_t> number_here(const ProcessId &id);

// Whether every process of the namespace is seen from here.
bool sees_all_of(uint64_t name_space);

} // namespace tool
