// SPDX-License-Identifier: MIT
//
// The System V calls themselves.
#pragma once

#include "source/source.hpp"

namespace sigevec::sysv {

using source::SysvCall;

// Waits in the kernel. The call's result, or -errno; EIDRM, too, if the object went before the
// kernel was asked: the call had been accepted while it was there.
ssize_t wait_in(const SysvCall &c);

// True: *result is the call's, or -errno. False: it has to wait, or (operations with IPC_NOWAIT
// among them) perhaps.
bool attempt(const SysvCall &c, ssize_t *result);
// The same of a call that was accepted before: what has gone meanwhile is EIDRM.
bool attempt_again(const SysvCall &c, ssize_t *result);

// By the caller, of a call that must not be attempted yet. True: it would fail at once, with
// *result.
bool is_refused(const SysvCall &c, ssize_t *result);

// The same for calls that are served in their order, whichever buffer they have.
uint64_t queue_of(const SysvCall &c);

// 0 or an errno: a copy of the operations, if the call has any.
int copy_operations(SysvCall *c);
void free_operations(const SysvCall &c);

} // namespace sigevec::sysv
