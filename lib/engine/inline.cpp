// SPDX-License-Identifier: MIT
//
// Engine "inline": what neither waits nor takes long is done within the call.
//
// Files: a small read that the page cache can serve (RWF_NOWAIT), a small write that it takes, and
// small transfers of files that live in memory. Streams: what is there can be read, and what there
// is room for be written, when nothing is queued before it. Never: O_SYNC, O_DIRECT, fsync, large
// transfers. Pipes are not written to here, because the thread is the application's: it must not
// get SIGPIPE, nor SIGXFSZ for a write beyond RLIMIT_FSIZE.
#include "engine/engine.hpp"

#include "base/socket_option.hpp"
#include "base/sync.hpp"
#include "base/syscalls.hpp"
#include "dma/zero_copy.hpp"
#include "engine/attempts.hpp"
#include "engine/filequeue.hpp"
#include "engine/transfer.hpp"
#include "request/order.hpp"
#include "request/stream.hpp"
#include "runtime/helper.hpp"
#include "runtime/probes.hpp"

#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

namespace sigevec {

namespace {

using transfer::whole;

constexpr size_t small = transfer::copied_in_call;

// A part of a file's read can be cached, or be all there is: only the size tells.
bool complete(const Call &c, const Descriptor &d, ssize_t n)
{
	return n <= 0 || static_cast<size_t>(n) == c.len || c.offset + n >= d.size;
}

using attempts::Way;

bool pays(const Call &c, const Descriptor &d, Way way)
{
	if (attempts::pays(d.dev, d.ino, way))
		return true;
	passed_on(stats::inline_left_out, d.fd, c.begun);
	return false;
}

bool read_cached(const Call &c, const Descriptor &d, ssize_t *result)
{
	if (!pays(c, d, Way::read))
		return false;
	// At the offset alone: should the number have become another file since it was looked at,
	// nothing is taken from a stream.
	ssize_t n = transfer::at_offset(true, d.fd, whole(c), RWF_NOWAIT);
	attempts::note(d.dev, d.ino, Way::read, n != -EAGAIN && n != -EOPNOTSUPP);
	if (n == -EAGAIN || n == -EOPNOTSUPP || n == -ESPIPE || !complete(c, d, n)) {
		passed_on(n == -EOPNOTSUPP ? stats::inline_unsupported : stats::inline_cold, d.fd,
			  c.begun);
		return false;
	}
	*result = n;
	return true;
}

bool left_to_worker(const Call &c)
{
	if (c.beside)
		passed_on(stats::inline_slower, c.fd, c.begun);
	return c.beside;
}

bool in_memory(const Call &c, const Descriptor &d, ssize_t *result)
{
	if (left_to_worker(c))
		return false;
	if (c.op == Op::write && !transfer::may_be_written_in_call(c.offset, c.len, d))
		return false;
	ssize_t n = transfer::at_offset(c.op == Op::read, d.fd, whole(c), 0);
	// A part of a write is its result, as the call says: the rest would fail, and what has been
	// appended is not to be written again.
	if (n == -ESPIPE)
		return false;
	*result = n;
	return true;
}

// Whether the page at an end of a write is there, if it is written in part: otherwise it is read
// from the device first. Asked for without a read, which would change the file's time of access.
bool page_is_there(const Descriptor &d, off_t end)
{
	auto size = static_cast<off_t>(getpagesize());
	off_t page = end / size * size;
	return page == end || page >= d.size ||
	       transfer::in_cache(d.fd, page, static_cast<size_t>(size));
}

bool covers_pages(const Call &c, const Descriptor &d)
{
	off_t end = c.offset + static_cast<off_t>(c.len);
	return page_is_there(d, c.offset) && (end >= d.size || page_is_there(d, end));
}

// Where a copy into the cache waits for nothing that can be known beforehand: neither for a write
// of the library's own to the file, nor for the device.
bool may_be_copied(const Call &c, const Descriptor &d)
{
	if (!d.exact_inode || (d.flags & O_APPEND) != 0 ||
	    c.offset > LLONG_MAX - static_cast<off_t>(c.len))
		return false;
	if (order::sync_outstanding() || !transfer::may_be_written_in_call(c.offset, c.len, d)) {
		passed_on(stats::inline_queued, d.fd, c.begun);
		return false;
	}
	return pays(c, d, Way::write) && covers_pages(c, d);
}

// What is longer than a hand-over was no gain.
constexpr long long slow_ns = 50000;

// ext4 has no write that does not wait. It copies into the cache, and waits only where other
// programs hold the file or have filled the cache: learned by its time.
bool write_cached(const Call &c, const Descriptor &d, ssize_t *result)
{
	if (left_to_worker(c) || !may_be_copied(c, d))
		return false;
	timespec begin = monotonic_now();
	ssize_t n = transfer::at_offset(false, d.fd, whole(c), 0);
	timespec end = monotonic_now();
	bool quick = (end.tv_sec - begin.tv_sec) * 1000000000ll + (end.tv_nsec - begin.tv_nsec) <
		     slow_ns;
	attempts::note(d.dev, d.ino, Way::write, quick);
	if (!quick)
		passed_on(stats::inline_slow, d.fd, c.begun);
	if (n == -ESPIPE || (n >= 0 && static_cast<size_t>(n) != c.len))
		return false;
	*result = n;
	return true;
}

bool on_file(const Call &c, const Descriptor &d, ssize_t *result)
{
	// Whether it is refused (a folder) is for the plain call to say, which may have to wait.
	if (c.len == 0 && d.kind != Kind::memory)
		return false;
	if (c.len > small) {
		passed_on(stats::inline_large, d.fd, c.begun);
		return false;
	}
	if ((d.flags & (O_SYNC | O_DSYNC)) != 0 && c.op == Op::write)
		return false;
	if (d.kind == Kind::memory)
		return (c.op == Op::read || !d.plain_calls_only) && in_memory(c, d, result);
	if ((d.flags & O_DIRECT) != 0 || d.plain_calls_only)
		return false;
	return c.op == Op::read ? read_cached(c, d, result) : write_cached(c, d, result);
}

bool nothing_there(ssize_t n)
{
	return n == -EAGAIN || n == -EOPNOTSUPP || n == -EINTR;
}

// Ends with EAGAIN rather than wait.
bool nonblocking(const Call &c, const Descriptor &d)
{
	return is_socket_call(c.op) ? (c.call_flags & MSG_DONTWAIT) != 0
				    : (d.flags & O_NONBLOCK) != 0;
}

ssize_t try_stream(const Call &c, const Descriptor &d)
{
	bool inward = is_inward(c.op);
	if (c.op == Op::accept) {
		// Without O_NONBLOCK the call might wait, though a connection was there a moment
		// ago.
		if ((d.flags & O_NONBLOCK) == 0)
			return -EAGAIN;
		long fd = syscall(SYS_accept4, d.fd, nullptr, nullptr, c.call_flags);
		return fd < 0 ? -errno : fd;
	}
	if (!is_socket_call(c.op))
		return transfer::without_waiting(inward, d.kind, d.fd, whole(c));
	ssize_t n = transfer::message_without_waiting(inward, d.fd, c.call_flags, c.message, true,
						      whole(c));
	if (n >= 0 && c.result != nullptr) {
		c.result->msg_namelen = c.message->msg_namelen;
		c.result->msg_controllen = c.message->msg_controllen;
		c.result->msg_flags = c.message->msg_flags;
	}
	return n;
}

bool read_stream(const Call &c, const Descriptor &d, ssize_t *result)
{
	ssize_t n = try_stream(c, d);
	if (nothing_there(n) && !(n == -EAGAIN && nonblocking(c, d)))
		return false;
	*result = n;
	return true;
}

// With the stream's claim held. When not all is written, the claim goes to the driver with the
// rest.
bool write_stream(const Call &c, const Descriptor &d, uint32_t word, ssize_t *result)
{
	ssize_t n = try_stream(c, d);
	bool no_wait = nonblocking(c, d);
	if (n >= 0 && static_cast<size_t>(n) < c.len && !no_wait) {
		*result = n;
		return false;
	}
	if (stream::give_up_claim(word))
		helper::look_at_streams();
	if (nothing_there(n) && !(n == -EAGAIN && no_wait)) {
		*result = n == -EAGAIN ? -EAGAIN : -1;
		return false;
	}
	*result = n;
	return true;
}

bool on_stream(const Call &c, const Descriptor &d, ssize_t *result)
{
	bool read = is_inward(c.op);
	if (c.len > small || (!read && d.kind == Kind::fifo)) {
		passed_on(stats::inline_large, d.fd, c.begun);
		return false;
	}
	uint32_t word = stream::word_of({d.dev, d.ino, read});
	if (read ? !stream::idle(word) : !stream::claim(word)) {
		passed_on(stats::inline_queued, d.fd, c.begun);
		return false;
	}
	return read ? read_stream(c, d, result) : write_stream(c, d, word, result);
}

bool poll_now(const Call &c, ssize_t *result)
{
	struct pollfd p = {c.fd, static_cast<short>(c.call_flags), 0};
	if (sys::poll_now(&p) <= 0)
		return false;
	*result = transfer::poll_result(p.revents);
	return true;
}

bool beside_the_stream(const Call &c, const Descriptor &d, ssize_t *result)
{
	bool nothing = c.op == Op::read || c.op == Op::write;
	*result =
		nothing ? transfer::of_nothing(c.op == Op::read, d.fd, whole(c)) : try_stream(c, d);
	return true;
}

// Devices, which may wait for something to read all the same, are asked by a thread.
bool device_of_nothing(const Call &c, const Descriptor &d)
{
	return c.len == 0 && (c.op == Op::read || c.op == Op::write) && d.kind >= Kind::device;
}

bool datagrams(int fd)
{
	return socket_option(fd, SO_TYPE) == SOCK_DGRAM;
}

// Where a connection is begun without waiting: where O_NONBLOCK says so, for datagrams, which have
// nothing to wait for, and to addresses of the Internet. It is the caller who begins it: where it
// may connect to is a matter of its thread.
bool connect_now(const Call &c, const Descriptor &d, ssize_t *result)
{
	bool waits = (d.flags & O_NONBLOCK) == 0 && !datagrams(d.fd);
	if (waits && !transfer::begins_briefly(*c.message))
		return false;
	uint32_t word = stream::word_of({d.dev, d.ino, false});
	if (!stream::claim(word))
		return false;
	if (waits)
		*result = transfer::begin_connect_in_call(d.fd, *c.message);
	else if (syscall(SYS_connect, d.fd, c.message->msg_name, c.message->msg_namelen) == 0)
		*result = 0;
	else
		*result = -errno;
	if (*result == -EINPROGRESS || *result == -EALREADY) {
		*result = 0; // it has begun, and waits with the driver
		return false;
	}
	if (stream::give_up_claim(word))
		helper::look_at_streams();
	if (*result != -EAGAIN && *result != -EINTR)
		return true;
	*result = -1;
	return false;
}

// What takes several system calls, or may take long.
bool never_at_once(const Call &c)
{
	constexpr int waits = MSG_WAITALL;
	return c.done != 0 || c.op == Op::fsync || c.op == Op::fdatasync || c.multishot ||
	       (c.op == Op::recv && (c.call_flags & waits) != 0 &&
		(c.call_flags & MSG_DONTWAIT) == 0) ||
	       (c.op == Op::send && (c.call_flags & MSG_FASTOPEN) != 0) ||
	       dma::zero_copy::wanted(c);
}

bool attempt(const Call &c, const Descriptor &d, ssize_t *result)
{
	*result = -1;
	bool done;
	if (c.op == Op::poll)
		done = poll_now(c, result);
	else if (is_beside_the_stream(c, d))
		done = beside_the_stream(c, d, result);
	else if (never_at_once(c) || device_of_nothing(c, d))
		return false;
	else if (c.op == Op::connect)
		done = connect_now(c, d, result);
	else
		done = is_stream(d.kind) ? on_stream(c, d, result) : on_file(c, d, result);
	if (done)
		stats::count(stats::inline_done);
	return done;
}

bool works(const char **reason)
{
	*reason = "cached reads, files in memory, data that is there";
	return true;
}

} // namespace

bool is_beside_the_stream(const Call &c, const Descriptor &d)
{
	if (c.op == Op::recv)
		return (c.call_flags & (MSG_OOB | MSG_ERRQUEUE)) != 0;
	return c.len == 0 &&
	       ((c.op == Op::read && (d.kind == Kind::socket || d.kind == Kind::fifo)) ||
		(c.op == Op::write && d.kind == Kind::fifo));
}

const Engine engines::inline_ = {"inline", works, attempt, nullptr};

} // namespace sigevec
