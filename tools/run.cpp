// SPDX-License-Identifier: MIT
//
// sigevec run: a program with the library preloaded; with --stats waits for its end and tells what
// it did.
#include "launch.hpp"
#include "report.hpp"
#include "stats_files.hpp"
#include "tool.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace tool {

namespace {

struct RunOptions {
	const char *engine = nullptr;
	bool stats = false, json = false, libevent = false;
	const char *output = nullptr;
};

// What all processes of the program have left in the folder. False: it could not be written.
bool tell(const std::string &folder, const RunOptions &o, const std::string &program,
	  Output &output)
{
	Figures all;
	for_each_entry_in(folder, [&](const StatsEntry &e) {
		auto file = e.open();
		if (auto f = file ? read_figures(*file) : std::nullopt)
			all.add(*f);
		e.remove();
	});
	rmdir(folder.c_str());
	FILE *to = output.is_open() ? output.begin() : stderr;
	if (all.processes == 0 && !o.json)
		complain("run", program, "it has not used the library; 'sigevec check' may say why",
			 0);
	else
		report(all,
		       program + ": " + std::to_string(all.processes) +
			       (all.processes == 1 ? " process" : " processes"),
		       {.json = o.json, .all_counters = o.json}, to);
	return to == stderr || output.finish() || complain("run", o.output) == 0;
}

int run_with_stats(char **argv, const RunOptions &o)
{
	Output output;
	if (o.output != nullptr && !output.open(o.output))
		return complain("run", o.output, exit_own_failure);
	std::string folder = make_run_folder();
	if (folder.empty())
		return complain("run", "a folder for the statistics", exit_own_failure);
	setenv("SIGEVEC_STATS", (folder + "/").c_str(), 1);
	Child child;
	int status = exit_own_failure;
	if (child.start("run", argv)) {
		child.ended(true);
		status = child.status();
	}
	bool told = tell(folder, o, argv[0], output);
	return told || status != 0 ? status : exit_own_failure;
}

// nullptr, or what is wrong with the value, which is not there where it need not be.
const char *set(RunOptions &o, int c, const char *value)
{
	switch (c) {
	case 'e':
		o.engine = value;
		return nullptr;
	case 'o':
		o.output = value;
		return nullptr;
	case 'l':
		o.libevent = true;
		return nullptr;
	default:
		o.stats = true;
		o.json = value != nullptr && strcmp(value, "json") == 0;
		return value == nullptr || o.json || strcmp(value, "text") == 0
			       ? nullptr
			       : "the statistics are text or json";
	}
}

int run(int argc, char **argv)
{
	RunOptions o;
	Options options(run_command, argc, argv, "+e:o:",
			{{"engine", required_argument, nullptr, 'e'},
			 {"libevent", no_argument, nullptr, 'l'},
			 {"stats", optional_argument, nullptr, 's'},
			 {"output", required_argument, nullptr, 'o'}});
	if (auto over = options.read([&](int c) { return set(o, c, optarg); }); over)
		return *over;
	if (o.engine != nullptr && !is_engine(o.engine))
		return complain("run", o.engine,
				"no such engine; there are inline, kaio, uring and threads",
				exit_usage);
	if (o.output != nullptr && !o.stats)
		return complain("run", o.output, "--output is where --stats tells", exit_usage);
	if (options.rest() >= argc) {
		complain("run", "PROGRAM", "none is named", exit_usage);
		return usage(run_command);
	}

	if (int failed = set_environment(argv[options.rest()], {"run", o.engine, o.libevent});
	    failed != 0)
		return failed;
	if (!o.stats)
		execute("run", argv + options.rest());
	return run_with_stats(argv + options.rest(), o);
}

} // namespace

const Command run_command = {
	"run", run,
	"[--engine NAME] [--libevent] [--stats[=json]] [--output FILE] [--] PROGRAM [ARGUMENT...]",
	"run a program with the library in place of libc's AIO",
	"  -e, --engine NAME     use inline, kaio, uring or threads wherever it can\n"
	"      --libevent        libevent's bufferevents, with fewer system calls\n"
	"      --stats[=json]    at the end tell on standard error what the program did\n"
	"  -o, --output FILE     tell it in FILE instead\n"};

} // namespace tool
