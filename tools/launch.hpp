// SPDX-License-Identifier: MIT
//
// Starts a program with the library preloaded, and waits for its end: for `sigevec run' and
// `sigevec trace', whose name is in the messages.
#pragma once

#include <string>
#include <sys/types.h>

namespace tool {

struct Preload {
	const char *command;
	const char *engine = nullptr; // or the one that is to be used
	bool libevent = false;
};

bool is_engine(const char *name);

// Puts into the environment what the program needs. 0, or what to end with after a complaint.
int set_environment(const std::string &program, const Preload &p);

// In its place; ends after a complaint where it cannot be.
[[noreturn]] void execute(const char *command, char **argv);

// A program beside this one, which leaves the terminal's signals to it and passes others on.
class Child {
public:
	// False after a complaint.
	bool start(const char *command, char **argv);
	// Whether it has ended; waits for that if told so.
	bool ended(bool wait);
	// What a shell would say of its end.
	int status() const { return status_; }

private:
	int status_ = 0;
};

} // namespace tool
