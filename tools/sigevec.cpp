// SPDX-License-Identifier: MIT
//
// sigevec(1): one tool for the library; each subcommand has a file of its own.
#include "tool.hpp"

#include <cstdio>
#include <cstring>

namespace
{

const tool::Command *const commands[] = {&tool::run_command, &tool::info_command, &tool::check_command,
					 &tool::stat_command, &tool::bench_command};

void print_summary(FILE *to)
{
	fputs("usage:\n", to);
	for (const tool::Command *c : commands)
		fprintf(to, "  sigevec %s %s\n", c->name, c->synopsis);
	fputs("\nPOSIX asynchronous I/O on io_uring, kernel AIO and threads:\n", to);
	for (const tool::Command *c : commands)
		fprintf(to, "  %-6s %s\n", c->name, c->summary);
	fputs("\n'sigevec COMMAND --help' tells more, 'man 1 sigevec' all.\n", to);
}

bool is(const char *word, const char *a, const char *b)
{
	return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

} // namespace

int main(int argc, char **argv)
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
	fprintf(stderr, "sigevec: %s: no such command\nTry 'sigevec --help'.\n", argv[1]);
	return tool::exit_usage;
}
