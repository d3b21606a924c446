// SPDX-License-Identifier: MIT
//
// The layout of a statistics file, as the library writes it and sigevec(1) reads it. Whatever
// changes here changes `version'.
//
// The file is mapped memory of the process, so it holds the state of the last instruction before a
// crash. All words are only added to, but for `largest' and what describes a channel; sums over the
// rows are the process's figures.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace sigevec::stats_file {

using Word = std::atomic<uint64_t>;

constexpr uint64_t magic = 0x7374617473766773; // "sgvstats"
constexpr uint32_t version = 5;

// Rows 0 to own_rows-1 belong to one thread each, the others are shared by all further threads.
constexpr unsigned rows = 20, own_rows = 16;

constexpr unsigned most_counters = 64, name_size = 32;
constexpr unsigned operations = 9, engines = 6, kinds = 7;
constexpr unsigned cells = operations * engines * kinds;
constexpr const char *operation_names[operations] = {
	"read", "write", "fsync", "fdatasync", "send", "recv", "accept", "connect", "poll"};
// Region: received into a DMA region by the receiver. None: ended without having been carried out.
enum class By : uint8_t { none, inline_, kaio, uring, threads, region };
constexpr const char *engine_names[engines] = {"none",  "inline",  "kaio",
					       "uring", "threads", "region"};
constexpr const char *kind_names[kinds] = {"file", "memory", "pool", "socket",
					   "fifo", "device", "other"};

constexpr unsigned cell_of(unsigned operation, unsigned engine, unsigned kind)
{
	return (operation * engines + engine) * kinds + kind;
}

// Latencies in nanoseconds: what is below 32 in bucket 0, then four buckets for each doubling; the
// last one is open.
constexpr unsigned buckets = 128;
constexpr unsigned bucket_of(uint64_t ns)
{
	if (ns < 32)
		return 0;
	auto e = 63 - static_cast<unsigned>(__builtin_clzll(ns));
	unsigned b = 1 + (e - 5) * 4 + static_cast<unsigned>(ns >> (e - 2) & 3);
	return b < buckets ? b : buckets - 1;
}
// The least that is above everything in a bucket.
constexpr uint64_t bucket_end(unsigned bucket)
{
	unsigned e = 5 + (bucket - 1) / 4, part = (bucket - 1) % 4;
	return bucket == 0 ? 32 : uint64_t{5 + part} << (e - 2);
}

struct Header {
	uint64_t magic;         // written last
	uint32_t version, size; // of the file
	uint32_t counters, pid;
	uint64_t process_start; // field 22 of /proc/PID/stat: tells a process from a later one with
				// its number
	uint64_t opened;        // CLOCK_REALTIME, ns
	uint64_t pid_namespace; // inode of the one whose number `pid' is; 0: not known
	uint32_t shared;        // 1: several processes may add to it
	char program[60];
	char names[most_counters][name_size];
	uint64_t trace_steps; // of the trace behind the file, a power of two; 0: there is none
};

struct Cell {
	Word requests, bytes;
};

// Requests that an engine has been given, and that have ended since: the difference is outstanding.
struct Flow {
	Word begun, ended;
};

// What is most used of it is in one page.
struct alignas(4096) Row {
	Word counter[most_counters];
	Cell cell[cells];
	Flow flow[operations * kinds];
};

// Of one cell. Of what ends quickly not every request is timed, and each of these counts as
// several.
struct Latency {
	Word bucket[buckets];
	Word largest;
	Word errors; // requests that ended with an error
};

constexpr unsigned channels = 64;
struct alignas(64) Channel {
	Word used; // 0: free, 1: being filled in, 2: in use
	Word fd, flags, limit;
	// In one cache line: who submits and who reads pay for it once. What has been pushed and
	// not delivered is in the queue; the rest of what has room is outstanding.
	Word admitted, pushed, delivered;
	Word refused, dropped, high_water;
};

struct File {
	alignas(4096) Header header;
	Row row[rows];
	Latency latency[cells];
	Channel channel[channels];
};

// What happens to a request, one after the other.
enum class Step : uint8_t {
	none,
	submitted, // the call has accepted it; value: its length
	fallback,  // detail: the counter that tells why an engine has left it to another
	queued,    // it has not ended within the call
	given,     // detail: the engine that is to carry it out
	begun,     // a thread calls the kernel for it, or io_uring is told of it
	moved,     // out of a channel's ring, to go on as another request
	ended,     // detail: the engine; value: the result, -errno for an error
	read       // its event
};
constexpr unsigned steps = 9;

// One step, or what is left of one. The time of `submitted', in ns of CLOCK_MONOTONIC, is the id of
// the request.
struct alignas(64) TraceStep {
	Word sequence; // 1 + its number, once it is complete
	uint64_t id, time;
	int64_t value, offset;
	uint64_t aiocb; // its address; 0: an ev_* call
	int32_t fd;
	uint32_t thread;
	uint8_t step, operation, kind, detail;
};
constexpr uint64_t being_written = uint64_t{1} << 63; // in `sequence'

// Behind the File. The steps are numbered in the order of their beginning, and the number says at
// which place one is.
struct alignas(4096) Trace {
	Word next; // number
	TraceStep step[];
};

static_assert(sizeof(TraceStep) == 64 && sizeof(File) % 4096 == 0);
static_assert(sizeof(Header) <= 4096 && std::atomic<uint64_t>::is_always_lock_free);

} // namespace sigevec::stats_file
