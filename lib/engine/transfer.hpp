// SPDX-License-Identifier: MIT
//
// The system calls that move data, and the arithmetic of partial transfers. What all engines share.
// transfer.cpp: what is left of a request, and calls that do not wait; blocking.cpp: calls that do;
// connect.cpp: connecting and accepting; describe.cpp: what a descriptor is.
#pragma once

#include "request/request.hpp"

#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

// Linux 6.9; older headers lack it.
#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x20
#endif

namespace sigevec::transfer {

// What fd is; false: errno says why (EBADF). Async-signal-safe.
bool describe(int fd, Descriptor *d);
// Whether that is the file that r was submitted on, by another open file perhaps, through which the
// bytes are the same: r holds nothing. Devices and file systems whose inode numbers are not exact
// are believed as far as mount and time of birth go.
bool is_file_of(const Request *r, const Descriptor &d);
// That of an inode which was born only now: the next one of its number may have the same time of
// birth. 0: it is older, or the file system does not say.
uint32_t generation_of_newborn(const Request *r, int fd);
// Whether d.fd is still the file in memory that it was, of the same mount. False also if the kernel
// does not say.
bool still_in_memory(const Descriptor &d);

// What is copied within a call at most: about what a hand-over to a thread costs.
constexpr size_t copied_in_call = 64 * 1024;

// The most that the kernel moves in one call (MAX_RW_COUNT with 4 KiB pages).
constexpr size_t most_at_once = 0x7ffff000;

// What is wrong with how much a call is to move, on a descriptor with these flags: -errno, or 0.
ssize_t impossible_length(const Call &c, int flags);

// A piece of memory: the whole of a request, or what is left of it.
struct Piece {
	void *buf;
	size_t len;
	off_t offset;
	const struct iovec *vector; // instead of buf, or nullptr
	int vector_count;
};

// The whole of a call that has not begun.
inline Piece whole(const Call &c)
{
	return {c.buf, c.len, c.offset, c.vector, c.vector_count};
}
// What is left of o. With a vector this changes o->vector, whose executor must be the caller.
Piece rest(KeptOperation *o);

// One call at the offset: a file that has none says -ESPIPE, and nothing has been moved. Result or
// -errno. Async-signal-safe.
ssize_t at_offset(bool read, int fd, const Piece &p, int flags);

// read, readv, write or writev of no bytes.
ssize_t of_nothing(bool read, int fd, const Piece &p);

// One call that does not wait. Result or -errno: -EAGAIN nothing there, -EOPNOTSUPP the file cannot
// say without waiting. Never raises SIGPIPE on a socket; on a pipe the caller must have it blocked.
// Async-signal-safe.
ssize_t without_waiting(bool read, Kind kind, int fd, const Piece &p);

// One attempt of a send or a receive that does not wait. header: address, control data and results
// of the call, or nullptr; control: whether the control data still has to go. Never raises SIGPIPE.
// Result or -errno. Async-signal-safe.
ssize_t message_without_waiting(bool inward, int fd, int flags, struct msghdr *header, bool control,
				const Piece &p);

// What is left of r, by such an attempt on fd.
ssize_t attempt(Request *r, int fd);

// Whether a file that cannot be asked without waiting is one that is ready exactly when a call on
// it need not wait. False also if there is no telling what it is.
bool tells_readiness(Kind kind, int fd);

// The header for the kernel, with what is left. Control data goes with the first part. As rest().
struct msghdr *header_of_rest(KeptOperation *o);

// Whether a descriptor may travel with the message.
bool may_carry_descriptors(Op op, int fd, const struct msghdr *header);
// Whether the kernel may make descriptors in the table of whoever carries this out.
bool makes_descriptors(const Call &c, const Descriptor &d);

// The kernel has no way to do this call without waiting.
inline bool must_block(const Request *r)
{
	return r->op == Op::send && (r->call_flags & MSG_FASTOPEN) != 0;
}
// Whether a file on d's file system may be written within a call: neither beyond RLIMIT_FSIZE, nor
// before what is queued for it.
bool may_be_written_in_call(off_t offset, size_t len, const Descriptor &d);
// Whether all of a file's range is in the page cache; false also if the kernel does not say (before
// Linux 6.5).
bool in_cache(int fd, off_t offset, size_t len);

// Whether a write would end beyond RLIMIT_FSIZE. Then the thread that makes the call may get
// SIGXFSZ: it must not be one of the program's. The library's have it blocked. Async-signal-safe.
bool beyond_size_limit(off_t offset, size_t len);

// Begins to connect, by a thread that may wait for a moment: 0 or -errno; -EINPROGRESS: it is under
// way, and the socket, ready to be written, will tell how it ends. A call that would wait for that
// is interrupted once it has begun. AF_UNIX sockets wait for room in their listener's queue: in the
// call, or if it is to be brief the end is -EINTR, or -EAGAIN with O_NONBLOCK, and it has not
// begun.
ssize_t begin_connect(int fd, const struct msghdr &to, bool briefly);
// By the caller in its own call, to an address that begins_briefly, where O_NONBLOCK is not set:
// the same, or -EAGAIN: it has not been made.
ssize_t begin_connect_in_call(int fd, const struct msghdr &to);
// Of which families a connect that is interrupted goes on by itself.
bool begins_briefly(const struct msghdr &to);
// After the ring has said that a connect has failed: the socket is to be as connect() leaves it.
// error.
ssize_t failed_connect(int fd, ssize_t error);
// One connection of a listener in which there is one: the new descriptor, in the caller's table, or
// -errno. Should somebody else have taken it, the call lasts for a moment: -EINTR.
ssize_t accept_briefly(int fd, int flags);
// How a connect that has begun has ended, once the socket is ready to be written: 0 or -errno;
// -EAGAIN: not yet. Does not wait.
ssize_t end_of_connect(int fd, const struct msghdr &to);

// What a poll that has found something ends with. A descriptor without a file, as one of O_PATH, is
// a bad one.
inline ssize_t poll_result(short found)
{
	return (found & POLLNVAL) != 0 ? -EBADF : found;
}

// A transfer of a file that was opened without O_DIRECT when it was submitted. What the kernel has
// against it may be O_DIRECT, set since.
inline bool submitted_buffered(const Request *r)
{
	return (r->op == Op::read || r->op == Op::write) && r->kind == Kind::file &&
	       (r->flags & O_DIRECT) == 0;
}

// One call that waits, with what is left of r. Result or -errno.
ssize_t one_call(Request *r, int fd);

// What such a call says if it need not wait; else -EINTR.
ssize_t one_moment(Request *r, int fd);

// The whole request by blocking calls, as one read or write of a blocking descriptor would do it.
// Result or -errno: -ECANCELED if it was stopped, -EINTR if it was only to be tried and would have
// to wait.
ssize_t blocking(Request *r, int fd);

// Adds a partial result to r->done. True: more is to be transferred.
bool advance(Request *r, ssize_t result);

// The same, of a call on fd that has come back with its result.
bool goes_on(Request *r, int fd, ssize_t result);
// Whether a connection has ended of whose send a part is out: the error stays with the socket, for
// the next call.
bool is_broken(int fd);

// What ends the wait of a send or a write for room, on a socket.
// SO_SNDTIMEO, in ns, or 0: none.
uint64_t limit_of_write(int fd);
// Whether that begins anew with each part.
bool limit_of_each_part(int fd);
// Whether all that ends it makes the socket ready to be written, too: not a shutdown of AF_UNIX
// sockets, and who knows of other families.
bool readiness_suffices(int fd);

// The result of the whole request, when its last part gave `last'.
ssize_t total(const Request *r, ssize_t last);

} // namespace sigevec::transfer
