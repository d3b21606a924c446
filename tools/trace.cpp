// SPDX-License-Identifier: MIT
//
// sigevec trace: a program with the library preloaded, and what became of each of its requests.
#include "launch.hpp"
#include "stats_files.hpp"
#include "tool.hpp"
#include "trace_output.hpp"
#include "trace_reader.hpp"

#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace tool {

namespace {

struct TraceOptions {
	Preload preload{"trace"};
	void (*write)(const Trace &, FILE *) = write_trace_text;
	const char *output = nullptr;
	const char *steps = "65536";
};

void remove_all(const std::string &folder)
{
	for_each_entry_in(folder, [](const StatsEntry &e) { e.remove(); });
	rmdir(folder.c_str());
}

// Reads while the program runs, for the ring of each process holds but its last steps.
void follow(Child &child, TraceReader &reader, const std::string &folder)
{
	constexpr double pause = 0.005;
	while (!child.ended(false)) {
		reader.read(folder, false);
		sleep_for(pause);
	}
	reader.read(folder, true);
}

// False after a complaint: it could not be written.
bool tell(const Trace &t, const TraceOptions &o, const std::string &program, Output &output)
{
	if (t.processes.empty())
		complain("trace", program,
			 "it has not used the library; 'sigevec check' may say why", 0);
	if (!output.is_open()) {
		o.write(t, stderr);
		return true;
	}
	o.write(t, output.begin());
	return output.finish() || complain("trace", o.output) == 0;
}

int trace_program(char **argv, const TraceOptions &o)
{
	Output output;
	if (o.output != nullptr && !output.open(o.output))
		return complain("trace", o.output, exit_own_failure);
	std::string folder = make_run_folder();
	if (folder.empty())
		return complain("trace", "a folder for the statistics", exit_own_failure);
	setenv("SIGEVEC_STATS", (folder + "/").c_str(), 1);
	setenv("SIGEVEC_TRACE", o.steps, 1);
	Child child;
	TraceReader reader;
	int status = exit_own_failure;
	if (child.start("trace", argv)) {
		follow(child, reader, folder);
		status = child.status();
	}
	remove_all(folder);
	bool told = tell(reader.take(), o, argv[0], output);
	return told || status != 0 ? status : exit_own_failure;
}

// nullptr, or what is wrong with the value.
const char *set(TraceOptions &o, int c, const char *value)
{
	switch (c) {
	case 'e':
		o.preload.engine = value;
		return is_engine(value)
			       ? nullptr
			       : "no such engine; there are inline, kaio, uring and threads";
	case 'l':
		o.preload.libevent = true;
		return nullptr;
	case 'o':
		o.output = value;
		return nullptr;
	case 'n':
		o.steps = value;
		return number(value, 1024, 1u << 24) ? nullptr
						     : "not a number from 1024 to 16777216";
	default:
		auto *write = c == 'j' ? write_trace_json : write_trace_page;
		if (o.write != write_trace_text && o.write != write)
			return "one form excludes the other";
		o.write = write;
		return nullptr;
	}
}

int trace(int argc, char **argv)
{
	Options options(trace_command, argc, argv, "+jwe:o:n:",
			{{"json", no_argument, nullptr, 'j'},
			 {"html", no_argument, nullptr, 'w'},
			 {"engine", required_argument, nullptr, 'e'},
			 {"libevent", no_argument, nullptr, 'l'},
			 {"output", required_argument, nullptr, 'o'},
			 {"steps", required_argument, nullptr, 'n'}});
	TraceOptions o;
	if (auto over = options.read([&](int c) { return set(o, c, optarg); }); over)
		return *over;
	if (options.rest() >= argc) {
		complain("trace", "PROGRAM", "none is named", exit_usage);
		return usage(trace_command);
	}
	if (int failed = set_environment(argv[options.rest()], o.preload); failed != 0)
		return failed;
	return trace_program(argv + options.rest(), o);
}

} // namespace

const Command trace_command = {
	"trace", trace,
	"[--json | --html] [--engine NAME] [--libevent] [--steps N] [--output FILE] [--] PROGRAM "
	"[ARGUMENT...]",
	"run a program and tell what became of each request",
	"  -j, --json            for chrome://tracing and Perfetto\n"
	"  -w, --html            a page with a picture\n"
	"  -e, --engine NAME     use inline, kaio, uring or threads wherever it can\n"
	"      --libevent        libevent's bufferevents wait in event channels\n"
	"  -n, --steps N         of a process that are kept until they are read; 65536 without it\n"
	"  -o, --output FILE     write it to FILE, not to standard error\n"};

} // namespace tool
