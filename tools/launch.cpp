// SPDX-License-Identifier: MIT
#include "launch.hpp"

#include "loader.hpp"
#include "program.hpp"
#include "tool.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/wait.h>
#include <unistd.h>

namespace tool {

namespace {

const char *const engines[] = {"inline", "kaio", "uring", "threads"};

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

} // namespace

bool is_engine(const char *name)
{
	for (const char *e : engines)
		if (strcmp(e, name) == 0)
			return true;
	return false;
}

int set_environment(const std::string &program, const Preload &p)
{
	std::string library = library_path();
	if (library.empty())
		return complain(p.command, "libsigevec", "the library was not found",
				exit_own_failure);
	// There is no way to write such a name in LD_PRELOAD.
	if (library.find_first_of(": ") != std::string::npos)
		return complain(p.command, library,
				"a path with a colon or a space cannot be preloaded",
				exit_own_failure);
	std::string aio = uses_libaio(program) ? libaio_library_path() : "",
		    event = p.libevent ? libevent_library_path() : "";
	if (p.libevent && event.empty())
		return complain(p.command, "libsigevec_event",
				"the library for programs that use libevent was not found",
				exit_own_failure);
	if (!preload(library) || (!aio.empty() && !preload(aio)) ||
	    (!event.empty() && !preload(event)) ||
	    (p.engine != nullptr && setenv("SIGEVEC_ENGINE", p.engine, 1) != 0))
		return complain(p.command, "environment", exit_own_failure);
	return 0;
}

[[noreturn]] void execute(const char *command, char **argv)
{
	execvp(argv[0], argv);
	int error = errno;
	int status = complain(command, argv[0], error == ENOENT ? exit_not_found : exit_cannot_run);
	fflush(stderr);
	_exit(status);
}

bool Child::start(const char *command, char **argv)
{
	sigset_t all, old;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	fflush(nullptr);
	child = fork();
	if (child == 0) {
		sigprocmask(SIG_SETMASK, &old, nullptr);
		execute(command, argv);
	}
	int error = errno;
	bool started = child > 0;
	if (started)
		leave_signals_to_program();
	sigprocmask(SIG_SETMASK, &old, nullptr);
	errno = error;
	if (!started)
		complain(command, "fork");
	return started;
}

bool Child::ended(bool wait)
{
	int w;
	pid_t p;
	while ((p = waitpid(child, &w, wait ? 0 : WNOHANG)) < 0 && errno == EINTR)
		;
	if (p == 0)
		return false;
	child = 0;
	status_ = p > 0 ? status_of(w) : exit_own_failure;
	return true;
}

} // namespace tool
