// SPDX-License-Identifier: MIT
//
// What the parts of inject have in common: injections, what came of one, and one run of a scenario.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace faults {

// ---- inject_errors.cpp

struct Call {
	long number;
	const char *name;
	bool waits; // says EINTR and EAGAIN for a while only
	bool only;  // the errors are all there are
	std::vector<int> errors;
};

// nullptr: none that is known.
const Call *call_of(long number);
std::string name_of(long number);
std::vector<int> errors_of(long number);

// ---- inject_run.cpp

struct Place {
	long number;
	uintptr_t site; // in the library
	auto operator<=>(const Place &) const = default;
};

struct Injection {
	std::string scenario;
	Place place{};
	unsigned turn = 0; // from 1; 0: none, a counting run
	int error = 0;
	bool onwards = false;
	std::string name() const;
};

struct Verdict {
	std::vector<std::string> wrong;
	bool hung = false;
	unsigned hits = 0;
	std::string left;
	unsigned threads = 0;
	std::map<Place, unsigned> counted;
};

/// Where pidfd_getfd is refused, files travel by sockets (ARCHITECTURE.md), which stay.
const char *ways(const Injection &i);
/// Idle workers stay for a while.
unsigned most_threads(const Verdict &without);
/// without: what was left without a fault; nullptr: a counting run.
Verdict run_scenario(const char *program, const Injection &i, unsigned limit,
		     const Verdict *without);

// ---- inject_busy.cpp

std::vector<std::string> names_in(const std::string &folder);
std::string line_of(const std::string &path);
/// Seconds in which a thread has run or waited for a processor.
double busy(const std::string &task);
/// The same of all threads of a process and of its children, added up.
double all_busy(const std::string &process);
/// As busy(), of the kernel's threads that deliver what goes over the loopback device: on a loaded
/// machine they wait like everybody, half a minute at times.
double softirqs_busy();
/// Whether a datagram over the loopback device arrives within a second, from each processor. On a
/// loaded machine there are half minutes in which none does, whoever sends it.
bool network_works();

} // namespace faults
