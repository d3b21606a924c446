// SPDX-License-Identifier: MIT
//
// A worker that stands by: one that has just finished, and looks for the next job for a moment before it waits at the socket.
//
// While it does, a submitter gives it a job through memory, without a system call: the worker takes the file out of the
// program's table itself (pidfd_getfd), and the submitter does not return before it has. So the request holds the file it was
// submitted on, as it does by the socket; and as there, the worker lets go of it before the last end is told.
//
// One worker at a time. What is not taken at once is withdrawn and goes by the socket. Nobody waits for a submitter, so no
// signals need be blocked.
#pragma once

#include "runtime/helper.hpp"
#include "runtime/spin.hpp"

namespace sigevec::standby {

// By the driver, once its table is its own.
void set_up(helper::Helper *h);

// By a submitter. True: the worker has the packet and the file.
bool offer(helper::Helper *h, const helper::Packet &p, const Request *r);

// By a worker. True: it has been given a packet and a file.
bool wait(helper::Helper *h, Spin &spin, bool expected, helper::Packet *p, int *fd);

} // namespace sigevec::standby
