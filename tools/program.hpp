// SPDX-License-Identifier: MIT
//
// What a file is that somebody wants to run.
#pragma once

#include "elf.hpp"

#include <string>
#include <vector>

namespace tool {

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
	std::shared_ptr<const RegularFile> file;
};

// The file that a shell would run for the name, or "".
std::string find_program(const std::string &name);

// Nothing with errno: it cannot be read.
std::optional<Program> look_at_program(const std::string &path);

// The tool itself, an ordinary dynamically linked program of this system.
const Elf &own_program();
// Whether the dynamic linker that loads this tool loads the other one, too.
bool is_native(const Elf &e);

// A name of a function of POSIX AIO.
bool is_aio(std::string_view name);
// Of libaio.
bool is_libaio(std::string_view name);
// Of either.
bool is_any_aio(std::string_view name);
// Whether such a name is anywhere in the file, as dlsym would be asked for it. The first 256 MiB of
// data are searched.
bool mentions_aio(const RegularFile &file);

} // namespace tool
