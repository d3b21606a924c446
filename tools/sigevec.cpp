// SPDX-License-Identifier: MIT
//
// sigevec(1): one tool for the library; each subcommand has a file of its own.
#include "text.hpp"
#include "tool.hpp"

#include <clocale>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>

namespace {

const tool::Command *const commands[] = {
	&tool::run_command, &tool::info_command,  &tool::check_command, &tool::stat_command,
	&tool::top_command, &tool::trace_command, &tool::bench_command};

void print_summary(FILE *to)
{
	tool::print(to, "usage:\n");
	for (const tool::Command *c : commands)
		tool::print(to, "  sigevec %s %s\n", c->name, c->synopsis);
	tool::print(to, "\nPOSIX asynchronous I/O on io_uring, kernel AIO and threads:\n");
	for (const tool::Command *c : commands)
		tool::print(to, "  %-6s %s\n", c->name, c->summary);
	tool::print(to, "\n'sigevec COMMAND --help' tells more, 'man 1 sigevec' all.\n");
}

bool is(const char *word, const char *a, const char *b)
{
	return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

int begin(int argc, char **argv)
{
	if (argc < 2) {
		print_summary(stderr);
		return tool::exit_usage;
	}
	for (const tool::Command *c : commands)
		if (strcmp(argv[1], c->name) == 0)
			return c->run(argc - 1, argv + 1);
	if (is(argv[1], "--help", "-h") || strcmp(argv[1], "help") == 0) {
		print_summary(stdout);
		return tool::finish_output("help", 0);
	}
	if (is(argv[1], "--version", "-V")) {
		tool::print_version();
		return tool::finish_output("version", 0);
	}
	tool::print(stderr, "sigevec: %s: no such command\nTry 'sigevec --help'.\n", argv[1]);
	return tool::exit_usage;
}

// For want of memory, as a rule.
int give_up(const char *command, const char *why)
{
	bool answers = strcmp(command, "check") == 0; // its 1 is an answer
	return tool::complain(command, "it cannot go on", why,
			      strcmp(command, "run") == 0 ? tool::exit_own_failure
			      : answers                   ? tool::exit_usage
							  : tool::exit_failed);
}

} // namespace

int main(int argc, char **argv)
{
	setlocale(LC_CTYPE, ""); // which bytes are characters
	try {
		return begin(argc, argv);
	} catch (const std::bad_alloc &) {
		return give_up(argv[1], "there is not enough memory");
	} catch (const std::exception &e) {
		return give_up(argv[1], e.what());
	}
}
