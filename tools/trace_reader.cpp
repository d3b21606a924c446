// SPDX-License-Identifier: MIT
#include "trace_reader.hpp"

#include "figures.hpp"
#include "tool.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <unistd.h>

namespace tool {

namespace {

using layout::Step;
using layout::TraceStep;

// In memory, of all processes together.
constexpr uint64_t most_steps = 4000000;
// At once.
constexpr uint64_t part = 4096;

template <class T> bool read_at(const RegularFile &f, uint64_t offset, T *to, uint64_t count = 1)
{
	uint64_t size = count * sizeof(T);
	return pread(f.descriptor(), static_cast<void *>(to), size, static_cast<off_t>(offset)) ==
	       static_cast<ssize_t>(size);
}

// How many steps the ring has, or 0.
uint64_t steps_of(const RegularFile &f)
{
	uint64_t n = 0;
	constexpr uint64_t least = 1024, most = 1u << 24;
	bool told = read_at(f, offsetof(layout::Header, trace_steps), &n);
	return told && std::has_single_bit(n) && n >= least && n <= most ? n : 0;
}

bool makes_sense(const TraceStep &s)
{
	auto step = static_cast<Step>(s.step);
	bool names_engine = step == Step::given || step == Step::begun || step == Step::ended;
	return s.step != 0 && s.step < layout::steps && s.operation < layout::operations &&
	       s.kind < layout::kinds && (!names_engine || s.detail < layout::engines);
}

} // namespace

const char *step_name(Step s)
{
	constexpr const char *names[layout::steps] = {
		"?", "submitted", "fallback", "queued", "given", "begun", "moved", "ended", "read"};
	return names[static_cast<unsigned>(s)];
}

TraceReader::Source TraceReader::open(const std::shared_ptr<const RegularFile> &file)
{
	Source s{file, 0, 0};
	auto f = read_figures(*file);
	s.steps = f ? steps_of(*file) : 0;
	if (s.steps == 0)
		return s;
	TracedProcess p{f->pid, f->program, {}};
	for (const auto &[name, value] : f->counters)
		p.counters.push_back(name);
	s.process = static_cast<unsigned>(trace_.processes.size());
	trace_.processes.push_back(std::move(p));
	return s;
}

void TraceReader::read(const std::string &folder, bool finally)
{
	for_each_entry_in(folder, [&](const StatsEntry &e) {
		auto file = e.open();
		if (!file)
			return;
		Identity id{file->status().st_dev, file->status().st_ino};
		if (auto known = sources_.find(id); known != sources_.end())
			return;
		// One that is being set up is looked at again.
		if (Source s = open(file); s.steps != 0)
			sources_.emplace(id, std::move(s));
	});
	for (auto &[id, source] : sources_)
		read(source, finally);
}

void TraceReader::read(Source &s, bool finally)
{
	uint64_t end = 0;
	if (!read_at(*s.file, sizeof(layout::File) + offsetof(layout::Trace, next), &end))
		return;
	if (end > s.next && end - s.next > s.steps) {
		trace_.lost += end - s.steps - s.next;
		s.next = end - s.steps;
	}
	while (s.next < end && read_part(s, end, finally))
		;
}

// Some steps in a row. False: one is not complete yet.
bool TraceReader::read_part(Source &s, uint64_t end, bool finally)
{
	static TraceStep steps[part];
	uint64_t at = s.next % s.steps;
	uint64_t n = std::min({part, end - s.next, s.steps - at});
	if (!read_at(*s.file,
		     sizeof(layout::File) + offsetof(layout::Trace, step) + at * sizeof(TraceStep),
		     steps, n)) {
		s.next = end;
		return false;
	}
	for (uint64_t i = 0; i < n; i++, s.next++) {
		uint64_t sequence = steps[i].sequence.load(std::memory_order_relaxed);
		if (sequence == s.next + 1) {
			add(s, steps[i]);
			continue;
		}
		bool later = (sequence & ~layout::being_written) > s.next + 1;
		// Twice met, it is one whose writer has lost its place, or its life.
		if (!later && !finally && s.stuck_at != s.next + 1) {
			s.stuck_at = s.next + 1;
			return false;
		}
		trace_.lost++;
	}
	return true;
}

void TraceReader::add(const Source &s, const TraceStep &step)
{
	if (!makes_sense(step) || kept_ == most_steps) {
		trace_.lost++;
		return;
	}
	kept_++;
	TracedRequest &r = requests_[{s.process, step.id}];
	auto what = static_cast<Step>(step.step);
	r.process = s.process;
	r.id = step.id;
	r.operation = step.operation;
	if (what == Step::submitted) {
		r.whole = true;
		r.length = step.value;
		r.offset = step.offset;
		r.aiocb = step.aiocb;
	} else if (what == Step::ended) {
		r.ended = true;
		r.kind = step.kind;
		r.result = step.value;
	}
	if (step.fd >= 0)
		r.fd = step.fd;
	r.steps.push_back({step.time, step.thread, what, step.detail});
}

Trace TraceReader::take()
{
	for (auto &[id, r] : requests_) {
		std::stable_sort(r.steps.begin(), r.steps.end(),
				 [](const auto &a, const auto &b) { return a.time < b.time; });
		trace_.requests.push_back(std::move(r));
	}
	requests_.clear();
	std::stable_sort(trace_.requests.begin(), trace_.requests.end(),
			 [](const auto &a, const auto &b) { return a.id < b.id; });
	return std::move(trace_);
}

} // namespace tool
