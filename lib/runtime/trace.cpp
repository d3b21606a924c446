// SPDX-License-Identifier: MIT
#include "runtime/trace.hpp"

#include "base/sync.hpp"
#include "base/thread_id.hpp"
#include "runtime/config.hpp"
#include "runtime/stats_place.hpp"

#include <bit>

namespace sigevec::trace {

using stats_file::Trace;
using stats_file::TraceStep;

std::atomic<Trace *> ring{nullptr};

namespace {

// As the ring's number of steps less one.
uint64_t mask = 0;
std::atomic<uint64_t> last_id{0};

// Who is still at the step that was at its place a round before, or has come late, loses his own.
bool claim(TraceStep &s, uint64_t number)
{
	uint64_t there = s.sequence.load(mo::relaxed);
	do {
		if ((there & stats_file::being_written) != 0 || there > number)
			return false;
	} while (!s.sequence.compare_exchange_weak(there, number | stats_file::being_written,
						   mo::acquire, mo::relaxed));
	return true;
}

} // namespace

uint64_t steps()
{
	// Of processes that share a file each would name the others' requests.
	bool possible =
		config::trace_steps != 0 && stats_place::mode() != stats_place::Mode::shared;
	return possible ? std::bit_floor(config::trace_steps) : 0;
}

uint64_t size()
{
	return steps() != 0 ? sizeof(Trace) + steps() * sizeof(TraceStep) : 0;
}

void use(Trace *memory)
{
	mask = steps() - 1;
	ring.store(memory, mo::release);
}

uint64_t new_id()
{
	uint64_t id = monotonic_ns(), last = last_id.load(mo::relaxed);
	do {
		if (id <= last)
			id = last + 1;
	} while (!last_id.compare_exchange_weak(last, id, mo::relaxed));
	return id;
}

void put(const Fields &f)
{
	Trace *t = ring.load(mo::acquire);
	if (t == nullptr || f.id == 0)
		return;
	uint64_t time = f.step == Step::submitted ? f.id : monotonic_ns();
	uint64_t number = t->next.fetch_add(1, mo::relaxed);
	TraceStep &s = t->step[number & mask];
	if (!claim(s, number))
		return;
	s.id = f.id;
	s.time = time;
	s.value = f.value;
	s.offset = f.offset;
	s.aiocb = reinterpret_cast<uint64_t>(f.aiocb);
	s.fd = f.fd;
	s.thread = static_cast<uint32_t>(ask_thread_id());
	s.step = static_cast<uint8_t>(f.step);
	s.operation = f.operation;
	s.kind = f.kind;
	s.detail = f.detail;
	// Whoever reads the number has what was written before it.
	s.sequence.store(number + 1, mo::release);
}

} // namespace sigevec::trace
