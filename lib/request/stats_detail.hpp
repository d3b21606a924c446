// SPDX-License-Identifier: MIT
//
// What is counted only with SIGEVEC_STATS: requests and bytes by operation, engine and kind of
// descriptor, latencies, what is outstanding, and the queues of channels. Without it each of these
// is one test of a pointer.
//
// To read the clock twice takes longer than to count; requests that end within the call are too
// quick for it. Of these one in 128 is timed on the average, at random so that no rhythm of the
// program's is followed, and counts for 128; in the ring of an EC_SINGLE channel one in four. All
// others are timed.
#pragma once

#include "base/memory_order.hpp"
#include "request/request.hpp"
#include "runtime/stats.hpp"
#include "runtime/trace.hpp"

namespace sigevec::stats_detail {

using stats_file::By;

using stats::on;

constexpr unsigned in_call = 128, in_ring = 4;

// How many requests of this thread are not to be timed before the next one that is.
extern thread_local uint32_t untimed __attribute__((tls_model("initial-exec")));

// The time in nanoseconds, or 0: this one is not timed.
uint64_t begin_timed(unsigned one_in);
inline uint64_t begin(unsigned one_in)
{
	if (__builtin_expect(on() == nullptr, 1) || untimed-- != 0)
		return 0;
	return begin_timed(one_in);
}

// Steps of what begin() has given a time, for a trace. That is everything while one is kept.
void trace_submitted(const Call &c);
inline void submitted(const Call &c)
{
	if (__builtin_expect(c.begun != 0, 0))
		trace_submitted(c);
}
void trace_step(trace::Step step, const Operation &o, int fd, By engine);
// `given' and `begun'.
inline void step(trace::Step step, const Request *r, By engine)
{
	if (trace::on())
		trace_step(step, *r, r->fd.load(mo::relaxed), engine);
}
// Its event is being read.
inline void read(const Operation &o)
{
	if (trace::on())
		trace_step(trace::Step::read, o, -1, By::none);
}

// The end of a call without a Request. Async-signal-safe, as all that follow.
void count_call(const Call &c, Kind kind, By engine, ssize_t result);
inline void ended_in_call(const Call &c, Kind kind, By engine, ssize_t result)
{
	if (__builtin_expect(on() != nullptr, 0))
		count_call(c, kind, engine, result);
}

// A Request has been made, and has ended (or was abandoned: without a result).
void count_created(const Request *r);
inline void created(Request *r, uint64_t begun)
{
	r->engine.store(By::none, mo::relaxed);
	r->begun = begun;
	if (__builtin_expect(on() != nullptr, 0))
		count_created(r);
}
// An engine is to be given r, which was not timed so far.
void time_from_now(Request *r);
inline void handed_over(Request *r)
{
	if (__builtin_expect(on() != nullptr, 0) && r->begun == 0)
		time_from_now(r);
}
void count_end(Request *r, ssize_t result);
inline void ended(Request *r, ssize_t result)
{
	if (__builtin_expect(on() != nullptr, 0))
		count_end(r, result);
}
void count_abandoned(const Request *r);
inline void abandoned(const Request *r)
{
	if (__builtin_expect(on() != nullptr, 0))
		count_abandoned(r);
}

// An engine has carried r out, whose end follows.
inline void done_by(Request *r, By engine)
{
	constexpr stats::Counter counter[] = {stats::inline_done, stats::kaio_done,
					      stats::uring_done, stats::threads_done};
	r->engine.store(engine, mo::relaxed);
	stats::count(counter[static_cast<unsigned>(engine) - 1]);
}

// An operation in the ring of a channel: it has begun; ended; or goes on as a Request.
void ring_began(const Call &c, uint64_t begun);
void ring_ended(Op op, uint64_t begun, ssize_t result);
void ring_left(const Operation &o);

} // namespace sigevec::stats_detail
