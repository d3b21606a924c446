// SPDX-License-Identifier: MIT
//
// Threads that sleep on many words at once, for waits that would each sleep on one: one thread with an io_uring where that knows
// futexes (futex_ring.hpp), for any number; else futex_waitv, 127 words in a thread, eight threads at most.
//
// A wait belongs to one watcher from enter() until it is settled; nobody else touches its protocol. When futex_waitv returns the watcher looks
// at all its words, for the kernel says of one only that it was woken: a wake-up of another wait must not be lost. A word that has its
// old value needs nothing, whether it was woken or not: the blocking functions would go to sleep again.
//
// The waits of an EC_SINGLE channel are not in that channel's own ring: a wake-up is meant for a thread that goes on at once, and an owner
// which looks much later would keep the object from all who wait behind.
//
// Lock: `lock' guards places and lists, and that nobody calls for a wait that is settled.
#pragma once

#include "source/source.hpp"

namespace sigevec::watcher {

constexpr int nowhere = -1;

// Whether the kernel can.
bool works();

// A place for a wait, or nowhere: all are taken, or no thread could be made.
int reserve();
void give_back(int place);
// A wait that sleeps; with the reference of whoever will tell its end.
void enter(int place, source::Wait *w);

// As Kind::cancel. The wait is settled when this returns: nothing of its object's is used after that.
bool cancel(source::Wait *w, bool destroy);

void after_fork();

} // namespace sigevec::watcher
