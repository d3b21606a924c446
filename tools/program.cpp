// SPDX-License-Identifier: MIT
#include "program.hpp"

#include "tool.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <iterator>
#include <sstream>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utility>

namespace tool {

namespace {

constexpr const char *names[] = {
	"aio_read",     "aio_write",   "aio_fsync",    "aio_error",     "aio_return",
	"aio_suspend",  "aio_cancel",  "lio_listio",   "aio_read64",    "aio_write64",
	"aio_fsync64",  "aio_error64", "aio_return64", "aio_suspend64", "aio_cancel64",
	"lio_listio64", "aio_init",    "aio_readv",    "aio_writev",    "aio_waitcomplete",
};

// As much of it as the kernel reads.
constexpr size_t first_line_bytes = 256;

std::string base_name(const std::string &path)
{
	return path.substr(path.rfind('/') + 1);
}

std::string privileges_of(const RegularFile &file)
{
	const struct stat &st = file.status();
	if ((st.st_mode & S_ISUID) != 0)
		return "set-user-ID " + user_name(st.st_uid);
	if ((st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		return "set-group-ID";
	if (fgetxattr(file.descriptor(), "security.capability", nullptr, 0) > 0)
		return "file capabilities";
	return "";
}

// What runs a script: the program of its first line; behind env(1) the one that env looks for.
std::string script_interpreter(const std::string &content)
{
	std::istringstream words(content.substr(2, content.find('\n') - 2));
	std::string word;
	words >> word;
	if (base_name(word) != "env")
		return word;
	while (words >> word)
		if (word[0] != '-' && word.find('=') == std::string::npos)
			return word;
	return "";
}

void judge_elf(Program &p)
{
	const Elf &e = p.elf;
	std::string machine = machine_name(e.machine, e.wide);
	if (!is_native(e)) {
		p.kind = ProgramKind::foreign;
		p.description = "program for another architecture" +
				(e.own_order ? " (" + machine + ")" : std::string());
	} else if (e.type != ET_EXEC && e.type != ET_DYN) {
		p.kind = ProgramKind::other;
		p.description = "ELF file that is no program";
	} else if (e.interpreter.empty() && e.dynamic && !e.needed.empty()) {
		p.kind = ProgramKind::library;
		p.description = "shared library, " + machine;
	} else if (e.interpreter.empty()) {
		p.kind = ProgramKind::static_;
		p.description = "statically linked program, " + machine;
	} else if (base_name(e.interpreter) != base_name(own_program().interpreter)) {
		p.kind = ProgramKind::foreign_loader;
		p.description = "program of another C library (its dynamic linker is " +
				e.interpreter + ")";
	} else {
		p.kind = ProgramKind::dynamic;
		p.description = "dynamically linked program, " + machine;
	}
}

void judge(Program &p)
{
	std::string begin = p.file->part(0, first_line_bytes);
	if (auto e = read_elf(*p.file, is_any_aio)) {
		p.elf = *e;
		judge_elf(p);
	} else if (begin.starts_with("#!") && !script_interpreter(begin).empty()) {
		p.kind = ProgramKind::script;
		p.interpreter = script_interpreter(begin);
		p.description = "script for " + p.interpreter;
	} else {
		p.kind = ProgramKind::other;
		p.description = begin.starts_with(ELFMAG)
					? "broken ELF file"
					: "no program: neither an ELF file nor a script";
	}
}

// A name between two zeros.
bool mentions_aio(std::string_view content)
{
	for (size_t at = 0; (at = content.find("io_", at)) != std::string_view::npos; at += 3) {
		if (at < 2 || content[at - 2] != '\0')
			continue;
		size_t end = content.find('\0', at);
		if (end != std::string_view::npos && is_aio(content.substr(at - 1, end - at + 1)))
			return true;
	}
	return false;
}

} // namespace

std::string find_program(const std::string &name)
{
	if (name.find('/') != std::string::npos)
		return name;
	const char *path = getenv("PATH");
	std::istringstream folders(path != nullptr ? path : "/bin:/usr/bin");
	for (std::string folder; std::getline(folders, folder, ':');) {
		std::string candidate = (folder.empty() ? "." : folder) + "/" + name;
		struct stat st;
		if (stat(candidate.c_str(), &st) == 0 && S_ISREG(st.st_mode) &&
		    access(candidate.c_str(), X_OK) == 0)
			return candidate;
	}
	return "";
}

std::optional<Program> look_at_program(const std::string &path)
{
	auto file = RegularFile::open(path);
	if (!file)
		return {};
	Program p{};
	p.path = path;
	p.file = std::move(file);
	p.privileges = privileges_of(*p.file);
	p.executable = (p.file->status().st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) != 0;
	judge(p);
	return p;
}

const Elf &own_program()
{
	static const Elf e = [] {
		auto file = RegularFile::open("/proc/self/exe");
		return file ? read_elf(*file, is_any_aio).value_or(Elf{}) : Elf{};
	}();
	return e;
}

bool is_native(const Elf &e)
{
	return e.own_order && e.machine == own_program().machine && e.wide == own_program().wide;
}

bool is_aio(std::string_view name)
{
	return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

bool is_libaio(std::string_view name)
{
	static constexpr std::string_view libaio[] = {
		"io_setup",      "io_destroy",      "io_submit",     "io_cancel",
		"io_getevents",  "io_pgetevents",   "io_queue_init", "io_queue_run",
		"io_queue_wait", "io_queue_release"};
	return std::find(std::begin(libaio), std::end(libaio), name) != std::end(libaio);
}

bool is_any_aio(std::string_view name)
{
	return is_aio(name) || is_libaio(name);
}

bool mentions_aio(const RegularFile &file)
{
	constexpr uint64_t step = 1 << 20, longest = 32;
	uint64_t left = 256 << 20;
	for (auto at = file.data_from(0); at && left > 0; at = file.data_from(*at + step)) {
		// With what the one before may have begun.
		uint64_t begin = *at > longest ? *at - longest : 0;
		std::string some = file.part(begin, step + longest);
		if (some.empty())
			break;
		if (mentions_aio(some))
			return true;
		left -= std::min<uint64_t>(left, some.size());
	}
	return false;
}

} // namespace tool
