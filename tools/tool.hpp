// SPDX-License-Identifier: MIT
//
// What the subcommands of sigevec(1) share: messages, exit codes, options, where the library is,
// files in one piece.
#pragma once

#include <cstdio>
#include <getopt.h>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace tool {

constexpr int exit_yes = 0, exit_no = 1, exit_failed = 1;
constexpr int exit_usage = 2;
// As env(1), nice(1) and timeout(1) have them.
constexpr int exit_own_failure = 125, exit_cannot_run = 126, exit_not_found = 127;

// A subcommand: main() for its own name and what follows.
struct Command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *synopsis; // what follows the name
	const char *summary;
	const char *help; // its options, a line each
};

extern const Command run_command, info_command, stat_command, bench_command, check_command,
	top_command, trace_command;

// "sigevec stat: WHAT: text of errno" or the given text on standard error. Returns status.
int complain(const char *command, const std::string &what, int status = exit_failed);
int complain(const char *command, const std::string &what, const std::string &why,
	     int status = exit_failed);

// The options of a subcommand. --help and --version are answered here. `letters': with '+' it stops
// at the first word that is no option.
class Options {
public:
	Options(const Command &c, int argc, char **argv, const char *letters,
		std::vector<option> list);
	// Reads them all: set() gets the letter of each one, whose value is in optarg, and returns
	// nullptr, or what is wrong with the value. Nothing; or the program is to end with this.
	template <class Set> std::optional<int> read(Set set)
	{
		int status = 0;
		for (int c; (c = next(&status)) != 0;) {
			if (c < 0)
				return status;
			if (const char *why = set(c); why != nullptr)
				return wrong(why);
		}
		return {};
	}
	// After the last option: the words that are left.
	int rest() const;

private:
	int next(int *status);
	int refuse(int c);
	// A complaint about the value of the last one. Returns exit_usage.
	int wrong(const char *why) const;

	const Command &command_;
	int argc_;
	char **argv_;
	std::string letters_;
	std::vector<option> list_;
	int last_ = 0;
};

// A file that is to be written when the work is done: opened before, so that the work is not for
// nothing, and emptied only then.
class Output {
public:
	Output() = default;
	~Output();
	Output(const Output &) = delete;
	Output &operator=(const Output &) = delete;
	// False with errno.
	bool open(const char *path);
	bool is_open() const { return file_ != nullptr; }
	FILE *begin();
	// False with errno: not everything could be written.
	bool finish();

private:
	FILE *file_ = nullptr;
	bool failed_ = false;
};

int usage(const Command &c);
void print_help(const Command &c);
void print_version();

// A number in decimals between least and most, or nothing.
std::optional<unsigned long> number(const char *s, unsigned long least, unsigned long most);

// A number of seconds from 0.01 on, or nothing.
std::optional<double> seconds(const char *s);
void sleep_for(double seconds);
// What a clock says, in seconds.
double time_of(clockid_t clock);

// The library that this tool runs with: its real path, or "".
std::string library_path();
// libsigevec_aio beside it, or "".
std::string libaio_library_path();
// That for programs that use libevent.
std::string libevent_library_path();

// Or the number.
std::string user_name(uid_t user);

// What a file of the kernel's holds, in /proc or /sys, up to `most' bytes; nothing with errno.
// Other people's: file.hpp.
std::optional<std::string> read_file(const std::string &path, size_t most);
// The first line of it, or "".
std::string first_line(const std::string &path);
// Of /proc/PROCESS/status: what follows "NAME:" in its line; nothing when there is none.
std::optional<std::string> status_field(const std::string &process, const std::string &name);

// Everything has been written to standard output, or a complaint.
int finish_output(const char *command, int status);

} // namespace tool
