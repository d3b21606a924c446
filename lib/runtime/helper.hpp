// SPDX-License-Identifier: MIT
//
// The helper: threads with a table of descriptors of their own.
//
// A request that cannot be carried out at once must hold the file it was submitted on. A dup() in the program's table would
// hold it too, but it would use up the program's numbers, a program that closes all its descriptors would close it, and its
// close() would release the program's POSIX record locks on the file, which belong to process and inode. So the file travels:
// the submitting thread sends its descriptor (SCM_RIGHTS) over a socketpair to threads that share a private table (close_range
// with CLOSE_RANGE_UNSHARE). There it is used, and closed without the program noticing. A child of fork inherits none of it.
//
// Two ends of socketpairs are in the program's table: one towards the driver (engine/driver.hpp), one towards the workers
// (engine/worker.hpp). Before each use their identity is checked; if the program has closed them, a new helper is started
// while the old one finishes what it has. If the kernel refuses a private table, the helper works with the program's.
//
// Lifetimes: a Helper is never freed. Locks: `starting' is held by submissions only; no request needs it in order to end.
#pragma once

#include "request/request.hpp"
#include "runtime/packet.hpp"
#include "runtime/sync.hpp"

#include <atomic>
#include <cstdint>

namespace sigevec {

struct FileQueue;

namespace dma {
struct Region;
}

namespace helper {

struct Helper {
	void *driver;
	int driver_tx, worker_tx;                    // in the program's table
	uint64_t driver_cookie, worker_cookie;       // what they were when they were made
	int driver_rx, worker_rx;                    // in the helper's table
	int inner_driver_tx, inner_worker_tx;        // copies for the helper's own threads
	bool private_table;
	std::atomic<uint32_t> ready;
	std::atomic<uint32_t> workers, idle_workers; // engine/worker.cpp
	std::atomic<uint32_t> jobs;                  // sent and not yet taken by a worker
	std::atomic<uint32_t> taken, extra;          // jobs taken by workers; threads beyond the limit, while those within it are stuck
	std::atomic<bool> worker_asked;
	bool watched;                                // the driver's: jobs wait for a worker
	uint32_t watch_taken;                        // the same: `taken' when it last changed, and when that was
	timespec watch_since;
	int pidfd;                                   // runtime/standby.cpp, in the helper's table
	std::atomic<int> trials;                     // the same: 0: no worker stands by
	std::atomic<uintptr_t> standby;              // the same
	bool has_ring;
	int program_tx = -1; // in the helper's table: to runtime/program_thread.cpp
};

// The running helper, started if need be; nullptr: no thread or descriptor could be had. Not async-signal-safe.
Helper *get();

// Hands r and its descriptor to the driver or to a worker. False: errno says why, and nothing has been done.
// Async-signal-safe once the helper runs.
bool to_driver(Request *r);
// object: r, or the file queue that begins with r.
bool to_worker(What what, void *object, const Request *r);

// While one exists, what its thread hands to the driver is collected, and goes to it in one message at the end. A request that then
// cannot be handed over ends with the error. What the driver gets in one message it submits to its ring at once.
class Plug {
public:
	Plug();
	~Plug();
	Plug(const Plug &) = delete;
	Plug &operator=(const Plug &) = delete;
	void add(Request *r);
	// In the child of fork: its parent's requests are not the child's.
	static void forget();

private:
	void flush();
	unsigned count_ = 0;
	Request *requests_[most_packets];
};

// From a thread of the helper, the file being r->file already.
void job_from_inside(Helper *h, Request *r);
void returned_from_inside(Helper *h, Request *r);
// The same, to the driver, with a file of which the caller keeps its own copy.
void request_from_inside(Helper *h, Request *r, int fd);

// Copies a descriptor to the driver, with what it is for. False: there is no driver.
bool copy_to_driver(What what, void *object, int fd);
// Closes a number in the table of h.
void close_inside(Helper *h, int fd);
// Asks the driver to ring the bells of a channel, of which it takes over a reference. Async-signal-safe.
void ask_to_ring(Channel *c);

// The same from the program's thread. False: there is no driver any more.
bool returned_from_program(Request *r);
// From the driver: a request for the program's thread, with a file. False: there is none.
bool to_program(Helper *h, What what, Request *r, int fd);

// Asks the driver to look at what it keeps. Async-signal-safe, any thread.
void look_at_streams();
inline void run(Request *)
{
	look_at_streams();
}

// Asks the driver for another worker. Async-signal-safe, any thread.
void ask_for_worker();

// Asks the driver to start kaio::start_for_helper. Async-signal-safe; false: there is no helper.
bool start_background(void *context);

// What a thread waits for that has asked the driver something: on its stack, gone as soon as the answer is there.
struct Reply {
	std::atomic<uint32_t> answer{0}; // 0: none yet
	// By the driver. Release: with what it has done. Waking nobody at an address that was good is no harm.
	void give(uint32_t a)
	{
		answer.store(a, std::memory_order_release);
		futex_wake(answer, 1);
	}
};

// To cancel what is in its ring. The answer: 1 + AIO_CANCELED, AIO_NOTCANCELED or AIO_ALLDONE.
struct CancelReply : Reply {
	CancelReply(Request *r, uint64_t w) : request(r), word(w) {}
	Request *request;
	uint64_t word;               // Request::state that is meant
	CancelReply *next = nullptr; // others who ask the same
};

// To register the memory of a region with its ring, or to let go of it. The answer: 1.
struct RegionReply : Reply {
	RegionReply(dma::Region *r, bool k) : region(r), keep(k) {}
	dma::Region *region;
	bool keep;
};

// Asks the driver, and waits. 0: there is no driver.
uint32_t ask(CancelReply *reply);
uint32_t ask(RegionReply *reply);

// Whether the caller is one of the helper's threads, whose descriptors are not the program's.
bool on_helper_thread();
void enter_helper_thread(Helper *h);
Helper *own_helper();

void after_fork();

} // namespace helper
} // namespace sigevec
