// SPDX-License-Identifier: MIT
//
// Threads that sleep on many words at once, for waits that would each sleep on one: one thread with
// an io_uring where that knows futexes (futex_ring.hpp), for any number; else futex_waitv, 127
// words in a thread, eight threads at most (futex_words.hpp). Before Linux 6.15, where who sleeps
// in a ring counts as waiting for a device, the thread with the ring is the last one to be used.
//
// A wait belongs to one waiter from enter() until it is settled. Its thread alone takes the steps
// of the protocol, except the last one of a wait for a semaphore or mutex of this process that is
// cancelled: the canceller withdraws it, between two turns of the thread. A waiter never waits for
// a lock of the program's: who holds that may be waiting for another of its waits. What cannot be
// done without is left to the canceller (Protocol::leave), after the waiter has let go of the
// wait.
//
// The waits of an EC_SINGLE channel are not in that channel's own ring: a wake-up is meant for a
// thread that goes on at once, and an owner which looks much later would keep the object from all
// who wait behind.
//
// Locks: `lock' guards places and lists, and that nobody calls for a wait that is settled; each
// waiter's `turn' what its thread works on. Neither is taken under the other.
#pragma once

#include "source/source.hpp"

namespace sigevec::futex_waiter {

constexpr int nowhere = -1;

// Whether the kernel can.
bool works();

// A place for a wait, or nowhere: all are taken, or no thread could be made. object: waits for it
// sleep on the same one word, and may share a place; or nullptr.
int reserve(const void *object);
void give_back(int place);
// A wait that sleeps; with the reference of whoever will tell its end.
void enter(int place, source::Wait *w);

// As in Kind.
bool cancel(source::Wait *w, bool destroy);
void await(source::Wait *w);

void after_fork();

} // namespace sigevec::futex_waiter
