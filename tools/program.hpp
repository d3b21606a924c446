// SPDX-License-Identifier: MIT
//
// What a file is that somebody wants to run, and what the dynamic linker would load for it.
#pragma once

#include "elf.hpp"

#include <string>
#include <vector>

namespace tool
{

enum class ProgramKind {
	dynamic,        // the dynamic linker of this system loads it
	static_,        // nothing can be preloaded
	foreign_loader, // another C library's dynamic linker
	foreign,        // for another machine or class
	library,        // a shared library
	script,
	other, // nothing that can be run
};

struct Program {
	std::string path;
	ProgramKind kind;
	std::string description; // in words
	std::string interpreter; // of a script: what is run
	std::string privileges;  // "set-user-ID root", ...; "" without
	bool executable;
	Elf elf;
	std::string content;
};

// The file that a shell would run for the name, or "".
std::string find_program(const std::string &name);

// Nothing with errno: it cannot be read.
std::optional<Program> look_at_program(const std::string &path);

struct Loaded {
	std::vector<std::string> paths;   // in the order of loading, without the program
	std::vector<std::string> missing; // names that were not found
	std::string complaint;            // what the dynamic linker says on standard error
};

// What the dynamic linker loads for the program with a library preloaded, without running anything of the program.
Loaded list_loaded(const std::string &program, const std::string &preload);

} // namespace tool
