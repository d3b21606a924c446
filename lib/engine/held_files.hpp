// SPDX-License-Identifier: MIT
//
// Files that several requests hold together, for reads that wait in the driver's ring.
//
// The first one hands its file over (runtime/hand_over.hpp). While any that holds it is
// outstanding, others of the file travel in memory alone, behind it, and the driver is woken once
// for many. As with a file queue, any open
// file of the inode with the same flags gives the same bytes, where inode numbers are exact; it
// stays open until the last of them has ended.
//
// Locks: one of 64, by inode, held by submitters only; it protects the list. `uses' is counted
// without it, so that no request needs the lock in order to end: a file whose uses have become 0 is
// joined no more, its last user closes it, and the next submitter that passes it frees it.
#pragma once

#include "request/request.hpp"

namespace sigevec {

struct HeldFile {
	HeldFile *next;
	uint64_t dev, ino;
	int flags;
	int file;      // in the helper's table; the driver's to know
	unsigned left; // how many may join it yet: an open file that the program has closed is not
		       // held for ever for the sake of another
	std::atomic<uint32_t> uses;
	std::atomic<bool> closed; // and nobody's any more
};

namespace held_files {

// Hands r, a read of a file, to the driver. 0; or -errno: nothing has been done. Not
// async-signal-safe.
int to_driver(Request *r);

// By the driver, when r has come: with a file of its own, or without.
void arrived(Request *r);

// By the executor of any request that is not on a stream: r->file is let go of. Async-signal-safe.
void let_go(Request *r);

void after_fork();

} // namespace held_files
} // namespace sigevec
