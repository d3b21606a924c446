// SPDX-License-Identifier: MIT
//
// A trace as people, tracers' viewers and browsers read it.
#pragma once

#include "trace_reader.hpp"

#include <cstdio>

namespace tool {

void write_trace_text(const Trace &t, FILE *to);
// The format that chrome://tracing and Perfetto read.
void write_trace_json(const Trace &t, FILE *to);
// A page that needs nothing else.
void write_trace_page(const Trace &t, FILE *to);

// What a step says, in a word or two: "given to uring".
std::string words_of(const Trace &t, const TracedRequest &r, const TracedStep &s);
// What the time until a step has gone into.
std::string phase_before(const Trace &t, const TracedRequest &r, const TracedStep &s);
// What the request has ended with: a number, an error's name, or "?".
std::string result_of(const TracedRequest &r);

} // namespace tool
