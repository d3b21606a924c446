// SPDX-License-Identifier: MIT
//
// The helper: threads with a table of descriptors of their own, where requests hold the files that
// they were submitted on.
//
// The first one is the driver (engine/driver.hpp), which starts the workers (engine/worker.hpp) and
// other threads that share its table. Requests are handed over by engine/to_helper.hpp. What is
// told to them travels in memory (runtime/post.hpp), files by runtime/hand_over.hpp. Nothing of it
// is in the program's table, and so nothing can be closed by the program, or used by a child of
// fork; where pidfd_getfd is refused, one socket is. If the kernel refuses a table of its own, the
// helper works in the program's.
//
// Lifetimes: a Helper is never freed. Locks: `starting' is held by submissions only; no request
// needs it in order to end.
#pragma once

#include "base/event_count.hpp"
#include "base/inbox.hpp"
#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "runtime/driver_wakeup.hpp"
#include "runtime/hand_over.hpp"
#include "runtime/jobs.hpp"
#include "runtime/stats_file.hpp"

#include <atomic>
#include <cstdint>
#include <optional>

namespace sigevec {

namespace dma {
struct Region;
}

namespace helper {

struct Helper;

// What the driver is, which keeps requests, is a matter of the engines (engine/driver.hpp): the
// helper starts it by this table, of process/wiring.cpp.
struct DriverOps {
	void *(*create)(Helper *h); // nullptr: no memory
	bool (*prepare)(void *driver);
	void (*run)(void *driver);
	bool (*on_thread)();
	void (*look_later)();
};
extern const DriverOps driver_ops;

// The driver's thread, which lives as long as the helper.
struct DriverThread {
	void *driver;
	Files files;
	pid_t thread; // the driver's: whose table it is
	enum Start : uint32_t { starting, ready, failed };
	std::atomic<uint32_t> start;
};

// What the driver is told.
struct ToDriver {
	Inbox<Post> inbox; // to the driver
	DriverWakeup wakeup;
	std::atomic<bool> look;          // the driver is to look at all that it keeps
	std::atomic<bool> look_at_syncs; // and at the fsyncs among that
	std::atomic<bool> want_worker;   // and to start another worker
};

struct Workers {
	Jobs jobs; // to the workers

	std::atomic<uint32_t> workers;      // engine/worker.cpp
	std::atomic<uint32_t> taken, extra; // jobs taken by workers; threads beyond the limit,
					    // while those within it are stuck
	std::atomic<uint32_t> waiting; // jobs that may wait for ever, each a thread's more
	std::atomic<bool> worker_asked;
	bool watched;         // the driver's: jobs wait for a worker
	uint32_t watch_taken; // the same: `taken' when it last changed, and when that was
	timespec watch_since;
};

struct Helper : DriverThread, ToDriver, Workers {
	std::atomic<bool> has_ring; // until it is refused

	// What the driver itself carries out is counted as this.
	stats_file::By driver_is() const
	{
		return has_ring.load(mo::relaxed) ? stats_file::By::uring : stats_file::By::threads;
	}

	bool private_table() const { return files.way != Files::Way::shared; }
};

// The running helper, started if need be; nullptr: no thread could be had. Not async-signal-safe.
Helper *get();
// The same without waiting until it is ready. So a program that reaches a limit for threads after
// its first request has one.
void begin();

// Hands what `objects' stand for, with the files of these numbers of the program's, to the driver
// or to a worker; files: what they are in the helper's table, or -errno. 0; or -errno: nothing has
// been done. Async-signal-safe once the helper runs.
int hand_over(MessageType type, void *const *objects, const int *numbers, int *files,
	      unsigned count);
// The errno of a submission whose file could not be taken.
int refusal(int file);
// The number of a copy in the helper's table, or -errno. To be closed by close_inside.
int hold(int fd);

// From a thread of the helper, or of the program: something for the driver. Async-signal-safe;
// errno is kept.
void post(Helper *h, Post *p);
// Closes a number in the table of the helper. Any thread.
void close_inside(int fd);
// By the driver, or at once by a thread of the helper's. False: there is no helper.
// Async-signal-safe.
bool run_chore(Chore *c);

// By the driver, of MessageType::close.
void close_posted(void *closing);

// What stands before a request may have ended. For those that the helper does not keep, too
// (engine/alone.hpp).
extern EventCount order_changes;

// Asks the driver to look at all that it keeps. Async-signal-safe, any thread.
void look_at_streams();
// The same, at the fsyncs among that: one of them may go on.
void look_at_syncs();
// Wakes it for what is in its inbox.
void wake();

// Asks the driver for another worker. Async-signal-safe, any thread.
void ask_for_worker(Helper *h);

// Asks the driver to start kaio::start_for_helper; p: the context's. Async-signal-safe; false:
// there is no helper.
bool start_background(Post *p, void *context);

// What a thread waits for that has asked the driver something: on its stack, gone as soon as the
// answer is there.
struct Reply {
	Post post{};
	std::atomic<uint32_t> answer{0}; // 0: none yet
	// By the driver. Release: with what it has done. Waking nobody at an address that was good
	// is no harm.
	void give(uint32_t a)
	{
		answer.store(a, mo::release);
		futex_wake(answer, 1);
	}
};

// To register the memory of a region with its ring, or to let go of it. The answer: 1.
struct RegionReply : Reply {
	RegionReply(dma::Region *r, bool k) : region(r), keep(k) {}
	dma::Region *region;
	bool keep;
};

// To hear what rights it has now (engine/rights.hpp). The answer: 1.
struct RightsReply : Reply {};

// Something short that is to be done with the helper's table of descriptors. It waits for nothing,
// and for no lock that is held while an errand is run.
struct Errand : Reply {
	explicit Errand(void (*f)(Errand *)) : run(f) {}
	void (*run)(Errand *);
};

// Has it run, and waits. False: there is no helper.
bool run_inside(Errand *errand);

// Asks the driver, and waits. 0: there is no driver.
uint32_t post_and_wait(MessageType type, void *object, Reply *reply);
uint32_t ask(RegionReply *reply);
uint32_t ask(RightsReply *reply);

// Whether the caller is one of the helper's threads, whose descriptors are not the program's.
bool on_helper_thread();
void enter_helper_thread(Helper *h);
Helper *own_helper();
// Whether the caller has the program's table of descriptors: some helpers share it.
inline bool in_programs_table()
{
	Helper *h = own_helper();
	return h == nullptr || !h->private_table();
}
// The running one, or nullptr.
Helper *running();

// Around the hand-over of a request that exists already. The first one waits until the helper is
// ready, which takes milliseconds: a handler that comes meanwhile, and may leave the call by a
// longjmp, runs when the request is the helper's. Costs nothing once the helper is there.
class Undisturbed {
public:
	Undisturbed()
	{
		if (running() == nullptr)
			blocked_.emplace();
	}

private:
	std::optional<BlockSignals> blocked_;
};

void after_fork();
// In every child of fork, whether or not it ever calls the library. Async-signal-safe.
void close_in_child();

} // namespace helper
} // namespace sigevec
