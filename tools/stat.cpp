// SPDX-License-Identifier: MIT
//
// sigevec stat: what a program with SIGEVEC_STATS does, or has done until its crash.
#include "json.hpp"
#include "report.hpp"
#include "stats_files.hpp"
#include "text.hpp"
#include "tool.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <unistd.h>
#include <utility>

namespace tool {

namespace {

struct StatOptions {
	ReportStyle style;
	bool list = false, clear = false;
	double interval = 0;
	unsigned long count = 0; // 0: until the program ends
};

std::string heading(const Figures &f, State state, double seconds)
{
	std::string text = "pid " + std::to_string(f.pid);
	text += f.seen ? "" : " of another PID namespace";
	text += " (" + f.program + ")";
	if (f.owner != geteuid())
		text += ", says user " + user_name(f.owner);
	if (f.shared)
		text += ", the last one to open the file";
	text += std::string(", ") + name_of(state) +
		(state == State::ended ? ", had counted since " : ", counting since ");
	text += date(f.opened);
	if (seconds > 0) {
		char s[48];
		snprintf(s, sizeof s, "; the last %.1f s", seconds);
		text += s;
	}
	return text;
}

bool draw_over(const StatOptions &o)
{
	return !o.style.json && o.interval > 0 && isatty(STDOUT_FILENO) != 0;
}

int fail_to_read(const std::string &path)
{
	return errno == ENOMSG || errno == EINVAL
		       ? complain("stat", path, "not a statistics file of this version")
		       : complain("stat", path);
}

// Once, or again and again: first since the start, then of each interval.
int watch(const std::string &path, const std::shared_ptr<const RegularFile> &file, StatOptions o)
{
	std::optional<Figures> before;
	double then = 0;
	for (unsigned long n = 1;; n++) {
		auto now = file ? read_figures(*file) : std::nullopt;
		if (!now)
			return fail_to_read(path);
		double time = time_of(CLOCK_MONOTONIC);
		State state = state_of(*now);
		Figures shown = *now;
		o.style.seconds = before ? time - then : 0;
		if (before)
			shown.subtract(*before);
		if (draw_over(o))
			print(stdout, "\033[H\033[J");
		else if (n > 1 && !o.style.json)
			print(stdout, "\n");
		report(shown, heading(*now, state, o.style.seconds), o.style, stdout);
		if (fflush(stdout) != 0)
			return finish_output("stat", exit_failed);
		if (o.interval <= 0 || n == o.count || (state == State::ended && !now->shared))
			return finish_output("stat", 0);
		before = std::move(now);
		then = time;
		sleep_for(o.interval);
	}
}

void list_line(const StatsEntry &e, const Figures &f)
{
	// Without the year and the second, so that it fits a line.
	constexpr size_t year = sizeof "2026-" - 1, until_minute = sizeof "11-29 19:00" - 1;
	print(stdout, "%7u %-15s %-9s %-11s %8u %s\n", f.pid, f.program, name_of(state_of(f)),
	      date(f.opened).substr(year, until_minute), f.counter("requests"), e.path);
}

void list_object(const StatsEntry &e, const Figures &f, Json &j)
{
	j.object()
		.number("pid", f.pid)
		.text("program", f.program)
		.text("state", name_of(state_of(f)))
		.text("since", date(f.opened))
		.number("requests", f.counter("requests"))
		.text("file", e.path)
		.end();
}

int list(bool json)
{
	Json j(stdout);
	if (json)
		j.array();
	else
		print(stdout, "%7s %-15s %-9s %-11s %8s %s\n", "pid", "program", "state", "since",
		      "requests", "file");
	for_each_entry([&](const StatsEntry &e) {
		auto file = e.open();
		auto f = file ? read_figures(*file) : std::nullopt;
		if (f && json)
			list_object(e, *f, j);
		else if (f)
			list_line(e, *f);
	});
	if (json)
		j.end();
	return finish_output("stat", 0);
}

// What ended programs have left. Root removes other users', too.
int clear()
{
	for_each_entry([](const StatsEntry &e) {
		auto file = e.open();
		auto f = file ? read_figures(*file) : std::nullopt;
		if (f && state_of(*f) == State::ended && !e.remove())
			complain("stat", e.path);
	});
	return 0;
}

// Why there is nothing of a process that runs.
std::string why_none(uint32_t pid)
{
	constexpr std::string_view name = "SIGEVEC_STATS=";
	constexpr size_t most = 4 << 20; // of an environment
	auto all = read_file("/proc/" + std::to_string(pid) + "/environ", most);
	std::string_view left = all ? std::string_view(*all) : std::string_view();
	for (; !left.empty(); left.remove_prefix(std::min(left.size(), left.find('\0') + 1)))
		if (left.starts_with(name)) {
			std::string_view value = left.substr(name.size());
			return "it was started with " + std::string(name) +
			       std::string(value.substr(0, value.find('\0'))) +
			       ", but has not used the library yet, or could write nothing there";
		}
	return std::string("the process keeps no statistics: it was started without ") +
	       "SIGEVEC_STATS=1 or 'sigevec run --stats', or has not used the library yet";
}

int stat_process(const char *word, StatOptions o)
{
	auto pid = number(word, 1, 1u << 30);
	if (!pid) {
		o.style.all_counters = true;
		return watch(word, RegularFile::open(word), o);
	}
	if (auto found = find_process(static_cast<uint32_t>(*pid)))
		return watch(found->path, found->file, o);
	return complain("stat", word,
			is_process(static_cast<uint32_t>(*pid))
				? why_none(static_cast<uint32_t>(*pid))
				: "there is no such process, and none has left statistics");
}

int stat_main(int argc, char **argv)
{
	Options options(stat_command, argc, argv, "ajlc",
			{{"all", no_argument, nullptr, 'a'},
			 {"json", no_argument, nullptr, 'j'},
			 {"list", no_argument, nullptr, 'l'},
			 {"clear", no_argument, nullptr, 'c'}});
	StatOptions o;
	auto over = options.read([&](int c) -> const char * {
		(c == 'a'   ? o.style.all_counters
		 : c == 'j' ? o.style.json
		 : c == 'l' ? o.list
			    : o.clear) = true;
		return nullptr;
	});
	if (over)
		return *over;
	int words = argc - options.rest();
	char **word = argv + options.rest();
	if (o.list || o.clear) {
		bool beside = o.style.all_counters || (o.clear && (o.list || o.style.json));
		if (words != 0 || beside)
			return usage(stat_command);
		return o.list ? list(o.style.json) : clear();
	}
	if (words < 1 || words > 3)
		return usage(stat_command);
	if (words > 1) {
		auto interval = seconds(word[1]);
		auto count = words > 2 ? number(word[2], 1, 1ul << 40) : std::optional(0ul);
		if (!interval)
			return complain("stat", std::string("INTERVAL ") + word[1],
					"not a number of seconds from 0.01 to 1000000", exit_usage);
		if (!count)
			return complain("stat", std::string("COUNT ") + word[2],
					"not a number from 1 on", exit_usage);
		o.interval = *interval;
		o.count = *count;
		o.style.in_line = true;
	}
	return stat_process(word[0], o);
}

} // namespace

const Command stat_command = {
	"stat", stat_main,
	"[--all] [--json] PID|FILE [INTERVAL [COUNT]] | --list [--json] | --clear",
	"tell what a program does, or did until its crash",
	"  -a, --all             counters that are 0, too\n"
	"  -j, --json            the same as JSON; with INTERVAL an object in each line\n"
	"  -l, --list            all processes that keep statistics, or have left some\n"
	"  -c, --clear           remove what ended processes have left\n"};

} // namespace tool
