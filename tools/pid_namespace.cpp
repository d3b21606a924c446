// SPDX-License-Identifier: MIT
#include "pid_namespace.hpp"

#include "runtime/stats_folder.hpp"
#include "tool.hpp"

#include <cstdlib>
#include <dirent.h>
#include <string>
#include <sys/stat.h>

namespace tool {

namespace {

uint64_t namespace_of(const std::string &process)
{
	struct stat st;
	return ::stat(("/proc/" + process + "/ns/pid").c_str(), &st) == 0 ? st.st_ino : 0;
}

// Where one of the two is not known, the number is taken as it is.
bool is_own(uint64_t name_space)
{
	return name_space == 0 || own_pid_namespace() == 0 || name_space == own_pid_namespace();
}

// The last of the numbers is the process's own.
std::optional<uint32_t> inner_number(const std::string &process)
{
	auto numbers = status_field(process, "NSpid");
	if (!numbers)
		return {};
	const char *last = numbers->c_str() + numbers->find_last_of(" \t") + 1;
	return static_cast<uint32_t>(strtoul(last, nullptr, 10));
}

} // namespace

uint64_t own_pid_namespace()
{
	static const uint64_t own = namespace_of("self");
	return own;
}

std::optional<ProcessId> id_of(uint32_t pid)
{
	std::string process = std::to_string(pid);
	uint64_t name_space = namespace_of(process);
	auto inner = inner_number(process);
	if (name_space == 0 || !inner)
		return {};
	return ProcessId{*inner, name_space};
}

std::optional<uint32_t> number_here(const ProcessId &id)
{
	if (is_own(id.name_space))
		return id.number;
	DIR *all = opendir("/proc");
	std::optional<uint32_t> found;
	while (const struct dirent *e = all != nullptr && !found ? readdir(all) : nullptr) {
		auto pid = number(e->d_name, 1, 1u << 30);
		if (pid && id_of(static_cast<uint32_t>(*pid)) == id)
			found = static_cast<uint32_t>(*pid);
	}
	if (all != nullptr)
		closedir(all);
	return found;
}

bool sees_all_of(uint64_t name_space)
{
	return is_own(name_space) ||
	       own_pid_namespace() == sigevec::stats_folder::first_pid_namespace;
}

} // namespace tool
