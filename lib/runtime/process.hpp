// SPDX-License-Identifier: MIT
//
// Which process this is: start-up at the first call, and a new start after fork.
//
// Nothing happens when the library is loaded. The first submission sets it up. One page is marked
// MADV_WIPEONFORK: in a child of fork (or _Fork, or clone) it reads as zero, so that a child is
// noticed without a system call and without a handler that would run in every fork of the program.
#pragma once

#include "base/memory_order.hpp"

#include <atomic>
#include <cstdint>

namespace sigevec::process {

// The wiped page. state: 0 not set up in this process, 1 being set up, 2 ready.
struct Page {
	std::atomic<uint32_t> state;
};

extern std::atomic<Page *> page;

// True when this process has used the library: only then may kernel objects be touched.
// Async-signal-safe.
inline bool ready()
{
	Page *p = page.load(mo::acquire);
	return p != nullptr && p->state.load(mo::acquire) == 2;
}

bool set_up();

// First statement of every entry point that starts something. False: no memory. Not
// async-signal-safe.
inline bool ensure()
{
	return ready() || set_up();
}

} // namespace sigevec::process
