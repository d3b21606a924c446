// SPDX-License-Identifier: MIT
#include "program.hpp"

#include "tool.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utility>

namespace tool
{

namespace
{

std::string base_name(const std::string &path)
{
	return path.substr(path.rfind('/') + 1);
}

// This tool, an ordinary dynamically linked program of this system.
const Elf &own()
{
	static const Elf e = read_elf(read_file("/proc/self/exe").value_or("")).value_or(Elf{});
	return e;
}

std::string user_name(uid_t uid)
{
	const struct passwd *p = getpwuid(uid);
	return p != nullptr ? p->pw_name : std::to_string(uid);
}

std::string privileges_of(const std::string &path, const struct stat &st)
{
	if ((st.st_mode & S_ISUID) != 0)
		return "set-user-ID " + user_name(st.st_uid);
	if ((st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		return "set-group-ID";
	if (getxattr(path.c_str(), "security.capability", nullptr, 0) > 0)
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
	if (!e.own_order || e.machine != own().machine || e.wide != own().wide) {
		p.kind = ProgramKind::foreign;
		p.description =
			"program for another architecture" + (e.own_order ? " (" + machine + ")" : std::string());
	} else if (e.type != ET_EXEC && e.type != ET_DYN) {
		p.kind = ProgramKind::other;
		p.description = "ELF file that is no program";
	} else if (e.interpreter.empty() && e.dynamic && !e.needed.empty()) {
		p.kind = ProgramKind::library;
		p.description = "shared library, " + machine;
	} else if (e.interpreter.empty()) {
		p.kind = ProgramKind::static_;
		p.description = "statically linked program, " + machine;
	} else if (base_name(e.interpreter) != base_name(own().interpreter)) {
		p.kind = ProgramKind::foreign_loader;
		p.description = "program of another C library (its dynamic linker is " + e.interpreter + ")";
	} else {
		p.kind = ProgramKind::dynamic;
		p.description = "dynamically linked program, " + machine;
	}
}

void judge(Program &p)
{
	if (auto e = read_elf(p.content)) {
		p.elf = *e;
		judge_elf(p);
	} else if (p.content.starts_with("#!") && !script_interpreter(p.content).empty()) {
		p.kind = ProgramKind::script;
		p.interpreter = script_interpreter(p.content);
		p.description = "script for " + p.interpreter;
	} else {
		p.kind = ProgramKind::other;
		p.description = p.content.starts_with(ELFMAG) ? "broken ELF file"
							      : "no program: neither an ELF file nor a script";
	}
}

// "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)", "\t/lib64/ld-linux-x86-64.so.2 (0x...)", "\tlibx.so => not
// found"
void read_line(std::string line, Loaded &l)
{
	line.erase(0, line.find_first_not_of(" \t"));
	std::string name = line.substr(0, line.find(' '));
	size_t arrow = line.find(" => ");
	if (arrow != std::string::npos && line.compare(arrow + 4, 9, "not found") == 0) {
		l.missing.push_back(name);
		return;
	}
	std::string path = arrow == std::string::npos ? line : line.substr(arrow + 4);
	size_t end = path.rfind(" (0x");
	if (end != std::string::npos && path[0] == '/')
		l.paths.push_back(path.substr(0, end));
}

// Runs the command; what it says on standard output and on standard error.
std::pair<std::string, std::string> output_of(const std::vector<std::string> &command, const std::string &preload)
{
	std::string said[2];
	int out[2], err[2];
	if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0)
		return {};
	pid_t child = fork();
	if (child == 0) {
		std::vector<char *> words;
		for (const std::string &w : command)
			words.push_back(const_cast<char *>(w.c_str()));
		words.push_back(nullptr);
		dup2(out[1], STDOUT_FILENO);
		dup2(err[1], STDERR_FILENO);
		setenv("LD_PRELOAD", preload.c_str(), 1);
		setenv("LC_ALL", "C", 1);
		setenv("LD_TRACE_LOADED_OBJECTS", "1", 1); // as ldd(1)
		execv(words[0], words.data());
		_exit(127);
	}
	close(out[1]);
	close(err[1]);
	struct pollfd p[2] = {{out[0], POLLIN, 0}, {err[0], POLLIN, 0}};
	while ((p[0].fd >= 0 || p[1].fd >= 0) && (poll(p, 2, -1) > 0 || errno == EINTR))
		for (int i = 0; i < 2; i++) {
			char part[4096];
			if (p[i].fd < 0 || p[i].revents == 0)
				continue;
			ssize_t n = read(p[i].fd, part, sizeof part);
			if (n > 0)
				said[i].append(part, static_cast<size_t>(n));
			else
				p[i].fd = -1;
		}
	close(out[0]);
	close(err[0]);
	waitpid(child, nullptr, 0);
	return {said[0], said[1]};
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
		if (stat(candidate.c_str(), &st) == 0 && S_ISREG(st.st_mode) && access(candidate.c_str(), X_OK) == 0)
			return candidate;
	}
	return "";
}

std::optional<Program> look_at_program(const std::string &path)
{
	struct stat st;
	if (stat(path.c_str(), &st) != 0)
		return {};
	if (!S_ISREG(st.st_mode)) {
		errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
		return {};
	}
	auto content = read_file(path);
	if (!content)
		return {};
	Program p{};
	p.path = path;
	p.content = std::move(*content);
	p.privileges = privileges_of(path, st);
	p.executable = (st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) != 0;
	judge(p);
	return p;
}

Loaded list_loaded(const std::string &program, const std::string &preload)
{
	Loaded l;
	std::string path = program.find('/') == std::string::npos ? "./" + program : program;
	auto [out, err] = output_of({own().interpreter, path}, preload);
	std::istringstream lines(out);
	for (std::string line; std::getline(lines, line);)
		read_line(line, l);
	l.complaint = err.substr(0, err.find('\n'));
	return l;
}

} // namespace tool
