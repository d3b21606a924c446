// SPDX-License-Identifier: MIT
#include "users.hpp"

#include "tool.hpp"

#include <dirent.h>
#include <string>
#include <unistd.h>

namespace tool {

namespace {

// The name by which the dynamic linker has loaded it, with the whole version or without.
bool has_library(uint32_t pid)
{
	constexpr size_t most = 8 << 20; // of maps
	auto maps = read_file("/proc/" + std::to_string(pid) + "/maps", most);
	return maps && maps->find("/libsigevec.so.1") != std::string::npos;
}

} // namespace

std::vector<uint32_t> processes_with_library()
{
	std::vector<uint32_t> v;
	DIR *d = opendir("/proc");
	if (d == nullptr)
		return v;
	while (const struct dirent *e = readdir(d)) {
		auto pid = number(e->d_name, 1, 1u << 30);
		if (pid && static_cast<pid_t>(*pid) != getpid() &&
		    has_library(static_cast<uint32_t>(*pid)))
			v.push_back(static_cast<uint32_t>(*pid));
	}
	closedir(d);
	return v;
}

} // namespace tool
