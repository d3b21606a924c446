// SPDX-License-Identifier: MIT
//
// What an ELF file says of itself: kind, needed libraries, dynamic symbols. Files of either class of this machine's
// byte order are read; nothing in a file is trusted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tool
{

struct Symbol {
	std::string name;
	std::string version; // "" without
	bool defined;
};

struct Elf {
	bool wide;      // 64 bits
	bool own_order; // this machine's byte order: the rest has been read
	uint16_t machine;
	uint16_t type;           // ET_*
	bool dynamic;            // has a dynamic section
	std::string interpreter; // "" without
	std::vector<std::string> needed;
	std::vector<Symbol> symbols;
};

// Nothing: no ELF file, or a broken one.
std::optional<Elf> read_elf(const std::string &content);

// "x86-64", "AArch64", ...
std::string machine_name(uint16_t machine, bool wide);

} // namespace tool
