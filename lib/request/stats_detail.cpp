// SPDX-License-Identifier: MIT
#include "request/stats_detail.hpp"

#include "base/memory_order.hpp"

#include <ctime>
#include <initializer_list>

namespace sigevec::stats_detail {

using namespace stats_file;

thread_local uint32_t untimed __attribute__((tls_model("initial-exec"))) = 0;

static_assert(static_cast<unsigned>(Op::poll) + 1 == operations &&
	      static_cast<unsigned>(Kind::anonymous) + 1 == kinds);

namespace {

uint64_t now()
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return static_cast<uint64_t>(t.tv_sec) * 1000000000 + static_cast<uint64_t>(t.tv_nsec);
}

// What an event of a multishot request tells of is a connection; other events are no requests.
bool is_request(const Request *r)
{
	return r->op != Op::event || r->multishot;
}

unsigned operation(Op op)
{
	return static_cast<unsigned>(op == Op::event ? Op::accept : op);
}

// Bytes, not a descriptor or what poll says.
bool is_transfer(Op op)
{
	constexpr unsigned transfers =
		1u << static_cast<unsigned>(Op::read) | 1u << static_cast<unsigned>(Op::write) |
		1u << static_cast<unsigned>(Op::send) | 1u << static_cast<unsigned>(Op::recv);
	return (transfers >> static_cast<unsigned>(op) & 1) != 0;
}

void note_largest(Word &w, uint64_t n)
{
	uint64_t most = w.load(mo::relaxed);
	while (n > most && !w.compare_exchange_weak(most, n, mo::relaxed))
		;
}

trace::Fields fields_of(trace::Step step, const Operation &o, int fd)
{
	return {.step = step,
		.id = o.begun,
		.operation = static_cast<uint8_t>(operation(o.op)),
		.kind = 0,
		.detail = 0,
		.fd = fd,
		.value = 0,
		.offset = 0,
		.aiocb = nullptr};
}

void trace_end(Op op, By engine, Kind kind, ssize_t result, uint64_t begun)
{
	trace::put({.step = trace::Step::ended,
		    .id = begun,
		    .operation = static_cast<uint8_t>(operation(op)),
		    .kind = static_cast<uint8_t>(kind),
		    .detail = static_cast<uint8_t>(engine),
		    .fd = -1,
		    .value = result,
		    .offset = 0,
		    .aiocb = nullptr});
}

// One request has ended. `begun' 0: not timed; otherwise it counts as `weight' in the latencies.
void count_one(File *f, Op op, By engine, Kind kind, ssize_t result, uint64_t begun,
	       unsigned weight)
{
	unsigned i =
		cell_of(operation(op), static_cast<unsigned>(engine), static_cast<unsigned>(kind));
	stats::Place p = stats::place();
	Cell &cell = f->row[p.row].cell[i];
	stats::add(cell.requests, 1, p.own);
	if (result > 0 && is_transfer(op))
		stats::add(cell.bytes, static_cast<uint64_t>(result), p.own);
	if (result < 0)
		f->latency[i].errors.fetch_add(1, mo::relaxed);
	if (begun == 0)
		return;
	if (trace::on()) {
		trace_end(op, engine, kind, result, begun);
		weight = 1; // everything is timed
	}
	uint64_t took = now() - begun;
	f->latency[i].bucket[bucket_of(took)].fetch_add(weight, mo::relaxed);
	note_largest(f->latency[i].largest, took);
}

Flow &flow(File *f, const stats::Place &p, Op op, Kind kind)
{
	return f->row[p.row].flow[operation(op) * kinds + static_cast<unsigned>(kind)];
}

void flow_begun(File *f, Op op, Kind kind)
{
	stats::Place p = stats::place();
	stats::add(flow(f, p, op, kind).begun, 1, p.own);
}

void flow_ended(File *f, Op op, Kind kind)
{
	stats::Place p = stats::place();
	stats::add(flow(f, p, op, kind).ended, 1, p.own);
}

// In a ring nobody looks at what is polled.
Kind kind_in_ring(Op op)
{
	return is_socket_call(op) ? Kind::socket : Kind::anonymous;
}

} // namespace

uint64_t begin_timed(unsigned one_in)
{
	if (trace::on()) {
		untimed = 0;
		return trace::new_id();
	}
	static thread_local uint32_t random __attribute__((tls_model("initial-exec")));
	uint64_t t = now();
	uint32_t x = random != 0 ? random : static_cast<uint32_t>(t) | 1;
	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	random = x;
	// 0 to 2n-2: every n-th on the average.
	untimed = x % (2 * one_in - 1);
	return t;
}

void trace_submitted(const Call &c)
{
	if (!trace::on())
		return;
	trace::Fields f = fields_of(trace::Step::submitted, c, c.fd);
	f.value = static_cast<int64_t>(c.len);
	f.offset = c.offset;
	f.aiocb = c.cb;
	trace::put(f);
}

void trace_step(trace::Step step, const Operation &o, int fd, By engine)
{
	trace::Fields f = fields_of(step, o, fd);
	f.detail = static_cast<uint8_t>(engine);
	trace::put(f);
}

void count_call(const Call &c, Kind kind, By engine, ssize_t result)
{
	count_one(on(), c.op, engine, kind, result, c.begun, in_call);
}

void count_created(const Request *r)
{
	if (!is_request(r))
		return;
	flow_begun(on(), r->op, r->kind);
	if (trace::on()) {
		trace::Fields f = fields_of(trace::Step::queued, *r, r->fd.load(mo::relaxed));
		f.kind = static_cast<uint8_t>(r->kind);
		trace::put(f);
	}
}

void time_from_now(Request *r)
{
	r->begun = trace::on() ? trace::new_id() : now();
}

void count_end(Request *r, ssize_t result)
{
	if (!is_request(r))
		return;
	By by = r->engine.load(mo::relaxed);
	By engine = by == By::none && r->dma.kind == dma::Use::Kind::wait && result >= 0
			    ? By::region
			    : by;
	count_one(on(), r->op, engine, r->kind, result, r->begun,
		  engine == By::inline_ ? in_call : 1);
	flow_ended(on(), r->op, r->kind);
}

void count_abandoned(const Request *r)
{
	if (is_request(r))
		flow_ended(on(), r->op, r->kind);
}

void ring_began(const Call &c, uint64_t begun)
{
	File *f = on();
	if (f == nullptr)
		return;
	flow_begun(f, c.op, kind_in_ring(c.op));
	Call timed = c;
	timed.begun = begun;
	trace_submitted(timed);
}

void ring_ended(Op op, uint64_t begun, ssize_t result)
{
	File *f = on();
	if (f == nullptr)
		return;
	count_one(f, op, By::uring, kind_in_ring(op), result, begun, in_ring);
	flow_ended(f, op, kind_in_ring(op));
}

void ring_left(const Operation &o)
{
	File *f = on();
	if (f == nullptr)
		return;
	flow_ended(f, o.op, kind_in_ring(o.op));
	trace_step(trace::Step::moved, o, -1, By::none);
}

} // namespace sigevec::stats_detail
