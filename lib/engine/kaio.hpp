// SPDX-License-Identifier: MIT
//
// Engine "kaio": kernel AIO, for O_DIRECT on files and block devices, submitted by the calling
// thread.
//
// Each thread has a context of its own (threads beyond 64 share). Nobody reads events with
// io_getevents: its ring is mapped, and events are taken from it in user space, by whoever looks
// for results. Who has to sleep until there is an event calls io_pgetevents with a bad address for
// the events: the kernel waits, fails with EFAULT, and leaves the event in the ring.
//
// One thread at a time sleeps on a context: the leader. As long as there is one, only the leader
// takes events, for all, so that it cannot sleep through the end of what it waits for; others sleep
// in their bucket (completion/waiters.hpp). A leader that leaves wakes those who follow. Where a
// request must end although nobody waits for it (it has a notification, or an fsync waits for it),
// it is counted in `needed', and a background thread leads while that is not 0. See Group
// (kaio_group.hpp) for those that are waited for, but by no one request.
//
// Locks: Context::lock is held with all signals blocked, hence never by an interrupted frame of the
// same thread; completion runs under it. A signal handler that waits on a context which its own
// thread leads leads it once more: the interrupted frame is inside the system call and looks again
// when it returns.
#pragma once

#include "base/sync.hpp"
#include "engine/engine.hpp"
#include "engine/kaio_group.hpp"

#include <atomic>

namespace sigevec::helper {
struct Helper;
}

namespace sigevec::kaio {

constexpr int contexts = 64;

// Takes what has ended on a context, unless someone sleeps on it. Async-signal-safe.
void poll(int context);
// The same with all signals blocked.
void poll_blocked(int context);

// Sleeps as the leader until done(arg) holds, which is asked for whenever events have been taken.
// 0, EINTR, ETIMEDOUT, or EBUSY: another thread leads. With `cancellable' a cancellation point.
// Async-signal-safe.
int lead(int context, bool (*done)(void *), void *arg, const Deadline &deadline, bool cancellable);

// For a group's waiter, with all signals blocked: sleeps once as the leader, with the signals of
// let_in, until there is an event, which it leaves in the ring. 0, -EINTR, -ETIMEDOUT, or -EBUSY:
// another thread leads. undo(arg): the call does not return (compat/cancellation.h), as with
// `type'. Async-signal-safe.
int sleep_once(int context, const timespec &most, const sigset_t *let_in, void (*undo)(void *),
	       void *arg, int type);

// Wakes bucket b when the leader leaves. False: nobody leads. Async-signal-safe.
bool follow(int context, unsigned b);

// Someone needs the events of a context without sleeping on it; pairs of calls. False: no
// background thread could be asked for, the caller has to look from time to time.
// Async-signal-safe.
bool need(int context);
void need_no_more(int context);

// Starts the background thread with the program's descriptors, before `need'. False: none could be
// had. Not async-signal-safe.
bool start_listening(int context);

// The same for one request, until it ends. Not async-signal-safe.
void end_in_background(Request *r);

// All contexts that exist, for aio_waitcomplete.
bool exists(int context);
// That of the calling thread, or -1: it has not needed one.
int own_index();

// Between these two calls requests of this thread are collected and submitted together.
void plug();
void unplug();

// What the kernel would say of a transfer before it looks at any memory: 0 or -errno; 0 also where
// it cannot be asked.
int verdict(int fd, bool read, int flags);

// By the driver, for a caller that may not start threads: a background thread with the helper's
// descriptors.
void start_for_helper(helper::Helper *h, void *context);

void after_fork();

} // namespace sigevec::kaio
