// SPDX-License-Identifier: MIT
//
// Closing the library's copies of the program's files, so that the program does not notice.
//
// close() is not only the end of a reference: whichever thread of a process closes whichever
// descriptor of a message queue takes away what the process has registered there with mq_notify.
// Who asks is known by the process. So another one closes it: a child that has this thread's table
// and memory, and lives for that call. Where no child can be had the registration goes.
//
// Locks: none. By threads of the library's, which have all signals blocked.
#pragma once

#include <cstdint>

namespace sigevec::copies {

// The file system's number of message queues.
constexpr uint64_t message_queue_magic = 0x19800202;

// There is a message queue among the files that requests are for. Before the first copy of it is
// closed; any thread.
void expect_message_queues();

// A copy of a request's file.
void close(int fd);
// A copy of any file.
void close_carefully(int fd);
// All copies from first to before end.
void close_range(unsigned first, unsigned end);

// Gives this thread a table of its own. kept: the highest number that has to be there, or less.
// There are copies in numbers below the result, and nowhere else: they are to be closed, or kept.
// 0: the kernel refuses.
unsigned make_private_table(int kept);
// The same result for a thread that has had one from the start.
unsigned end_of_table();

} // namespace sigevec::copies
