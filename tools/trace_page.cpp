// SPDX-License-Identifier: MIT
//
// The page of sigevec trace --html: a picture of when each request was where, by a script in the
// page itself. Names stand in the page's elements, where they are text; the script has numbers
// only.
#include "text.hpp"
#include "trace_output.hpp"

#include <algorithm>
#include <map>

namespace tool {

namespace {

// No per cent sign: it goes through print().
constexpr const char *head = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<title>sigevec trace</title>
<style>
body { font: 14px sans-serif; margin: 1em; color: #222; background: #fff }
canvas { border: 1px solid #999; display: block; width: 96vw; height: 70vh }
#names { display: none }
#legend span { margin-right: 1em; white-space: nowrap }
#legend i { display: inline-block; width: 1em; height: 1em; margin-right: .3em; vertical-align: middle }
#what { min-height: 4em; white-space: pre-wrap; font-family: monospace }
</style></head><body>
)";

constexpr const char *script = R"(<script>
'use strict';
const texts = id => [...document.querySelectorAll('#' + id + ' li')].map(e => e.textContent);
const names = texts('phases'), programs = texts('programs'), operations = texts('operations');
const colours = names.map((n, i) => 'hsl(' + (i * 67 + 210) + ' 55' + String.fromCharCode(37) + ' 55' + String.fromCharCode(37) + ')');
// Each request gets the first line that is free at its begin.
const free = [];
for (const r of requests) {
  const end = r[7].reduce((t, p) => Math.max(t, p[1]), r[1]);
  let line = free.findIndex(t => t <= r[1]);
  if (line < 0) line = free.length;
  free[line] = end;
  r.line = line; r.end = end;
}
const last = requests.reduce((t, r) => Math.max(t, r.end), 1);
const canvas = document.getElementById('picture'), c = canvas.getContext('2d');
let from = 0, to = last, top_ = 0, height = 14;
const x = t => (t - from) / (to - from) * canvas.width;
function draw() {
  canvas.width = canvas.clientWidth; canvas.height = canvas.clientHeight;
  c.clearRect(0, 0, canvas.width, canvas.height);
  for (const r of requests) {
    const y = (r.line - top_) * height + 20;
    if (r.end < from || r[1] > to || y < 20 || y > canvas.height) continue;
    let t = r[1];
    for (const p of r[7]) {
      c.fillStyle = colours[p[0]];
      c.fillRect(x(t), y, Math.max(x(p[1]) - x(t), 1), height - 3);
      t = p[1];
    }
  }
  c.fillStyle = '#222'; c.font = '11px sans-serif';
  for (let i = 0; i < 8; i++)
    c.fillText(((from + (to - from) * i / 8) / 1000).toFixed(3) + ' us', canvas.width * i / 8 + 2, 12);
}
function at(e) {
  const b = canvas.getBoundingClientRect(), t = from + (e.clientX - b.left) / b.width * (to - from);
  const line = Math.floor((e.clientY - b.top - 20) / height) + top_, slack = (to - from) / canvas.width;
  return requests.find(r => r.line === line && r[1] <= t + slack && r.end >= t - slack);
}
function tell(r) {
  let t = r[1], s = programs[r[0]] + ': ' + operations[r[2]] + ' fd ' + r[3] + ' length ' + r[4] + ' offset ' + r[5] +
    ' result ' + r[6] + ', begun at ' + (t / 1000).toFixed(3) + ' us, took ' + ((r.end - t) / 1000).toFixed(3) + ' us\n';
  for (const p of r[7]) { s += names[p[0]] + ': ' + ((p[1] - t) / 1000).toFixed(3) + ' us\n'; t = p[1]; }
  return s;
}
canvas.addEventListener('mousemove', e => { const r = at(e); if (r) document.getElementById('what').textContent = tell(r); });
canvas.addEventListener('wheel', e => {
  e.preventDefault();
  if (e.shiftKey) { top_ = Math.max(0, Math.min(free.length - 1, top_ + Math.sign(e.deltaY || e.deltaX) * 3)); draw(); return; }
  const m = from + e.offsetX / canvas.clientWidth * (to - from), f = e.deltaY > 0 ? 1.25 : .8;
  from = Math.max(0, m - (m - from) * f); to = Math.min(last, m + (to - m) * f);
  if (to - from < 10) to = from + 10;
  draw();
}, {passive: false});
let hold = null;
canvas.addEventListener('mousedown', e => { hold = [e.clientX, from, to]; });
addEventListener('mouseup', () => { hold = null; });
addEventListener('mousemove', e => {
  if (!hold) return;
  let d = (hold[0] - e.clientX) / canvas.clientWidth * (hold[2] - hold[1]);
  d = Math.max(-hold[1], Math.min(last - hold[2], d));
  from = hold[1] + d; to = hold[2] + d;
  draw();
});
canvas.addEventListener('dblclick', () => { from = 0; to = last; draw(); });
addEventListener('resize', draw);
document.getElementById('legend').append(...names.map((n, i) => {
  const s = document.createElement('span'), k = document.createElement('i');
  k.style.background = colours[i];
  s.append(k, n);
  return s;
}));
if (requests.length) document.getElementById('what').textContent = tell(requests[0]);
draw();
</script></body></html>
)";

void write_names(const char *id, const std::vector<std::string> &names, FILE *to)
{
	print(to, "<ol id=\"%s\">", id);
	for (const std::string &n : names)
		print(to, "<li>%s</li>", For{Reader::xml, n});
	print(to, "</ol>\n");
}

// process, begin, operation, fd, length, offset, result, [[phase, end], ...]
void write_row(const Trace &t, const TracedRequest &r, std::map<std::string, unsigned> &phases,
	       FILE *to)
{
	uint64_t first = t.requests.front().id;
	print(to, "[%u,%u,%u,%d,%d,%d,\"%s\",[", r.process, r.id - first, r.operation, r.fd,
	      r.length, r.offset, result_of(r));
	uint64_t before = r.id;
	const char *comma = "";
	for (const TracedStep &s : r.steps) {
		if (s.step == layout::Step::submitted)
			continue;
		auto name = phase_before(t, r, s);
		auto number = static_cast<unsigned>(phases.size());
		number = phases.emplace(std::move(name), number).first->second;
		before = std::max(before, s.time);
		print(to, "%s[%u,%u]", comma, number, before - first);
		comma = ",";
	}
	print(to, "]],\n");
}

} // namespace

void write_trace_page(const Trace &t, FILE *to)
{
	print(to, head);
	print(to,
	      "<h1>sigevec trace</h1>\n<p>%u requests, %u steps lost. A bar is a request, from "
	      "its call to the reading of its event; the wheel changes the scale, with Shift "
	      "the lines; dragging moves, a double click shows all.</p>\n<p id=\"legend\"></p>"
	      "\n<canvas id=\"picture\"></canvas>\n<p id=\"what\"></p>\n",
	      t.requests.size(), t.lost);
	std::map<std::string, unsigned> phases;
	print(to, "<script>\n'use strict';\nconst requests = [\n");
	for (const TracedRequest &r : t.requests)
		write_row(t, r, phases, to);
	print(to, "];\n</script>\n<div id=\"names\">");
	std::vector<std::string> names(phases.size()), programs, operations;
	for (const auto &[name, number] : phases)
		names[number] = name;
	for (const TracedProcess &p : t.processes)
		programs.push_back(p.program + " " + std::to_string(p.pid));
	for (const char *name : layout::operation_names)
		operations.emplace_back(name);
	write_names("phases", names, to);
	write_names("programs", programs, to);
	write_names("operations", operations, to);
	print(to, "</div>\n");
	print(to, script);
}

} // namespace tool
