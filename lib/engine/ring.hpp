// SPDX-License-Identifier: MIT
//
// The driver's io_uring.
//
// SINGLE_ISSUER and DEFER_TASKRUN (before Linux 6.15 COOP_TASKRUN): only the driver submits, and
// completions are worked off in its thread, when it asks. So no request depends on the life of an
// application's thread, and none interrupts a system call of the application's.
#pragma once

#include "base/own_ring.hpp"
#include "config.h"
#include "request/request.hpp"
#include "runtime/driver_wakeup.hpp"

namespace sigevec::dma {
struct Region;
}

namespace sigevec::driver {

class Ring {
public:
	enum class CompletionType : uint8_t { request, cancellation, wakeup, readiness };
	struct Completion {
		CompletionType type;
		Request *request;
		ssize_t result;
	};

	// False: refused; why_not() tells. w: told of as CompletionType::wakeup when it is called.
	bool open(unsigned entries, DriverWakeup *w);

	// Starts what is left of r on the driver's descriptor file. Submitted by the next wait.
	void start(Request *r, int file);
	// Registers the memory of a region, if it is to be and is not yet; tells the region
	// (Region::ring, for_ring). Drops it again.
	void keep(dma::Region *r);
	void let_go(dma::Region *r);
	// From now on: says when the epoll descriptor has something to tell
	// (CompletionType::readiness).
	void watch(int epoll);
	void cancel(Request *r);

	// The kernel refuses to let it be entered. leave(): what was in it is told of as cancelled,
	// now and then, until nothing is outstanding.
	bool lost() const;
	void leave();
	bool outstanding() const { return outstanding_ != 0; }

	// Submits, and sleeps until there is a completion or ms have passed (-1: for ever).
	void wait(int ms);
	bool next(Completion *c);

	// Why the last open in this process failed, or nullptr.
	static const char *why_not();
	// Whether a ring could be opened now.
	static bool probe();

private:
#ifdef HAVE_LIBURING
	struct io_uring_sqe *get_sqe();
	bool knows_futexes();
	void watch_wakeup();
	void watch_epoll();
	void wait_on_descriptor(int ms);
	bool make_table();
	void use_registered(struct io_uring_sqe *sqe, const Request *r);
	OwnRing ring_;
	enum class Table : uint8_t {
		none,
		made,
		refused
	} table_ = Table::none; // of registered memory
	// How its owner is woken: by a descriptor, or (-1) by the futex; whether the ring waits for
	// that.
	DriverWakeup *wakeup_;
	int woken_by_ = -1;
	bool watched_ = false;
	int epoll_ = -1; // or it is not watched
	bool watches_epoll_ = false;
	void note_start(Request *r, const struct io_uring_sqe *sqe);
	bool classify(uint64_t data, int result, bool ended, Completion *c);
	helper::Post *stranded_ = nullptr; // parts of requests whose entry nobody looks at
#endif
	unsigned outstanding_ = 0; // requests
	unsigned untaken_ = 0;     // by the kernel, when it was left
};

} // namespace sigevec::driver
