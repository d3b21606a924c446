// SPDX-License-Identifier: MIT
#include "trace_output.hpp"

#include "json.hpp"
#include "report.hpp"
#include "text.hpp"

#include <algorithm>
#include <cstring>

namespace tool {

namespace {

using layout::Step;

std::string reason(const Trace &t, const TracedRequest &r, const TracedStep &s)
{
	const auto &names = t.processes[r.process].counters;
	return s.detail < names.size() ? names[s.detail] : "?";
}

const char *engine(const TracedStep &s)
{
	return layout::engine_names[s.detail];
}

uint64_t took(const TracedRequest &r)
{
	return r.steps.empty() ? 0 : r.steps.back().time - std::min(r.id, r.steps.back().time);
}

// In seconds from the first request on.
double since(const Trace &t, uint64_t time)
{
	uint64_t first = t.requests.front().id;
	return static_cast<double>(time > first ? time - first : 0) * 1e-9;
}

void write_request(const Trace &t, const TracedRequest &r, FILE *to)
{
	print(to, "%11.6f %7u %-9s fd=%d length=%d offset=%d result=%s took=%s:", since(t, r.id),
	      t.processes[r.process].pid, layout::operation_names[r.operation], r.fd, r.length,
	      r.offset, result_of(r), duration(took(r)));
	uint64_t before = r.id;
	const char *comma = "";
	for (const TracedStep &s : r.steps) {
		if (s.step != Step::submitted)
			print(to, "%s %s +%s", comma, words_of(t, r, s),
			      duration(s.time > before ? s.time - before : 0));
		comma = s.step != Step::submitted ? "," : comma;
		before = s.time;
	}
	print(to, "\n");
}

} // namespace

std::string words_of(const Trace &t, const TracedRequest &r, const TracedStep &s)
{
	std::string name = step_name(s.step);
	switch (s.step) {
	case Step::fallback:
		return "not " + reason(t, r, s);
	case Step::given:
		return name + " to " + engine(s);
	case Step::begun:
	case Step::ended:
		return name + " by " + engine(s);
	default:
		return name;
	}
}

std::string phase_before(const Trace &t, const TracedRequest &r, const TracedStep &s)
{
	switch (s.step) {
	case Step::fallback:
		return "attempt: " + reason(t, r, s);
	case Step::queued:
	case Step::given:
		return "in the call";
	case Step::begun:
		return std::string("on the way to ") + engine(s);
	case Step::moved:
		return "in the channel's ring";
	case Step::ended:
		return std::string("carried out: ") + engine(s);
	case Step::read:
		return "event not yet read";
	default:
		return "?";
	}
}

std::string result_of(const TracedRequest &r)
{
	if (!r.ended)
		return "?";
	const char *name = r.result < 0 && r.result >= -4095
				   ? strerrorname_np(static_cast<int>(-r.result))
				   : nullptr;
	return name != nullptr ? name : std::to_string(r.result);
}

void write_trace_text(const Trace &t, FILE *to)
{
	for (const TracedRequest &r : t.requests)
		write_request(t, r, to);
	auto left = std::count_if(t.requests.begin(), t.requests.end(),
				  [](const TracedRequest &r) { return !r.ended; });
	print(to, "requests %u, not ended %u, processes %u, steps lost %u\n", t.requests.size(),
	      left, t.processes.size(), t.lost);
}

namespace {

double microseconds(uint64_t ns)
{
	return static_cast<double>(ns) * 1e-3;
}

struct Span {
	const TracedRequest &r;
	uint32_t pid, thread;
	uint64_t first; // time
};

// One event; its object stays open for arguments.
Json &event(Json &j, const char *phase, const std::string &name, uint64_t time, const Span &s)
{
	return j.object()
		.text("ph", phase)
		.text("name", name)
		.text("cat", "request")
		.text("id", std::to_string(s.r.process) + "." + std::to_string(s.r.id))
		.real("ts", microseconds(time > s.first ? time - s.first : 0), true)
		.number("pid", s.pid)
		.number("tid", s.thread);
}

void write_span(Json &j, const Trace &t, const TracedRequest &r)
{
	Span s{r, t.processes[r.process].pid, r.steps.front().thread, t.requests.front().id};
	std::string name = layout::operation_names[r.operation];
	uint64_t last = std::max(r.id, r.steps.back().time);
	event(j, "b", name, r.id, s)
		.object("args")
		.text("fd", std::to_string(r.fd))
		.text("length", std::to_string(r.length))
		.text("offset", std::to_string(r.offset))
		.text("result", result_of(r))
		.end()
		.end();
	uint64_t before = r.id;
	for (const TracedStep &step : r.steps) {
		if (step.step == Step::submitted)
			continue;
		std::string phase = phase_before(t, r, step);
		uint64_t at = std::max(step.time, before);
		event(j, "b", phase, before, s)
			.object("args")
			.text("until", words_of(t, r, step))
			.number("thread", step.thread)
			.end()
			.end();
		event(j, "e", phase, at, s).end();
		before = at;
	}
	event(j, "e", name, std::max(last, before), s).end();
}

} // namespace

void write_trace_json(const Trace &t, FILE *to)
{
	Json j(to);
	j.object().text("displayTimeUnit", "ns").number("lostSteps", t.lost).array("traceEvents");
	for (const TracedProcess &p : t.processes) {
		j.object().text("ph", "M").text("name", "process_name").number("pid", p.pid);
		j.object("args").text("name", p.program).end().end();
	}
	for (const TracedRequest &r : t.requests)
		write_span(j, t, r);
	j.end().end();
}

} // namespace tool
