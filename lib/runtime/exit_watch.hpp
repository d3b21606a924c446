// SPDX-License-Identifier: MIT
//
// The end of a process whose first thread has left main by pthread_exit.
//
// Such a process ends with the last of its threads; libc counts them, ours included. libc's own AIO
// lets its threads end when they are idle, so that this comes about. Ours stay: the driver has the
// ring and the files that requests hold. Hence one more thread, which there is only after the first
// one has left: as soon as nobody but the library is there, and no request and no function of
// async_io_notify is outstanding, it calls exit(0), as the last thread would. Results that wait to
// be taken, as those of kernel AIO do, it takes. It does so itself because it has the program's
// table of descriptors, for what exit() still writes.
#pragma once

namespace sigevec::exit_watch {

// By set_up: the caller may be the process's first thread.
void watch_caller();

// By a thread of the library: it is one from here on, or no more. Not one is who runs the program's
// code.
void began();
void ended();

// A thread of the library has been started by the caller.
void started();

// Whether no request and no function of async_io_notify is outstanding: of process/outstanding.cpp.
bool nothing_outstanding();

void after_fork();

} // namespace sigevec::exit_watch
