// SPDX-License-Identifier: MIT
//
// What this thread found when it last looked at a descriptor of a file: a small read that is in the
// cache, or transfer of a file in memory, need not look each time.
//
// A number is not a file, so what is remembered may be of a file that is gone: the program has
// closed the number and used it again, or another thread has, or fcntl has changed O_DIRECT.
// Therefore a guess chooses nothing but preadv2 with RWF_NOWAIT at an offset, which does no harm to
// any file, and its result is believed only when it is all that was asked for. Everything else is
// looked at, and done as if nothing had been. What the call does to each kind of file (measured on
// Linux 6.18, each with something to read):
//
//   regular file, block device     the bytes at the offset, as far as they are in the cache;
//                                  O_DIRECT: read from the device within the call
//   pipe, FIFO, socket, terminal,  ESPIPE, nothing is taken
//   eventfd, timerfd, signalfd,
//   inotify, fanotify,
//   userfaultfd, epoll
//   pidfd, directory               EINVAL, EISDIR
//   FUSE, tmpfs, procfs, sysfs,    EOPNOTSUPP, nothing is taken
//   POSIX message queue, kmsg,
//   fuse, hwrng, full in /dev
//   zero, null, random in /dev     what read gives; there is nothing to lose
//   tun, tap                       a packet is taken, as by read: it is the result, however short,
//                                  once a look has said that this is no file
//
// Kernel AIO is never told a number by a guess: it does not know of files that have no offset, and
// takes what is in pipes, timers, and at offset 0 in sockets. For a file in memory, which has no
// RWF_NOWAIT, the number must be the same file of the same mount, and a plain pread, which takes
// nothing from a stream either, is the judge of its own result. To such a file is written, too:
// pwrite on what the number is at the call is what was asked for, whatever flags the open file has.
// It appends with O_APPEND as the blocking call does, behind what is queued for the file.
//
// Locks: none; all of it is the thread's. A guess is used 32 times at most.
#pragma once

#include "request/request.hpp"

namespace sigevec::guess {

enum class Answer : uint8_t {
	none,  // nothing has been tried
	ended, // *result is the request's
	doubt, // *result came of the attempt: a part (nothing but what no file is may have lost it
	       // by that), nothing, or -errno
};

struct Attempt {
	Answer answer = Answer::none;
	Kind kind = Kind::file; // if it has ended
	ssize_t result = 0;
};

// By what is remembered of c.fd.
Attempt attempt(const Call &c);

// Whether a worker is to copy what c writes, beside the program, because that is the quicker way,
// or to find out whether it is (request/pace.hpp): of a thread that has several requests
// unreturned.
bool beside(const Call &c);
// c has not ended in the call: a write for which beside() said no goes to a worker all the same.
void handed_over(const Call &c);

// After a look.
void remember(const Descriptor &d);

} // namespace sigevec::guess
