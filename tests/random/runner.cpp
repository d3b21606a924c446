// SPDX-License-Identifier: MIT
#include "runner.hpp"

#include "report.hpp"
#include "world.hpp"

#include <glob.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace calls {

namespace {

[[noreturn]] void in_child(const Sequence &sequence, unsigned seconds)
{
	signal(SIGALRM, SIG_DFL);
	alarm(seconds);
	run_all(sequence);
#ifdef __SANITIZE_ADDRESS__
	_exit(0); // what a sequence leaves outstanding is no leak
#else
	exit(0);
#endif
}

void remove_files(pid_t child)
{
	for (const char *const folder : {"/var/tmp", "/dev/shm"}) {
		const std::string pattern =
			std::string(folder) + "/random-" + std::to_string(child) + "-*";
		glob_t found;
		if (glob(pattern.c_str(), 0, nullptr, &found) == 0)
			for (size_t i = 0; i < found.gl_pathc; ++i)
				unlink(found.gl_pathv[i]);
		globfree(&found);
	}
}

/// Where the threads of a sequence that hangs are.
std::string last_lines()
{
	std::string all;
	for (const auto &of_thread : report().lines) {
		std::string lines = of_thread;
		if (lines.size() > 1)
			all += " " + lines.substr(lines.rfind('\n', lines.size() - 2) + 2);
		if (!all.empty() && all.back() == '\n')
			all.pop_back();
	}
	return all;
}

std::string verdict(int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return {};
	if (report().failed)
		return report().fault;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		return "hung at" + last_lines();
	return WIFSIGNALED(status) ? std::string("killed by ") + strsignal(WTERMSIG(status))
				   : "exit status " + std::to_string(WEXITSTATUS(status));
}

} // namespace

unsigned seconds_until_hung()
{
	const char *const text = getenv("SIGEVEC_HANG_SECONDS");
	return text != nullptr ? unsigned(atoi(text)) : 60 * slowness;
}

std::string run(const Sequence &sequence, unsigned seconds)
{
	empty_report();
	fflush(nullptr);
	const pid_t child = fork();
	if (child == 0)
		in_child(sequence, seconds);
	int status = 0;
	if (child < 0 || waitpid(child, &status, 0) != child)
		return "no process";
	remove_files(child);
	return verdict(status);
}

} // namespace calls
