// SPDX-License-Identifier: MIT
//
// What an ELF file says of itself: kind, needed libraries, and those of its dynamic symbols that
// are asked for. Files of either class of this machine's byte order are read; nothing in a file is
// trusted: every table has a size that it cannot exceed, every name a length.
#pragma once

#include "file.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tool {

struct Symbol {
	std::string name;
	std::string version; // "" without
	bool defined;
};

struct Elf {
	bool wide;      // 64 bits
	bool own_order; // this machine's byte order: the rest has been read
	uint16_t machine;
	uint16_t type;              // ET_*
	bool dynamic;               // has a dynamic section
	std::string interpreter;    // "" without
	std::string rpath, runpath; // where its libraries are looked for
	std::vector<std::string> needed;
	std::vector<Symbol> symbols; // each once
};

// Nothing: no ELF file, or a broken one. `wanted' says of a name whether the symbol matters.
std::optional<Elf> read_elf(const RegularFile &file, bool (*wanted)(std::string_view name));

// "x86-64", "AArch64", ...
std::string machine_name(uint16_t machine, bool wide);

} // namespace tool
