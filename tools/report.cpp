// SPDX-License-Identifier: MIT
#include "report.hpp"

#include "json.hpp"
#include "text.hpp"

#include <algorithm>
#include <ctime>

namespace tool {

namespace {

struct Line {
	const char *operation, *engine, *kind;
	uint64_t requests, errors, bytes;
	const Latencies *latency;
};

// The cells in which something has happened, the busiest first.
std::vector<Line> lines_of(const Figures &f)
{
	std::vector<Line> v;
	if (f.processes == 0)
		return v;
	for (unsigned o = 0; o < layout::operations; o++)
		for (unsigned e = 0; e < layout::engines; e++)
			for (unsigned k = 0; k < layout::kinds; k++)
				if (unsigned i = layout::cell_of(o, e, k); f.requests[i] != 0)
					v.push_back({layout::operation_names[o],
						     layout::engine_names[e], layout::kind_names[k],
						     f.requests[i], f.latency[i].errors, f.bytes[i],
						     &f.latency[i]});
	std::stable_sort(v.begin(), v.end(),
			 [](const Line &a, const Line &b) { return a.requests > b.requests; });
	return v;
}

// Any number may be in a file of another's.
uint64_t per_second(uint64_t n, double per)
{
	double v = static_cast<double>(n) * per;
	return v < 0x1p64 ? static_cast<uint64_t>(v) : UINT64_MAX;
}

void print_lines(const Figures &f, const ReportStyle &style, FILE *to)
{
	bool rate = style.seconds > 0;
	print(to, "%-9s %-7s %-6s %9s %7s %10s %8s %8s %8s\n", "operation", "engine", "kind",
	      rate ? "req/s" : "requests", rate ? "err/s" : "errors", rate ? "bytes/s" : "bytes",
	      "p50", "p99", "max");
	double per = rate ? 1 / style.seconds : 1;
	for (const Line &l : lines_of(f))
		print(to, "%-9s %-7s %-6s %9.0f %7.0f %10s %8s %8s %8s\n", l.operation, l.engine,
		      l.kind, static_cast<double>(l.requests) * per,
		      static_cast<double>(l.errors) * per, size(per_second(l.bytes, per)),
		      duration_or_dash(l.latency->percentile(0.5)),
		      duration_or_dash(l.latency->percentile(0.99)),
		      duration_or_dash(l.latency->most()));
}

void print_outstanding(const Figures &f, FILE *to)
{
	bool any = false;
	for (unsigned i = 0; i < f.outstanding.size(); i++) {
		if (f.outstanding[i] == 0)
			continue;
		print(to, "%s %u %s of %s", any ? "," : "outstanding:", f.outstanding[i],
		      layout::operation_names[i / layout::kinds],
		      layout::kind_names[i % layout::kinds]);
		any = true;
	}
	print(to, "%s\n", any ? "" : "outstanding: none");
}

void print_channels(const Figures &f, FILE *to)
{
	if (f.channels.empty())
		return;
	print(to, "\n%-7s %7s %11s %7s %7s %7s %10s %8s %8s\n", "channel", "pid", "outstanding",
	      "queued", "most", "limit", "delivered", "refused", "dropped");
	for (const ChannelFigures &c : f.channels)
		print(to, "fd %-4u %7u %11u %7u %7u %7u %10u %8u %8u\n", c.fd, c.pid, c.outstanding,
		      c.queued, c.high_water, c.limit, c.delivered, c.refused, c.dropped);
}

void print_text(const Figures &f, const std::string &heading, const ReportStyle &style, FILE *to)
{
	print(to, "%s\n\n", heading);
	print_lines(f, style, to);
	print_outstanding(f, to);
	print_channels(f, to);
	print(to, "\n");
	for (const auto &[name, value] : f.counters)
		if (value != 0 || style.all_counters)
			print(to, "%s %u\n", name, value);
}

void write_json(const Figures &f, const std::string &heading, const ReportStyle &style, FILE *to)
{
	Json j(to, style.in_line);
	j.object()
		.text("what", heading)
		.number("processes", f.processes)
		.number("pid", f.pid)
		.text("program", f.program);
	j.real("seconds", style.seconds).object("counters");
	for (const auto &[name, value] : f.counters)
		j.number(name.c_str(), value);
	j.end().array("requests");
	for (const Line &l : lines_of(f)) {
		j.object()
			.text("operation", l.operation)
			.text("engine", l.engine)
			.text("kind", l.kind)
			.number("requests", l.requests)
			.number("errors", l.errors)
			.number("bytes", l.bytes)
			.number_or_null("p50_ns", l.latency->percentile(0.5))
			.number_or_null("p99_ns", l.latency->percentile(0.99))
			.number_or_null("max_ns", l.latency->most())
			.end();
	}
	j.end().array("outstanding");
	for (unsigned i = 0; i < f.outstanding.size(); i++)
		if (f.outstanding[i] != 0)
			j.object()
				.text("operation", layout::operation_names[i / layout::kinds])
				.text("kind", layout::kind_names[i % layout::kinds])
				.number("requests", f.outstanding[i])
				.end();
	j.end().array("channels");
	for (const ChannelFigures &c : f.channels)
		j.object()
			.number("pid", c.pid)
			.number("fd", c.fd)
			.number("outstanding", c.outstanding)
			.number("queued", c.queued)
			.number("high_water", c.high_water)
			.number("limit", c.limit)
			.number("delivered", c.delivered)
			.number("refused", c.refused)
			.number("dropped", c.dropped)
			.end();
	j.end().end();
}

} // namespace

void report(const Figures &f, const std::string &heading, const ReportStyle &style, FILE *to)
{
	if (style.json)
		write_json(f, heading, style, to);
	else
		print_text(f, heading, style, to);
}

std::string duration(uint64_t ns)
{
	static const struct {
		double unit;
		const char *name;
	} units[] = {{1e9, "s"}, {1e6, "ms"}, {1e3, "us"}, {1, "ns"}};
	char text[32];
	auto v = static_cast<double>(ns);
	for (const auto &u : units)
		if (v >= u.unit || u.unit == 1) {
			snprintf(text, sizeof text, "%.3g %s", v / u.unit, u.name);
			break;
		}
	return text;
}

std::string duration_or_dash(std::optional<uint64_t> ns)
{
	return ns ? duration(*ns) : "-";
}

std::string size(uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	auto v = static_cast<double>(bytes);
	unsigned u = 0;
	for (; v >= 1024 && u < 6; u++)
		v /= 1024;
	char text[32];
	snprintf(text, sizeof text, u == 0 ? "%.0f %s" : "%.1f %s", v, units[u]);
	return text;
}

std::string date(uint64_t ns)
{
	auto seconds = static_cast<time_t>(ns / 1000000000);
	struct tm t;
	char text[64] = "";
	if (localtime_r(&seconds, &t) != nullptr)
		strftime(text, sizeof text, "%F %T", &t);
	return text;
}

} // namespace tool
