// SPDX-License-Identifier: MIT
//
// The eventfds that are told of events (IOCB_FLAG_RESFD).
//
// A request holds its eventfd, as the kernel does: by a copy in the helper's table of descriptors,
// which the program can neither see nor close, made at the first request that names it. Later
// requests find it by comparing files, where the kernel does that. So only threads of the helper's
// can write to it; others ask the driver.
//
// Locks: EventSignals::lock, with all signals blocked, by submitters only. Lifetimes: an
// EventSignal has one user for being in its context's list, one for each request, and one while the
// driver is asked to write. The last one has it closed and freed by a thread of the helper's. What
// is in the list, and not in use, and not the program's number any more, goes when the next one is
// made.
#pragma once

#include "base/sync.hpp"
#include "runtime/post.hpp"

namespace sigevec::io {

struct EventSignal : helper::Chore {
	EventSignal *next;
	int number; // in the program's table, when it was made
	int file;   // in the helper's
	// Where that is the program's, and the number may become another file's: which eventfd it
	// is, as /proc tells; 0: that is not known.
	uint64_t shared_id;
	std::atomic<uint32_t> users{0};
	std::atomic<uint64_t> due{0};
	std::atomic<bool> asked{false};
};

struct EventSignals {
	Mutex lock;
	EventSignal *first = nullptr;

	// What fd is: 0 and *s, with a use for the caller's request, or -errno (EBADF, EINVAL: no
	// eventfd, EAGAIN). Not async-signal-safe.
	int find(int fd, EventSignal **s);
	// No request will look for one any more.
	void close_all();

private:
	EventSignal *known(int fd, pid_t helper) const;
	void drop_idle(pid_t helper);
};

// There is an event more: the request's use is given back. Async-signal-safe.
void signal_eventfd(EventSignal *s);
// There is none. Async-signal-safe.
void drop(EventSignal *s);

} // namespace sigevec::io
