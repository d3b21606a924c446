// SPDX-License-Identifier: MIT
//
// The eventfds that are told of events (IOCB_FLAG_RESFD).
//
// A request holds its eventfd, as the kernel does: by a copy in the helper's table of descriptors, which the program can neither see nor
// close, made at the first request that names it. Later requests find it by comparing files. So only threads of the helper's can write to it;
// others ask the driver. Several events may come with one write, whose number is that of the events.
//
// Locks: EventSignals::lock, with all signals blocked, by submitters only. An EventSignal is freed with its context.
#pragma once

#include "runtime/post.hpp"
#include "runtime/sync.hpp"

namespace sigevec::io {

struct EventSignal : helper::Errand {
	EventSignal *next;
	int file; // in the helper's table
	std::atomic<uint64_t> due{0};
	std::atomic<bool> asked{false};
};

struct EventSignals {
	Mutex lock;
	EventSignal *first = nullptr;

	// What fd is: 0 and *s, or -errno (EBADF, EINVAL: no eventfd, EAGAIN). Not async-signal-safe.
	int find(int fd, EventSignal **s);
	// They are no longer used, and nobody is about to.
	void close_all();
};

// There is an event more. Async-signal-safe.
void tell(EventSignal *s);

} // namespace sigevec::io
