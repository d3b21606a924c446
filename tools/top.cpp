// SPDX-License-Identifier: MIT
//
// sigevec top: what all processes with statistics do, again and again.
#include "json.hpp"
#include "report.hpp"
#include "stats_files.hpp"
#include "terminal.hpp"
#include "text.hpp"
#include "tool.hpp"
#include "users.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <numeric>
#include <unistd.h>
#include <utility>

namespace tool {

namespace {

// One process in the time since the last look, or since its start.
struct Row {
	uint32_t pid;
	std::string user, program, engines;
	double requests, bytes, errors, passed_on; // in a second
	uint64_t outstanding;
	std::optional<uint64_t> p50, p99;
};

struct Look {
	std::vector<Row> rows;
	unsigned silent; // processes with the library, but without statistics
};

struct Key {
	char letter;
	const char *name;
	bool (*before)(const Row &a, const Row &b);
};

constexpr Key keys[] = {
	{'r', "requests", [](const Row &a, const Row &b) { return a.requests > b.requests; }},
	{'b', "bytes", [](const Row &a, const Row &b) { return a.bytes > b.bytes; }},
	{'l', "latency", [](const Row &a, const Row &b) { return a.p99 > b.p99; }},
	{'o', "outstanding",
	 [](const Row &a, const Row &b) { return a.outstanding > b.outstanding; }},
	{'f', "fallbacks", [](const Row &a, const Row &b) { return a.passed_on > b.passed_on; }},
	{'p', "pid", [](const Row &a, const Row &b) { return a.pid < b.pid; }},
};

struct TopOptions {
	bool batch = false, json = false;
	double delay = 1;
	unsigned long count = 0; // 0: without end
	const Key *key = &keys[0];
};

// A file may be another process's the next time.
using Identity = std::pair<std::string, std::pair<uint64_t, uint64_t>>;

struct Before {
	Figures figures;
	double time;
};

// Which engines had how many of the requests: "uring 80% inline 20%".
std::string engines_of(const Figures &f)
{
	std::vector<std::pair<uint64_t, const char *>> share;
	uint64_t all = 0;
	for (unsigned e = 0; e < layout::engines; e++) {
		uint64_t n = 0;
		for (unsigned o = 0; o < layout::operations; o++)
			for (unsigned k = 0; k < layout::kinds; k++)
				n += f.requests[layout::cell_of(o, e, k)];
		share.emplace_back(n, layout::engine_names[e]);
		all += n;
	}
	std::stable_sort(share.begin(), share.end(),
			 [](const auto &a, const auto &b) { return a.first > b.first; });
	std::string text;
	for (const auto &[n, name] : share)
		if (n != 0)
			text += (text.empty() ? "" : " ") + std::string(name) + " " +
				std::to_string((n * 100 + all / 2) / all) + "%";
	return text.empty() ? "-" : text;
}

// The counters of requests that one engine has left to another (runtime/probes.hpp).
uint64_t fallbacks_of(const Figures &f)
{
	uint64_t n = 0;
	for (const auto &[name, value] : f.counters)
		if ((name.starts_with("inline_") || name.starts_with("kaio_") ||
		     name.starts_with("uring_")) &&
		    !name.ends_with("_done"))
			n += value;
	return n;
}

uint64_t sum(const std::vector<uint64_t> &v)
{
	return std::accumulate(v.begin(), v.end(), uint64_t{0});
}

Row row_of(const Figures &f, double seconds)
{
	Latencies all;
	for (const Latencies &l : f.latency)
		all.add(l);
	auto rate = [&](uint64_t n) { return static_cast<double>(n) / seconds; };
	return {f.pid,
		user_name(f.owner),
		f.program,
		engines_of(f),
		rate(sum(f.requests)),
		rate(sum(f.bytes)),
		rate(all.errors),
		rate(fallbacks_of(f)),
		sum(f.outstanding),
		all.percentile(0.5),
		all.percentile(0.99)};
}

// Looks at all processes; remembers what it has seen.
class Watch {
public:
	Look look()
	{
		std::map<Identity, Before> seen;
		Look l{{}, 0};
		std::vector<uint32_t> pids;
		for_each_entry([&](const StatsEntry &e) {
			auto file = e.open();
			auto f = file ? read_figures(*file) : std::nullopt;
			if (!f || state_of(*f) != State::running)
				return;
			Identity id{e.path, {f->process_start, f->opened}};
			auto before = before_.find(id);
			double now = time_of(CLOCK_REALTIME);
			Figures since = *f;
			double from = static_cast<double>(f->opened) * 1e-9;
			if (before != before_.end()) {
				since.subtract(before->second.figures);
				from = before->second.time;
			}
			// Clocks may be set.
			l.rows.push_back(row_of(since, std::max(now - from, 1e-3)));
			pids.push_back(f->pid);
			seen.emplace(std::move(id), Before{std::move(*f), now});
		});
		before_ = std::move(seen);
		l.silent = silent(pids);
		return l;
	}

private:
	// To look through the maps of all processes takes long: not each time.
	unsigned silent(const std::vector<uint32_t> &with_statistics)
	{
		double now = time_of(CLOCK_MONOTONIC);
		if (now >= next_) {
			users_ = processes_with_library();
			next_ = now + 10;
		}
		return static_cast<unsigned>(
			std::count_if(users_.begin(), users_.end(), [&](uint32_t pid) {
				return std::find(with_statistics.begin(), with_statistics.end(),
						 pid) == with_statistics.end() &&
				       is_process(pid);
			}));
	}

	std::map<Identity, Before> before_;
	std::vector<uint32_t> users_;
	double next_ = 0;
};

// Figures may be any numbers.
std::string size(double n)
{
	constexpr double most = 9e18;
	return tool::size(static_cast<uint64_t>(std::min(n, most)));
}

std::string rate(double n)
{
	char text[32];
	snprintf(text, sizeof text, n >= 1e6 ? "%.3g" : n >= 10 || n == 0 ? "%.0f" : "%.1f", n);
	return text;
}

void print_row(const Row &r)
{
	print(stdout, "%7u %-8s %-12s %7s %10s %7s %7s %5u %6s %s\n", r.pid, r.user, r.program,
	      rate(r.requests), size(r.bytes), duration_or_dash(r.p50), duration_or_dash(r.p99),
	      r.outstanding, rate(r.passed_on), r.engines);
}

void print_table(const Look &l, const TopOptions &o, size_t most)
{
	double requests = 0, bytes = 0, errors = 0;
	for (const Row &r : l.rows) {
		requests += r.requests;
		bytes += r.bytes;
		errors += r.errors;
	}
	std::string time = date(static_cast<uint64_t>(time_of(CLOCK_REALTIME)) * 1000000000);
	print(stdout, "%s  processes %u  req/s %s  bytes/s %s  err/s %s  by %s\n",
	      time.substr(time.find(' ') + 1), l.rows.size(), rate(requests), size(bytes),
	      rate(errors), o.key->name);
	print(stdout, "without statistics %u\n\n", l.silent);
	print(stdout, "%7s %-8s %-12s %7s %10s %7s %7s %5s %6s %s\n", "pid", "user", "program",
	      "req/s", "bytes/s", "p50", "p99", "outst", "fall/s", "engines");
	for (size_t i = 0; i < l.rows.size() && i < most; i++)
		print_row(l.rows[i]);
}

void write_json(const Look &l)
{
	Json j(stdout, true);
	j.object().number("without_statistics", l.silent).array("processes");
	for (const Row &r : l.rows) {
		j.object()
			.number("pid", r.pid)
			.text("user", r.user)
			.text("program", r.program)
			.real("requests_per_second", r.requests)
			.real("bytes_per_second", r.bytes)
			.real("errors_per_second", r.errors)
			.real("fallbacks_per_second", r.passed_on)
			.number("outstanding", r.outstanding)
			.number_or_null("p50_ns", r.p50)
			.number_or_null("p99_ns", r.p99)
			.text("engines", r.engines)
			.end();
	}
	j.end().end();
}

void sort(std::vector<Row> &rows, const Key *key)
{
	std::stable_sort(rows.begin(), rows.end(), key->before);
}

int batch(TopOptions o)
{
	Watch w;
	for (unsigned long n = 1;; n++) {
		Look l = w.look();
		sort(l.rows, o.key);
		if (o.json)
			write_json(l);
		else
			print_table(l, o, l.rows.size());
		if (fflush(stdout) != 0 || n == o.count)
			return finish_output("top", 0);
		if (!o.json)
			print(stdout, "\n");
		sleep_for(o.delay);
	}
}

const Key *key_of(int letter)
{
	for (const Key &k : keys)
		if (k.letter == letter)
			return &k;
	return nullptr;
}

int on_terminal(TopOptions o)
{
	constexpr unsigned heading = 5; // its lines, and that of the keys
	Watch w;
	Terminal screen;
	Look l = w.look();
	double next = time_of(CLOCK_MONOTONIC) + o.delay;
	for (unsigned long n = 1;;) {
		sort(l.rows, o.key);
		print(stdout, "\033[H\033[J");
		print(stdout, "q quit; sort: r requests, b bytes, l latency, o outstanding, "
			      "f fallbacks, p pid\n");
		print_table(l, o, std::max(screen.lines(), heading + 1) - heading);
		if (fflush(stdout) != 0)
			return exit_failed;
		if (n == o.count)
			return 0;
		int c = screen.wait_for_key(std::max(next - time_of(CLOCK_MONOTONIC), 0.0));
		if (c == 'q' || c == Terminal::end)
			return 0;
		if (const Key *k = key_of(c); k != nullptr)
			o.key = k;
		if (c == ' ' || time_of(CLOCK_MONOTONIC) >= next) {
			l = w.look();
			next = time_of(CLOCK_MONOTONIC) + o.delay;
			n++;
		}
	}
}

const Key *key_of(const char *name)
{
	for (const Key &k : keys)
		if (strcmp(name, k.name) == 0)
			return &k;
	return nullptr;
}

// nullptr, or what is wrong with the value.
const char *set(TopOptions &o, int c, const char *value)
{
	switch (c) {
	case 'd': {
		auto s = seconds(value);
		o.delay = s.value_or(0);
		return s ? nullptr : "not a number of seconds from 0.01 to 1000000";
	}
	case 'n': {
		auto n = number(value, 1, 1ul << 40);
		o.count = n.value_or(0);
		return n ? nullptr : "not a number from 1 on";
	}
	case 's':
		o.key = key_of(value);
		return o.key != nullptr ? nullptr
					: "sorted is by requests, bytes, latency, outstanding, "
					  "fallbacks or pid";
	default:
		o.batch = true;
		o.json = o.json || c == 'j';
		return nullptr;
	}
}

int top(int argc, char **argv)
{
	Options options(top_command, argc, argv, "bjd:n:s:",
			{{"batch", no_argument, nullptr, 'b'},
			 {"json", no_argument, nullptr, 'j'},
			 {"delay", required_argument, nullptr, 'd'},
			 {"count", required_argument, nullptr, 'n'},
			 {"sort", required_argument, nullptr, 's'}});
	TopOptions o;
	if (auto over = options.read([&](int c) { return set(o, c, optarg); }); over)
		return *over;
	if (options.rest() < argc)
		return usage(top_command);
	if (o.batch)
		return batch(o);
	if (!Terminal::is_there())
		return complain("top", "standard input and output",
				"not a terminal; --batch needs none");
	return on_terminal(o);
}

} // namespace

const Command top_command = {
	"top", top, "[--batch] [--json] [--delay SECONDS] [--count N] [--sort KEY]",
	"show what all processes with statistics do",
	"  -b, --batch           one table after the other, for files and programs\n"
	"  -j, --json            an object in each line instead of a table\n"
	"  -d, --delay SECONDS   from one to the next; 1 without it\n"
	"  -n, --count N         end after the N-th\n"
	"  -s, --sort KEY        requests, bytes, latency, outstanding, fallbacks or pid\n"};

} // namespace tool
