// SPDX-License-Identifier: MIT
//
// An io_uring of a watcher's that sleeps on any number of words (IORING_OP_FUTEX_WAIT, Linux 6.7). It belongs to the thread that opened
// it, and has no number in the program's table of descriptors.
#pragma once

#include "config.h"
#include "source/source.hpp"

#ifdef HAVE_LIBURING
#include <liburing.h>
#endif

namespace sigevec::watcher {

class FutexRing {
public:
	// False: there is no io_uring, or it does not know futexes.
	bool open();
	void close();

	// Tells when w->sync.word has not w->sync.value, or was woken, or w's deadline has passed.
	void sleep(source::Wait *w);
	// Makes it tell now.
	void interrupt(source::Wait *w);
	// The same for a word of the watcher's own, once.
	void listen(const std::atomic<uint32_t> &word, uint32_t value);

	// Submits, and sleeps until there is something to tell or so many seconds have passed (-1: for ever).
	void wait(int seconds);
	// False: nothing more. *w nullptr: the watcher's own word.
	bool next(source::Wait **w);

private:
#ifdef HAVE_LIBURING
	struct io_uring_sqe *get_sqe(unsigned room);
	struct io_uring ring_;
#endif
};

} // namespace sigevec::watcher
