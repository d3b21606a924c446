// SPDX-License-Identifier: MIT
//
// The results of sigevec bench: a table, JSON, a chart.
#include "bench_results.hpp"

#include "chart.hpp"
#include "json.hpp"
#include "text.hpp"

#include <algorithm>
#include <cstdio>
#include <sys/utsname.h>
#include <unistd.h>

namespace tool {

namespace {

Comparison comparison(const char *interface, const char *first, bool libaio)
{
	Comparison c{interface, {{first, true, "", libaio}, {"libsigevec", false, "", libaio}}};
	size_t next = 2;
	for (const char *engine : {"inline", "kaio", "uring", "threads"})
		c.sides[next++] = {engine, false, engine, libaio};
	return c;
}

} // namespace

const Comparison posix_aio = comparison("POSIX AIO", "glibc", false);
const Comparison libaio = comparison("libaio", "kernel", true);

namespace {

std::string rate(double v)
{
	char text[32];
	if (v >= 9.95e5)
		snprintf(text, sizeof text, "%.2f M/s", v / 1e6);
	else if (v >= 995)
		snprintf(text, sizeof text, v >= 99500 ? "%.0f k/s" : "%.1f k/s", v / 1e3);
	else
		snprintf(text, sizeof text, "%.0f /s", v);
	return text;
}

std::string times(double v)
{
	char text[32];
	snprintf(text, sizeof text, v >= 9.95 ? "%.0f x" : "%.2f x", v);
	return text;
}

// At the right of a column as wide as the side's name, or a number of thousands.
std::string in_column(const Side &s, const std::string &text)
{
	constexpr size_t least = 5;
	size_t width = std::max(least, s.name.size());
	return std::string(width - std::min(width, text.size()), ' ') + text;
}

std::string thousands(double v)
{
	char text[32];
	snprintf(text, sizeof text, v >= 99950 ? "%.0f" : v >= 9995 ? "%.1f" : "%.2f", v / 1e3);
	return text;
}

} // namespace

void print_table(const std::vector<Result> &results, const BenchOptions &o)
{
	const Side *sides = o.compared->sides;
	print(stdout, "%-25s", "thousand requests/s");
	for (size_t i = 0; i < side_count; i++)
		print(stdout, " %s", in_column(sides[i], sides[i].name));
	print(stdout, " %9s\n", "to " + sides[0].name);
	for (const Result &r : results) {
		print(stdout, "%-25s", r.work.name);
		for (size_t i = 0; i < side_count; i++)
			print(stdout, " %s",
			      in_column(sides[i],
					r.runs[i].empty() ? "-" : thousands(r.median(i))));
		print(stdout, " %9s\n", r.to_first(1) > 0 ? times(r.to_first(1)) : "-");
	}
	for (const Result &r : results)
		for (size_t i = 0; i < side_count; i++)
			if (!r.error[i].empty())
				print(stdout, "%s, %s: %s\n", r.work.name, sides[i].name,
				      r.error[i]);
	print(stdout, "\n\"libsigevec\" chooses for each request; an engine was used wherever "
		      "it can be,\nthreads where not.\n");
}

namespace {

std::string system_text()
{
	struct utsname u;
	return uname(&u) == 0
		       ? std::string(u.sysname) + " " + u.release + ", " +
				 std::to_string(sysconf(_SC_NPROCESSORS_ONLN)) + " processors"
		       : "";
}

} // namespace

void print_json(const std::vector<Result> &results, const char *path, const BenchOptions &o)
{
	Json j(stdout);
	j.object()
		.text("path", path)
		.text("system", system_text())
		.number("block", o.block)
		.real("seconds", o.seconds)
		.number("rounds", o.rounds);
	j.array("results");
	for (const Result &r : results)
		for (size_t i = 0; i < side_count; i++) {
			const Side &s = o.compared->sides[i];
			j.object()
				.text("work", r.work.name)
				.text("operation", r.work.write ? "write" : "read")
				.boolean("direct", r.work.direct);
			j.number("depth", r.work.depth).text("side", s.name);
			if (r.runs[i].empty())
				j.text("error", r.error[i]);
			j.real("operations_per_second", r.median(i))
				.real(("to_" + o.compared->sides[0].name).c_str(), r.to_first(i))
				.array("runs");
			for (double v : r.runs[i])
				j.real(nullptr, v);
			j.end().end();
		}
	j.end().end();
}

bool write_svg(const std::vector<Result> &results, const BenchOptions &o, Output &output)
{
	std::vector<Group> groups;
	for (const Result &r : results) {
		Group g{r.work.name, {}};
		for (size_t i = 0; i < side_count; i++)
			if (!r.runs[i].empty())
				g.bars.push_back(
					{o.compared->sides[i].name, r.median(i),
					 rate(r.median(i)) +
						 (i != 0 && r.to_first(i) > 0
							  ? " (" + times(r.to_first(i)) + ")"
							  : ""),
					 i == 0});
		if (!g.bars.empty())
			groups.push_back(g);
	}
	write_chart(output.begin(),
		    std::string(o.compared->interface) +
			    ": operations per second, and compared with " +
			    (o.compared->sides[0].libaio ? "the kernel's own" : "glibc"),
		    system_text() + "; blocks of " + std::to_string(o.block) +
			    " bytes; medians of " + std::to_string(o.rounds) + " runs",
		    groups);
	return output.finish();
}

} // namespace tool
