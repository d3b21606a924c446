// SPDX-License-Identifier: MIT
//
// The one thread that does what libfabric is called for, for all endpoints: it has the helper's
// table of descriptors, so that the program neither sees the providers' nor can close them, and a
// child of fork has none. It makes progress for peers whatever the program does, and sleeps on the
// providers' descriptors while there is nothing to do.
//
// Callers wake it by a signal that is blocked in it, as the receiver's thread (dma/receiver.hpp):
// who submits changes the count of work, then looks whether it sleeps; it says that it sleeps, then
// looks at the count. All four are seq_cst.
#pragma once

#include "fabric/endpoint.hpp"

namespace sigevec::fabric::thread {

// Something that it does while the caller waits.
struct Command {
	explicit Command(int (*f)(Command *)) : run(f) {}
	Command *next = nullptr;
	int (*run)(Command *); // an errno or 0; -1: somebody else sets `done'
	std::atomic<uint32_t> done{0};
	int error = 0;
};

// 0 or an errno: there is no such thread.
int ensure();
// Has it done, and waits. Its errno.
int run(Command *c);
// There is something for it in an endpoint.
void wake();

// By the thread: one that is not in use, in state `opening', with nothing in it. nullptr: no
// memory.
Endpoint *make();
// By the thread: from now on it takes care of it. 0 or an errno.
int watch(Endpoint *e);
// By the thread: whether an endpoint is being closed. What the program has closed is, also if epoll
// has not been asked since.
bool some_closed();

// Waits while an endpoint is being closed, but not long.
void wait_for_closing();
// As the last close of each, for a program that exits; waits for the end of what is under way, but
// not long. Takes no lock.
void finish_all();

void after_fork();

} // namespace sigevec::fabric::thread
