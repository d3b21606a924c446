// SPDX-License-Identifier: MIT
//
// Calls that wait in the kernel for data of an association, and can be called back from there.
//
// A reader that waits is served quickest by the kernel itself, so it sleeps in recvmsg and nobody
// can wake it by memory. Who ends the association makes its message impossible, and interrupts the
// thread by the signal that libc keeps for cancellation (compat/interrupt.h): whether the kernel
// has not begun, stops with EINTR or begins anew, the call fails, and has taken nothing. What came
// before that is the call's result.
//
// Locks: all of it with the association's lock held. Lifetimes: each is its call's, made before the
// lock is released to sleep; its memory is not the stack, which a handler may leave by siglongjmp.
#pragma once

#include "dma/region.hpp"

#include <sys/socket.h>
#include <sys/types.h>

namespace sigevec::dma {

struct Association;

struct Blocked {
	Blocked *next;
	pid_t thread;
	const Region *region; // where its room is; nullptr: it has none
	struct msghdr m;      // what it sleeps with: one part, until it is called back
	bool called;
};

namespace blocked {

// nullptr: no memory.
Blocked *enter(Association *a, const Region *r);
// It sleeps no longer, and is freed. a: nullptr if the association has ended. True: it was called
// back.
bool leave(Association *a, Blocked *b);
// All of them, or those with room in r.
void call_back(Association *a, const Region *r);

} // namespace blocked
} // namespace sigevec::dma
