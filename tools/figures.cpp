// SPDX-License-Identifier: MIT
#include "figures.hpp"

#include "tool.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>
#include <unistd.h>

namespace tool {

namespace {

uint64_t get(const layout::Word &w)
{
	return w.load(std::memory_order_relaxed);
}

std::string text_of(const char *s, size_t size)
{
	return {s, strnlen(s, size)};
}

void read_counters(const layout::File &f, Figures &v)
{
	for (uint32_t i = 0; i < f.header.counters; i++) {
		uint64_t sum = 0;
		for (const auto &row : f.row)
			sum += get(row.counter[i]);
		v.counters.emplace_back(text_of(f.header.names[i], layout::name_size), sum);
	}
}

void read_cells(const layout::File &f, Figures &v)
{
	v.requests.resize(layout::cells);
	v.bytes.resize(layout::cells);
	v.latency.resize(layout::cells);
	for (unsigned i = 0; i < layout::cells; i++) {
		for (const auto &row : f.row) {
			v.requests[i] += get(row.cell[i].requests);
			v.bytes[i] += get(row.cell[i].bytes);
		}
		for (unsigned b = 0; b < layout::buckets; b++)
			v.latency[i].bucket[b] = get(f.latency[i].bucket[b]);
		v.latency[i].largest = get(f.latency[i].largest);
		v.latency[i].errors = get(f.latency[i].errors);
	}
}

void read_outstanding(const layout::File &f, Figures &v)
{
	v.outstanding.resize(layout::operations * layout::kinds);
	for (unsigned i = 0; i < v.outstanding.size(); i++) {
		uint64_t begun = 0, ended = 0;
		for (const auto &row : f.row) {
			ended += get(row.flow[i].ended);
			begun += get(row.flow[i].begun);
		}
		// The words are read one after the other.
		v.outstanding[i] = begun > ended ? begun - ended : 0;
	}
}

void read_channels(const layout::File &f, Figures &v)
{
	for (const auto &c : f.channel) {
		if (get(c.used) != 2)
			continue;
		uint64_t delivered = get(c.delivered), pushed = get(c.pushed),
			 admitted = get(c.admitted);
		// The words are read one after the other.
		uint64_t queued = pushed > delivered ? pushed - delivered : 0;
		v.channels.push_back({v.pid, get(c.fd), get(c.flags), get(c.limit),
				      admitted > queued ? admitted - queued : 0, queued, delivered,
				      get(c.refused), get(c.dropped), get(c.high_water)});
	}
}

// Field 22 of /proc/PID/stat, or 0.
uint64_t start_of(uint32_t pid)
{
	std::string text = first_line("/proc/" + std::to_string(pid) + "/stat");
	size_t at = text.rfind(')');
	for (int field = 2; at != std::string::npos && field < 22; field++)
		at = text.find(' ', at + 1);
	return at == std::string::npos ? 0 : strtoull(text.c_str() + at, nullptr, 10);
}

uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

} // namespace

std::optional<uint64_t> Latencies::percentile(double part) const
{
	uint64_t all = 0, so_far = 0;
	for (uint64_t n : bucket)
		all += n;
	if (all == 0)
		return {};
	auto enough = static_cast<uint64_t>(static_cast<double>(all) * part);
	for (unsigned b = 0; b < layout::buckets; b++) {
		so_far += bucket[b];
		if (so_far > enough || so_far == all)
			return largest != 0 ? std::min(layout::bucket_end(b), largest)
					    : layout::bucket_end(b);
	}
	return largest;
}

uint64_t Figures::counter(const std::string &name) const
{
	for (const auto &[n, value] : counters)
		if (n == name)
			return value;
	return 0;
}

void Latencies::add(const Latencies &other)
{
	for (unsigned b = 0; b < layout::buckets; b++)
		bucket[b] += other.bucket[b];
	largest = std::max(largest, other.largest);
	errors += other.errors;
}

void Figures::add(const Figures &o)
{
	if (processes == 0) {
		*this = o;
		return;
	}
	processes += o.processes;
	for (const auto &other : o.counters) {
		auto same = std::find_if(counters.begin(), counters.end(),
					 [&](const auto &c) { return c.first == other.first; });
		if (same == counters.end())
			counters.push_back(other);
		else
			same->second += other.second;
	}
	for (unsigned i = 0; i < layout::cells; i++) {
		requests[i] += o.requests[i];
		bytes[i] += o.bytes[i];
		latency[i].add(o.latency[i]);
	}
	for (unsigned i = 0; i < outstanding.size(); i++)
		outstanding[i] += o.outstanding[i];
	channels.insert(channels.end(), o.channels.begin(), o.channels.end());
}

void Figures::subtract(const Figures &e)
{
	for (size_t i = 0; i < counters.size() && i < e.counters.size(); i++)
		counters[i].second = less(counters[i].second, e.counters[i].second);
	for (unsigned i = 0; i < layout::cells; i++) {
		requests[i] = less(requests[i], e.requests[i]);
		bytes[i] = less(bytes[i], e.bytes[i]);
		latency[i].errors = less(latency[i].errors, e.latency[i].errors);
		for (unsigned b = 0; b < layout::buckets; b++)
			latency[i].bucket[b] = less(latency[i].bucket[b], e.latency[i].bucket[b]);
	}
}

std::optional<Figures> read_figures(const RegularFile &file)
{
	// A copy, for the file may change: what has been checked is what is used.
	auto f = std::make_unique<layout::File>();
	ssize_t n = pread(file.descriptor(), static_cast<void *>(f.get()), sizeof *f, 0);
	const layout::Header &h = f->header;
	if (n != sizeof *f || h.magic != layout::magic || h.version != layout::version ||
	    h.size != sizeof *f || h.counters > layout::most_counters) {
		errno = ENOMSG;
		return {};
	}
	Figures v;
	v.processes = 1;
	v.id = {h.pid, h.pid_namespace};
	auto here = number_here(v.id);
	v.pid = here.value_or(h.pid);
	v.seen = here.has_value();
	v.process_start = h.process_start;
	v.opened = h.opened;
	v.shared = h.shared != 0;
	v.owner = file.status().st_uid;
	v.program = text_of(h.program, sizeof h.program);
	read_counters(*f, v);
	read_cells(*f, v);
	read_outstanding(*f, v);
	read_channels(*f, v);
	return v;
}

State state_of(const Figures &f)
{
	if (!f.seen)
		return sees_all_of(f.id.name_space) ? State::ended : State::elsewhere;
	uint64_t start = start_of(f.pid);
	bool same = start != 0 && start == f.process_start;
	return same && speaks_for(f.owner, f.pid) ? State::running : State::ended;
}

const char *name_of(State state)
{
	constexpr const char *names[] = {"running", "ended", "elsewhere"};
	return names[static_cast<int>(state)];
}

bool speaks_for(uid_t user, uint32_t pid)
{
	if (user == 0)
		return true;
	// The real, effective, saved and file system's one.
	std::istringstream uids(status_field(std::to_string(pid), "Uid").value_or(""));
	for (uid_t one; uids >> one;)
		if (one == user)
			return true;
	return false;
}

bool is_process(uint32_t pid)
{
	return start_of(pid) != 0;
}

} // namespace tool
