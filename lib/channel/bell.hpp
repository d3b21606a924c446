// SPDX-License-Identifier: MIT
//
// The eventfds of a channel: its bell, and what wakes the owner of its ring.
//
// Both have numbers in the program's table. The helper's threads have a table of their own: before a request whose end they may
// have to tell is handed to them, they get copies.
#pragma once

#include "channel/channel.hpp"

namespace sigevec::bell {

enum class Which : uint8_t { bell, wake };

// An eventfd with a mark, so that a program which closes all its descriptors and opens others is not written into. -1: errno.
int make();
bool mark(int fd);
bool is_ours(int fd);
// Closes it, if it is one.
void close(int fd);

// Rings it. Async-signal-safe, any thread. known: the caller has just seen that the number still is the eventfd.
void ring(Channel *c, Which which, bool known = false);
// Empties the bell; the program's threads only.
void silence(Channel *c);

// The helper will be able to ring. False: no memory or descriptor for that. Not async-signal-safe.
bool install(Channel *c);

// The channel ends.
void remove(Channel *c);

void after_fork();

} // namespace sigevec::bell
