// SPDX-License-Identifier: MIT
//
// sigevec run: a program with the library preloaded.
#include "tool.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace tool
{

namespace
{

const char *const engines[] = {"inline", "kaio", "uring", "threads"};

struct RunOptions {
	const char *engine = nullptr;
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
	return setenv("LD_PRELOAD", (others.empty() ? library : library + ":" + others).c_str(), 1) == 0;
}

[[noreturn]] void execute(char **argv)
{
	execvp(argv[0], argv);
	int error = errno;
	int status = complain("run", argv[0], error == ENOENT ? exit_not_found : exit_cannot_run);
	fflush(stderr);
	_exit(status);
}

int run(int argc, char **argv)
{
	RunOptions o;
	Options options(run_command, argc, argv, "+e:", {{"engine", required_argument, nullptr, 'e'}});
	int status = 0;
	for (int c; (c = options.next(&status)) != 0;) {
		if (c < 0)
			return status;
		o.engine = optarg;
	}
	if (o.engine != nullptr && !is_engine(o.engine))
		return complain("run", o.engine, "no such engine; there are inline, kaio, uring and threads",
				exit_usage);
	if (options.rest() >= argc)
		return usage(run_command);

	std::string library = library_path();
	if (library.empty())
		return complain("run", "libsigevec", "the library was not found", exit_own_failure);
	// There is no way to write such a name in LD_PRELOAD.
	if (library.find_first_of(": ") != std::string::npos)
		return complain("run", library, "a path with a colon or a space cannot be preloaded", exit_own_failure);
	if (!preload(library) || (o.engine != nullptr && setenv("SIGEVEC_ENGINE", o.engine, 1) != 0))
		return complain("run", "environment", exit_own_failure);
	execute(argv + options.rest());
}

} // namespace

const Command run_command = {"run", run, "[--engine NAME] [--] PROGRAM [ARGUMENT...]",
			     "run a program with the library in place of libc's AIO",
			     "  -e, --engine NAME     use inline, kaio, uring or threads wherever it can\n"};

} // namespace tool
