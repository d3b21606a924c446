// SPDX-License-Identifier: MIT
//
// Carriers: threads of the caller's own making, each of which carries out one request as the
// caller.
//
// What a request names, and what it may do, is its caller's: credentials, working directory, root,
// namespaces, filters. A new thread has all of them from its maker. So a request that cannot be
// carried out in the call, and for which it matters who makes the system call, gets a thread that
// the caller makes in the call; it leaves the caller's table of descriptors but for the files that
// the request needs, resolves the name, keeps the working directory and root of that moment, and
// stands by. The executor (the driver for streams, a worker for files) keeps the order, as it does
// for all others, and lets the carrier begin when it is the request's turn.
//
// How a name stays what it was: the carrier opens it without access (O_PATH), makes the folder of
// its own files in /proc its working directory, and its later attempts name the file by its number
// there. Where there is no /proc, the working directory and root that it keeps have to do.
//
// Rights that change later: libc's setuid and its like reach every thread, carriers as well. A
// carrier whose caller had put some by (an effective user that is not the real one) makes attempts
// that do not wait, each with what the caller had, during which such a call waits for it.
//
// Lifetimes: a Carrier belongs to its thread, which ends, and frees it, once it has been let go.
// Locks: none.
#pragma once

#include "request/request.hpp"

namespace sigevec::carrier {

// The most at one time. More are refused (EAGAIN).
constexpr uint32_t most = 1024;

// Whether it matters who carries out this call, of which `out' bytes went out before (or out < 0),
// and the helper is not the one.
bool needed(const Call &c, const Descriptor &d, ssize_t out);

// An AF_UNIX address is resolved by whoever makes the call, and the peer is told who that is.
bool names_unix(const Call &c);
// Descriptors that travel are those that have their numbers now.
bool sends_descriptors(const Call &c);

// Makes the carrier of r, in the calling thread. 0: r->carrier is there. -EAGAIN: there can be
// none; any other: the name's error, with which the request is to end.
int attach(Request *r);

// By the executor: its turn. The driver gets r back by helper::returned_from_program, with its
// result.
void begin(Request *r);
// The same for a worker, which waits for the result.
ssize_t run(Request *r);
// By the driver, of one that has begun: it is to end with ECANCELED if nothing of it has been done.
// To be repeated until it is back.
void interrupt(Request *r);
// It is not needed any more. Async-signal-safe.
void let_go(Request *r);

void after_fork();

} // namespace sigevec::carrier
