// SPDX-License-Identifier: MIT
//
// sigevec run: a program with the library preloaded; with --stats waits for its end and tells what
// it did.
#include "loader.hpp"
#include "program.hpp"
#include "report.hpp"
#include "stats_files.hpp"
#include "tool.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/wait.h>
#include <unistd.h>

namespace tool {

namespace {

const char *const engines[] = {"inline", "kaio", "uring", "threads"};

struct RunOptions {
	const char *engine = nullptr;
	bool stats = false, json = false, libevent = false;
	const char *output = nullptr;
};

bool is_engine(const char *name)
{
	for (const char *e : engines)
		if (strcmp(e, name) == 0)
			return true;
	return false;
}

// Puts the library before what is preloaded already, unless it is among that.
bool preload(const std::string &library)
{
	const char *value = getenv("LD_PRELOAD");
	std::string others = value != nullptr ? value : "";
	for (size_t at = 0; at < others.size();) {
		size_t end = others.find_first_of(": ", at);
		if (others.substr(at, end - at) == library)
			return true;
		at = end == std::string::npos ? others.size() : end + 1;
	}
	return setenv("LD_PRELOAD", (others.empty() ? library : library + ":" + others).c_str(),
		      1) == 0;
}

// Whether the program, or a library that is loaded with it, asks for functions of libaio. A
// script's are its interpreter's.
bool uses_libaio(const std::string &name)
{
	constexpr int most = 4; // as the kernel
	auto p = look_at_program(find_program(name));
	for (int i = 0; p && p->kind == ProgramKind::script && i < most; i++)
		p = look_at_program(find_program(p->interpreter));
	if (!p || p->kind != ProgramKind::dynamic)
		return false;
	auto asks = [](const Elf &e) {
		return std::any_of(e.symbols.begin(), e.symbols.end(),
				   [](const Symbol &s) { return !s.defined && is_libaio(s.name); });
	};
	Loaded l = list_loaded(*p);
	return asks(p->elf) || std::any_of(l.objects.begin(), l.objects.end(),
					   [&](const Object &o) { return asks(o.elf); });
}

[[noreturn]] void execute(char **argv)
{
	execvp(argv[0], argv);
	int error = errno;
	int status = complain("run", argv[0], error == ENOENT ? exit_not_found : exit_cannot_run);
	fflush(stderr);
	_exit(status);
}

volatile pid_t child;

void pass_on(int signal)
{
	int saved = errno;
	if (child > 0)
		kill(child, signal);
	errno = saved;
}

// The terminal sends its signals to the program as well; others are passed on, unless nobody is to
// hear them.
void leave_signals_to_program()
{
	for (int s : {SIGINT, SIGQUIT})
		signal(s, SIG_IGN);
	for (int s : {SIGTERM, SIGHUP, SIGUSR1, SIGUSR2})
		if (signal(s, pass_on) == SIG_IGN)
			signal(s, SIG_IGN);
}

int status_of(int wait_status)
{
	return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

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
	sigset_t some, old;
	sigfillset(&some);
	sigprocmask(SIG_BLOCK, &some, &old);
	fflush(nullptr);
	child = fork();
	if (child == 0) {
		sigprocmask(SIG_SETMASK, &old, nullptr);
		execute(argv);
	}
	int status = exit_own_failure;
	if (child > 0) {
		leave_signals_to_program();
		sigprocmask(SIG_SETMASK, &old, nullptr);
		int w;
		while (waitpid(child, &w, 0) < 0 && errno == EINTR)
			;
		child = 0;
		status = status_of(w);
	} else {
		complain("run", "fork");
	}
	bool told = tell(folder, o, argv[0], output);
	return told || status != 0 ? status : exit_own_failure;
}

int run(int argc, char **argv)
{
	RunOptions o;
	Options options(run_command, argc, argv, "+e:o:",
			{{"engine", required_argument, nullptr, 'e'},
			 {"libevent", no_argument, nullptr, 'l'},
			 {"stats", optional_argument, nullptr, 's'},
			 {"output", required_argument, nullptr, 'o'}});
	int status = 0;
	for (int c; (c = options.next(&status)) != 0;) {
		if (c < 0)
			return status;
		if (c == 'e') {
			o.engine = optarg;
		} else if (c == 'o') {
			o.output = optarg;
		} else if (c == 'l') {
			o.libevent = true;
		} else {
			o.stats = true;
			if (optarg != nullptr && strcmp(optarg, "json") != 0 &&
			    strcmp(optarg, "text") != 0)
				return options.wrong("the statistics are text or json");
			o.json = optarg != nullptr && strcmp(optarg, "json") == 0;
		}
	}
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

	std::string library = library_path();
	if (library.empty())
		return complain("run", "libsigevec", "the library was not found", exit_own_failure);
	// There is no way to write such a name in LD_PRELOAD.
	if (library.find_first_of(": ") != std::string::npos)
		return complain("run", library,
				"a path with a colon or a space cannot be preloaded",
				exit_own_failure);
	std::string aio = uses_libaio(argv[options.rest()]) ? libaio_library_path() : "",
		    event = o.libevent ? libevent_library_path() : "";
	if (o.libevent && event.empty())
		return complain("run", "libsigevec_event",
				"the library for programs that use libevent was not found",
				exit_own_failure);
	if (!preload(library) || (!aio.empty() && !preload(aio)) ||
	    (!event.empty() && !preload(event)) ||
	    (o.engine != nullptr && setenv("SIGEVEC_ENGINE", o.engine, 1) != 0))
		return complain("run", "environment", exit_own_failure);
	if (!o.stats)
		execute(argv + options.rest());
	return run_with_stats(argv + options.rest(), o);
}

} // namespace

const Command run_command = {
	"run", run,
	"[--engine NAME] [--libevent] [--stats[=json]] [--output FILE] [--] PROGRAM [ARGUMENT...]",
	"run a program with the library in place of libc's AIO",
	"  -e, --engine NAME     use inline, kaio, uring or threads wherever it can\n"
	"      --libevent        libevent's bufferevents wait in event channels\n"
	"      --stats[=json]    at the end tell on standard error what the program did\n"
	"  -o, --output FILE     tell it in FILE instead\n"};

} // namespace tool
